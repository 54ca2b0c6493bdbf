"""What the code of a build can do in its container. It is root there, and no more than a build needs."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from testing.escapes import escape, surroundings
from testing.hostile_build import HostileBuild

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

GIB = 1 << 30
HARMLESS = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"}
CAPABILITIES = {0: "CHOWN", 1: "DAC_OVERRIDE", 3: "FOWNER", 4: "FSETID", 5: "KILL", 6: "SETGID", 7: "SETUID"}


@pytest.fixture
def build(tmp_path: Path, s3: S3Client, job_image: str) -> Iterator[HostileBuild]:
    build = HostileBuild(tmp_path, s3)
    yield build
    build.remove()


def facts(log: str) -> dict[str, str]:
    """What the build printed as ``fact NAME VALUE``."""
    words = [line.split(maxsplit=2) for line in log.splitlines() if line.startswith("fact ")]
    return {word[1]: word[2] if len(word) > 2 else "" for word in words}


def test_a_builds_root_has_only_what_packages_are_built_with(build: HostileBuild) -> None:
    log = build.run(
        """
        while read -r name value; do echo "fact ${name%:} $value"; done </proc/self/status
        attempt() { if "${@:2}" >/dev/null 2>&1; then echo "fact $1 yes"; else echo "fact $1 no"; fi; }
        attempt device mknod /tmp/disk b 254 0
        attempt chroot chroot / true
        attempt mount mount -t tmpfs none /mnt
        attempt raw perl -MSocket -e 'socket(S, PF_INET, SOCK_RAW, 1) or exit 1'
        attempt packet perl -MSocket -e 'socket(S, 17, SOCK_RAW, 768) or exit 1'
        attempt trace bash -c 'echo 1 >/proc/sysrq-trigger'
        """
    )
    found = facts(log)
    bits = int(found["CapBnd"], 16) | int(found["CapEff"], 16)
    assert {CAPABILITIES.get(bit, str(bit)) for bit in range(64) if bits >> bit & 1} == HARMLESS
    assert found["NoNewPrivs"] == "1"
    attempts = ("device", "chroot", "mount", "raw", "packet", "trace")
    assert {name: found[name] for name in attempts} == dict.fromkeys(attempts, "no")


def test_a_setuid_program_gives_another_user_of_the_container_nothing(build: HostileBuild) -> None:
    log = build.run(
        """
        cp /bin/perl /tmp/suid && chmod 4755 /tmp/suid
        echo "fact as $(setpriv --reuid=65534 --regid=65534 --clear-groups /tmp/suid -e 'print $>')"
        """
    )
    assert facts(log)["as"] == "65534"


def test_a_build_has_no_engine_and_no_credentials(build: HostileBuild) -> None:
    log = build.run(
        """
        for socket in $(find / -xdev -type s 2>/dev/null) /var/run/docker.sock /run/docker.sock; do
          [ -S "$socket" ] && echo "fact socket $socket"
        done
        env | sed 's/^/fact env:/; s/=/ /'
        while read -r _ _ _ _ point _; do echo "fact mount:$point"; done </proc/self/mountinfo
        """
    )
    found = facts(log)
    assert "socket" not in found
    assert {name.removeprefix("env:") for name in found if name.startswith("env:")} <= {
        *("HOSTNAME", "PATH", "PWD", "SHLVL", "_", "HOME"),
        *("VERSION", "IS_NIGHTLY", "DEB_BUILD_PROFILES", "HHVM_BUILD"),
    }
    ours = {name.removeprefix("mount:") for name in found if name.startswith(("mount:/opt", "mount:/var"))}
    assert ours == {
        *("/opt/hhvm-distro-packaging", "/opt/hhvm-packaging", "/opt/hhvm-packaging/bin"),
        *("/opt/hhvm-packaging/distros", "/var/out"),
    }


def test_a_build_gets_at_no_service_no_other_container_and_no_file_of_its_machine(
    tmp_path: Path, s3: S3Client, job_image: str
) -> None:
    with surroundings(tmp_path) as around:
        assert around.judge(escape(around, s3, seed=1, seconds=3)) == []


def test_every_container_of_a_job_has_limits(build: HostileBuild) -> None:
    build.start("echo here; sleep 600")
    deadline = time.monotonic() + 60
    while len(build.containers()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    total = build.worker.engine.info()["MemTotal"]
    for container in build.containers():
        limits: dict[str, Any] = container["HostConfig"]
        assert 0 < limits["Memory"] < total
        assert limits["PidsLimit"] == 16384
        assert limits["Privileged"] is False
        log = limits["LogConfig"]
        assert log["Type"] == "none" or log["Config"]["max-size"] == "1m"


def test_a_fork_bomb_ends_at_its_limit(tmp_path: Path, s3: S3Client, job_image: str) -> None:
    build = HostileBuild(tmp_path, s3, container_limits={"processes": 64})
    try:
        log = build.run("for i in {1..500}; do sleep 300 & done; echo fact all-of-them; exit 1")
    finally:
        build.remove()
    assert "Resource temporarily unavailable" in log
    assert "all-of-them" not in facts(log)


def test_a_build_that_takes_all_memory_ends_at_its_limit(
    tmp_path: Path, s3: S3Client, job_image: str
) -> None:
    build = HostileBuild(tmp_path, s3, container_limits={"memory": 256})
    try:
        log = build.run('perl -e \'my $x = "x" x (1 << 30); print "fact took it\\n"\'; exit 1')
    finally:
        build.remove()
    assert "took" not in facts(log)
    assert "it ran out of memory" in log


def test_a_build_that_prints_without_end_is_ended(tmp_path: Path, s3: S3Client, job_image: str) -> None:
    build = HostileBuild(tmp_path, s3, container_limits={"log": 1})
    try:
        build.run("exec yes 'no end of this'")
        result = build.worker.result(build.name)
        size = build.worker.log_file(build.name).stat().st_size
        last = build.log.splitlines()[-1]
    finally:
        build.remove()
    assert result
    assert result.exit_status
    assert not result.timed_out
    assert size < 1.1 * (1 << 20)
    assert last.endswith("was ended: it printed more than 1 MiB; see the setting container_limits")


def test_other_users_of_the_machine_see_nothing_of_a_jobs_directory(s3: S3Client, job_image: str) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as root:
        Path(root).chmod(0o755)
        build = HostileBuild(Path(root), s3)
        try:
            build.run("umask 0; cp /bin/cat /var/out/program; chmod 4777 /var/out /var/out/program; exit 1")
            seen = subprocess.run(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", str(build.out)],
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            build.remove()
    assert seen.stdout == ""
    assert "Permission denied" in seen.stderr


def test_an_engine_that_cannot_set_a_limit_is_told_from_a_failed_build(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text(
        "#!/bin/sh\n"
        'case "$*" in *--memory*) echo "Error: cannot set memory limit" >&2; exit 125;; esac\n'
        'printf "%s " "$@"\n'
    )
    (tmp_path / "docker").chmod(0o755)
    script = '. bin/lib/hhvm-packaging.sh; set_confinement; run_throwaway_container "${confinement[@]}" image'
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HHVM_MEMORY": "1g"}
    command = ["bash", "-euc", script]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode
    assert "cannot set memory limit" in refused.stderr
    assert "HHVM_MEMORY=none" in refused.stderr
    environment["HHVM_MEMORY"] = "none"
    allowed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert allowed.returncode == 0, json.dumps(allowed.stderr)
