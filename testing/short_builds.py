"""A deployment whose builds are short, for tests of what happens between them.

Builds are short here, but real: a script in the distribution's own container that makes the packages with
dpkg-deb, and that waits or fails when a test says so.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from demo.driver import Demo
from demo.progress import Progress
from demo.stack import DOWNLOADS, SCRATCH
from testing.build_control import BuildControl
from testing.gates import NO_GATES
from testing.newcomer import ROOT, Newcomer
from testing.without_debian import forget_debian

if TYPE_CHECKING:
    import datetime
    from collections.abc import Generator, Iterator
    from pathlib import Path

MULTI = "hhvm_build_and_publish_multi"
BOOKWORM, TRIXIE, FORKY = "debian-12-bookworm", "debian-13-trixie", "debian-14-forky"

SHORT_BUILD = """#!/usr/bin/env bash
# In place of hours: the same packages, from nothing.
set -euo pipefail
distro=/opt/hhvm-distro-packaging
read -r codename <"$distro/DISTRIBUTION"
read -r edition <"$distro/EDITION"
run=$RANDOM$RANDOM$RANDOM$RANDOM
ask() {
  local answer
  exec 3<>"/dev/tcp/@ADDRESS@"
  printf 'GET /%s/%s/%s/%s/%s HTTP/1.0\\r\\n\\r\\n' "$1" "$VERSION" "$codename" "$edition" "$run" >&3
  read -r answer <&3
  [[ $answer == *' 200 '* ]]
}
package_version=$VERSION-$(<"$distro/PKGVER")
printf 'building %s, edition %s\\n' "$package_version" "$edition"
ask begun
while ask wait; do sleep 0.3; done
if ask fail || grep -qxF "$VERSION" "$distro/FAILS"; then
  printf 'hhvm.cpp:1: error: no such thing in %s\\n' "$VERSION" >&2
  ask failed
  exit 2
fi
for package in hhvm hhvm-dev; do
  tree=$(mktemp -d)
  chmod 0755 "$tree"
  install -D -m 0644 /dev/stdin "$tree/DEBIAN/control" <<END
Package: $package
Version: $package_version
Architecture: amd64
Maintainer: Tests <tests@hhvm.invalid>
Description: $package, edition $edition
END
  if [ "$package" = hhvm ]; then
    install -D -m 0755 /dev/stdin "$tree/usr/bin/hhvm" <<<"#!/bin/sh
echo 'HipHop VM $VERSION (rel)'"
  fi
  dpkg-deb --root-owner-group --build "$tree" "/var/out/${package}_${package_version}_amd64.deb"
