# shellcheck shell=bash
# What an instance does at boot, after its values: it fetches the packaging
# files, and they do the job.
#
# HHVM_BUCKET HHVM_DIRECTORY HHVM_JOB HHVM_JOB_SHA256 HHVM_KEYS
# HHVM_MEMORY HHVM_PIDS HHVM_LOG_SIZE   as for jobs/on-instance
# HHVM_PACKAGING HHVM_PACKAGING_SHA256  the packaging files' key
# HHVM_REGISTRY                         as for jobs/on-instance
set -euo pipefail

# A machine whose job cannot begin is of no use, but for what it says.
began=''
leave() {
  if [ -z "$began" ]; then
    timeout 60 aws s3 cp --only-show-errors /var/log/cloud-init-output.log \
      "s3://$HHVM_BUCKET/$HHVM_DIRECTORY${HHVM_WORKER-}/log.txt" || true
  fi
  shutdown -h now
}
trap leave EXIT
export HOME=/root DEBIAN_FRONTEND=noninteractive
# A machine that has just booted may wait for its network and its role's credentials: aws asks once, for a second.
export AWS_METADATA_SERVICE_TIMEOUT=5 AWS_METADATA_SERVICE_NUM_ATTEMPTS=12
export AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=10
# Debian updates itself after the boot: that takes dpkg's lock, and may restart the Docker engine under a job.
systemctl mask --now apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service || true
systemctl stop apt-daily.service apt-daily-upgrade.service || true
install_packages() {
  apt-get -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@"
}
for tool in aws docker jq; do
  command -v "$tool" >/dev/null || {
    apt-get -o Acquire::Retries=5 update
    install_packages awscli docker.io jq
    break
  }
done
# Since Debian 13 it is a package of its own.
command -v docker >/dev/null || install_packages docker-cli

# This machine's aws:userid, ROLE:INSTANCE: its role lets it write below that.
for pause in 5 10 20 40 80 ''; do
  HHVM_WORKER=$(aws sts get-caller-identity --query UserId --output text) && break
  sleep "${pause:?the machine has no network or no role}"
done
export HHVM_WORKER

work=/var/lib/hhvm-packaging/jobs/$HHVM_JOB
mkdir -p "$work/packaging"
chmod 0700 "$work"
aws s3 cp --only-show-errors "s3://$HHVM_BUCKET/$HHVM_PACKAGING" "$work/packaging.tar.gz"
printf '%s  %s\n' "$HHVM_PACKAGING_SHA256" "$work/packaging.tar.gz" | sha256sum --check --quiet
tar -xzf "$work/packaging.tar.gz" -C "$work/packaging"
began=yes
"$work/packaging/jobs/on-instance" "$work"
