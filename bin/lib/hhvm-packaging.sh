# shellcheck shell=bash
# Sourced by the scripts in bin/ and jobs/, never run. Keeps to bash 3.2 and
# POSIX tools where a person's macOS may run it.

# A fixed collation: [0-9] means ten characters and sorting is by byte.
export LC_ALL=C

# Read by the scripts that source this file.
# shellcheck disable=SC2034
packaging_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

die() {
  printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# The comment at the top of the calling script is its usage text.
usage() {
  sed -n '2,/^[^#]/ { /^[^#]/d; s/^# \{0,1\}//; p; }' "$0"
}

help_if_asked() {
  case "${1-}" in
    -h | --help)
      usage
      exit 0
      ;;
  esac
}

require_env() {
  local name
  for name in "$@"; do
    [ -n "${!name-}" ] || die "$name is not set; see $0 --help"
  done
}

is_real_date() { # YEAR MONTH DAY, digits only
  local year=$((10#$1)) month=$((10#$2)) day=$((10#$3)) days=31
  case $month in
    4 | 6 | 9 | 11) days=30 ;;
    2)
      days=28
      if ((year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))); then days=29; fi
      ;;
  esac
  ((year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= days))
}

# Sets what follows from a version: IS_NIGHTLY, PACKAGE, SOURCE (the source
# tarball's name without .tar.gz) and, for a release, TAG and BRANCH.
# shellcheck disable=SC2034
parse_version() {
  # Y and Z from 1 to 9 may be padded: see release.py, which reads the same.
  local number='(0[1-9]?|[1-9][0-9]{0,4})'
  local release="^(0|[1-9][0-9]{0,2})\\.$number\\.$number\$"
  local nightly='^([0-9]{4})\.([0-9]{2})\.([0-9]{2})$'
  if [[ $1 =~ $release ]]; then
    IS_NIGHTLY=false PACKAGE=hhvm
    TAG=HHVM-$1 BRANCH=HHVM-${BASH_REMATCH[1]}.${BASH_REMATCH[2]}
  elif [[ $1 =~ $nightly ]] &&
    is_real_date "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}"; then
    IS_NIGHTLY=true PACKAGE=hhvm-nightly TAG='' BRANCH=''
  else
    die "VERSION $(printf %q "$1") is neither a release (X.Y.Z) nor a nightly (a real date, YYYY.MM.DD)"
  fi
  SOURCE=$PACKAGE-$1
}

# Whether two texts are one version: compared number by number, 26.09.29 is 26.9.29.
is_same_version() { # A B
  local form='^([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})$' a
  [[ $1 =~ $form ]] || return 1
  a=$((10#${BASH_REMATCH[1]})).$((10#${BASH_REMATCH[2]})).$((10#${BASH_REMATCH[3]}))
  [[ $2 =~ $form ]] || return 1
  [ "$a" = "$((10#${BASH_REMATCH[1]})).$((10#${BASH_REMATCH[2]})).$((10#${BASH_REMATCH[3]}))" ]
}

# Prints every spelling of a version that is allowed, its own first, one a line.
spellings() { # VERSION
  local major minor patch y z ys zs
  printf '%s\n' "$1"
  IFS=. read -r major minor patch <<<"$1"
  # A nightly has one spelling.
  if [ ${#major} -ge 4 ]; then return; fi
  ys=("$((10#$minor))") zs=("$((10#$patch))")
  if ((ys >= 1 && ys <= 9)); then ys+=("0${ys[0]}"); fi
  if ((zs >= 1 && zs <= 9)); then zs+=("0${zs[0]}"); fi
  for y in "${ys[@]}"; do
    for z in "${zs[@]}"; do
      if [ "$major.$y.$z" != "$1" ]; then printf '%s\n' "$major.$y.$z"; fi
    done
  done
}

todays_nightly() {
  date -u +%Y.%m.%d
}

is_commit() {
  [[ $1 =~ ^[0-9a-f]{40}$ ]]
}

distros() {
  local file
  for file in "$packaging_root"/distros/*/DOCKER_BASE; do
    if [ -e "$file" ]; then basename "$(dirname "$file")"; fi
  done
}

# Sets distro_dir and docker_base for a DISTRO_ID.
# shellcheck disable=SC2034
read_distro() {
  [[ $1 =~ ^[a-z]+-[0-9.]+(-[a-z]+)?$ && -f $packaging_root/distros/$1/DOCKER_BASE ]] ||
    die "unknown distribution '$1'; known: $(distros | tr '\n' ' ')"
  distro_dir=$packaging_root/distros/$1
  docker_base=$(<"$distro_dir/DOCKER_BASE")
  [[ $docker_base =~ ^[a-z0-9]([A-Za-z0-9._/:@-]*[A-Za-z0-9])?$ ]] ||
    die "$1: DOCKER_BASE must be the name of a Docker image, not '$docker_base'"
}

# What every container of ours is given; fills the array container_options.
set_container_options() {
  container_options=(--init)
  # Whoever started the job finds and removes all its containers by this label.
  if [ -n "${HHVM_JOB-}" ]; then container_options+=(--label "hhvm.job=$HHVM_JOB"); fi
  # And whose job it is, where several share an engine.
  if [ -n "${HHVM_WORK-}" ]; then container_options+=(--label "hhvm.work=$HHVM_WORK"); fi
  if [ -n "${HHVM_DOCKER_NETWORK-}" ]; then container_options+=(--network "$HHVM_DOCKER_NETWORK"); fi
}

# The three mounts that a distribution's make-package relies on.
add_package_mounts() { # OUT
  container_options+=(
    --mount "type=bind,source=$1,target=/var/out"
    --mount "type=bind,source=$packaging_root,target=/opt/hhvm-packaging,readonly"
    --mount "type=bind,source=$distro_dir,target=/opt/hhvm-distro-packaging,readonly"
  )
}

# Runs `docker run`'s arguments in a container that is gone afterwards, also
# when this shell is told to stop; returns the command's status.
#
# Not `docker run`: bash acts on a signal only between commands, so the
# container's id is known before anything can interrupt, and only then awaited.
run_throwaway_container() {
  local status=0
  set_throwaway_traps
  throwaway=$(docker create "$@") ||
    die "Docker could not make the container; see its message above"
  docker start --attach "$throwaway" </dev/null &
  wait "$!" || status=$?
  remove_throwaway_container
  return "$status"
}

set_throwaway_traps() {
  throwaway=''
  trap remove_throwaway_container EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

remove_throwaway_container() {
  if [ -n "$throwaway" ]; then
    docker rm --force "$throwaway" >/dev/null || true
    throwaway=''
  fi
}