done
ask built
"""
SHORT_GATE = """#!/usr/bin/env bash
# In place of apt's reasons: only dpkg's.
set -euo pipefail
if [ "$1" = fresh ]; then
  dpkg --install /var/out/*.deb
  hhvm --version
  printf 'passed\\tinstall\\t\\n' >/notes/notes
else
  printf 'skipped\\tupgrade\\t\\n' >/notes/notes
fi
"""


class Deployment(Newcomer):
    """A deployment with short builds, and people who release with it."""

    def __init__(self, var: Path) -> None:
        super().__init__(var)
        self.packaging = var / "packaging"
        self.control = BuildControl()
        self._make_packaging(f"{self.control.server_address[0]!s}/{self.control.server_port}")
        (var / "settings.json").write_text(
            json.dumps({
                "PACKAGING_ROOT": str(self.packaging),
                "CURRENT_TARGETS": [BOOKWORM, TRIXIE, FORKY],
                # Such a build depends on nothing.
                "DEPENDENCIES_IMAGE_DAYS": 0,
                "GATES": NO_GATES,
            })
        )

    def _make_packaging(self, address: str) -> None:
        """A copy of the checkout's packaging files with three distributions and short builds."""
        for part in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / part, self.packaging / part, symlinks=True)
        _script(self.packaging / "bin/make-debianish-package", SHORT_BUILD.replace("@ADDRESS@", address))
        _script(self.packaging / "jobs/in-container/install-gate", SHORT_GATE)
        # What is made here depends on nothing that Debian has.
        forget_debian(self.packaging / "jobs/in-container/check-offer")
        for name in (BOOKWORM, TRIXIE):
            self._make_short(name)
        self.add_distro(FORKY)

    def _make_short(self, name: str) -> None:
        (self.distro(name) / "FAILS").touch()
        (self.distro(name) / "EDITION").write_text("1\n")

    def add_distro(self, name: str) -> None:
        """Add a distribution of the name's codename, which is trixie under another name."""
        codename = name.rpartition("-")[2]
        made = shutil.copytree(self.distro(TRIXIE), self.distro(name), symlinks=True)
        (made / "DISTRIBUTION").write_text(f"{codename}\n")
        (made / "PKGVER").write_text(f"1~{codename}\n")
        self._make_short(name)

    def distro(self, name: str) -> Path:
        """The directory of a distribution's packaging files."""
        return self.packaging / "distros" / name

    def tag(self, *versions: str) -> None:
        """Tag releases on the staging repository."""
        for version in versions:
            subprocess.run([ROOT / "demo/make-git-repositories", self.var / "git", version], check=True)

    def break_build(self, distro: str, *versions: str) -> None:
        """Have the distribution's builds of these versions fail, by a file of its own."""
        (self.distro(distro) / "FAILS").write_text("".join(f"{version}\n" for version in versions))

    def mend_build(self, distro: str) -> None:
        """Have the distribution's builds of all versions succeed."""
        (self.distro(distro) / "FAILS").write_text("")

    def keep_building(self, *versions: str) -> None:
        """Have builds of these versions go on until ``finish``."""
        self.control.waiting.update(versions)

    def finish(self, *versions: str) -> None:
        """Let builds of these versions go on to their end."""
        self.control.waiting.difference_update(versions)

    def configure(self, settings: dict[str, Any], environment: dict[str, str]) -> None:
        """Add to the deployment's settings and to its environment. Call it before ``up``."""
        for name, more in (("settings.json", settings), ("environment.json", environment)):
            file = self.var / name
            file.write_text(json.dumps({**json.loads(file.read_text()), **more}))

    def up(self) -> None:
        """Start the services, and wait until Airflow has the DAGs."""
        demo = Demo(self.stack, Progress())
        demo.services()
        demo.api().wait_for_dags([MULTI])

    def restart(self, service: str) -> None:
        """Stop a service as an operator does, and start it again."""
        self.stack.restart(service)

    def start(self, dag_id: str, run_id: str, **conf: Any) -> None:
        """Trigger a run."""
        self.api.trigger(dag_id, run_id, conf)

    def when(self, dag_id: str, run_id: str) -> tuple[datetime.datetime, datetime.datetime]:
        """When a run started and ended."""
        run = self.api.run(dag_id, run_id)
        assert run
        assert run.start_date
        assert run.end_date
        return run.start_date, run.end_date

    def public(self) -> dict[str, Any]:
        """All that anybody can see: the bucket's files, and the public repository's branches and tags."""
        bucket = self.var / "s3" / DOWNLOADS
        found: dict[str, Any] = {
            str(path.relative_to(bucket)): path.read_bytes() for path in bucket.rglob("*") if path.is_file()
        }
        remote = ["git", "ls-remote", str(self.var / "git/hhvm.git")]
        found["git"] = subprocess.run(remote, capture_output=True, text=True, check=True).stdout
        return found

    def is_public(self, version: str) -> bool:
        """Whether there is any trace of the version in what anybody can see."""
        return any(
            version in key or version in (what if isinstance(what, str) else what.decode(errors="replace"))
            for key, what in self.public().items()
        )

    def built(self, version: str, distro: str) -> list[str]:
        """What each worker that was started to build it came to: ``built``, or its failure's class."""
        jobs = self.var / "s3" / SCRATCH / "jobs" / version
        logs = sorted(
            jobs.glob(f"hhvm-{version}-make-binary-package-{distro}-*/*/log.txt"),
            key=lambda log: log.parent.name,
        )
        failures = [log.with_name("failure.json") for log in logs]
        return [json.loads(one.read_text())["failure"] if one.exists() else "built" for one in failures]


def _script(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o755)


@contextlib.contextmanager
def running(deployment: Deployment) -> Generator[None]:
    """Run the deployment's services for as long as the ``with`` statement takes."""
    try:
        deployment.up()
        yield
    finally:
        deployment.make("down")


@pytest.fixture(scope="module")
def deployment(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The deployment that the tests of a file share; it is stopped at the end."""
    deployment = Deployment(tmp_path_factory.mktemp("releases"))
    deployment.tag("1.0.0")
    with running(deployment):
        yield deployment
