"""The same source and packaging files give the same bytes, whoever builds them, when, and with which cache.

The build is the miniature's, in containers of the distribution.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from demo.stack import MINIATURE
from testing.distro_container import distro_container
from tests.integration.test_jobs import ROOT, Worker

if TYPE_CHECKING:
    from pathlib import Path

DISTROS = ["debian-12-bookworm", "debian-13-trixie"]
PUBLISHED = (".deb", ".dsc", ".tar.gz", ".tar.xz")

pytestmark = pytest.mark.timeout(1200)

BUILD = f"""
export VERSION=1.0.0 DEB_BUILD_PROFILES={MINIATURE}
/opt/hhvm-distro-packaging/make-package
"""
WITH_CACHE = "export CCACHE_MAXSIZE=50M\n"
OTHERWISE = """
apt_get update
apt_get install gcc libc6-dev libfaketime locales-all
gcc -shared -fPIC -o /usr/lib/reversed.so /testing/reversed_directories.c -ldl
useradd --create-home --uid 4321 somebody
mkdir -p /srv/elsewhere
chown -R somebody:somebody /usr/src /var/out /srv/elsewhere
ls -aU / >/tmp/order
echo +400d >/etc/faketimerc
printf '%s\\n' /usr/lib/reversed.so "$(find /usr/lib -name libfaketime.so.1)" >/etc/ld.so.preload
"""
"""Another day, another order of files, another user."""
PATH, OTHER_PATH = "build=/usr/src/hhvm-packaging\n", "build=/srv/elsewhere/and-deeper\n"
AS_SOMEBODY = """
mkdir -p /tmp/elsewhere
cd /tmp/elsewhere
export TZ=Pacific/Kiritimati LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8
export FAKETIME_DISABLE_SHM=1 HOME=/home/somebody USER=somebody TMPDIR=/tmp/elsewhere
umask 077
[ "$(date +%s)" -gt "$((REALLY + 300 * 86400))" ]
[ "$(ls -aU /)" = "$(tac /tmp/order)" ]
"""
"""It is so: the last lines would fail otherwise."""
FIND_IMAGE = """
. "$(dirname "$0")/../bin/lib/hhvm-packaging.sh"
export TMPDIR=${OUT%/*}
read_distro "$DISTRO"
"$(dirname "$0")/dependencies-image" "$(find_image "$docker_base")" >"${OUT%/*}/image"
"""


class Builds:
    """Builds of the same source in containers with the build dependencies."""

    def __init__(self, root: Path, distro: str, job_image: str) -> None:
        self.root, self.distro = root, distro
        subprocess.run([ROOT / "demo/make-git-repositories", root / "git", "1.0.0"], check=True)
        source = {"VERSION": "1.0.0", "SOURCE_REPOSITORY": str(root / "git/hhvm-staging.git")}
        made = {**os.environ, **source, "OUT": str(root / "source")}
        subprocess.run([ROOT / "bin/make-source-tarball"], env=made, check=True)
        # As a job has it, in the job image; it is there already where the demo has run.
        worker = Worker(root / "work", job_image)
        worker.run_script(FIND_IMAGE, DISTRO=distro, DEB_BUILD_PROFILES=MINIATURE, HHVM_DEPENDENCIES_DAYS="7")
        assert worker.result["exit_status"] == 0, worker.log
        self.image = (worker.work / "image").read_text().strip()

    def run(
        self,
        name: str,
        script: str,
        prepare: str = ":",
        user: str = "root",
        *,
        cache: str = "",
        elsewhere: bool = False,
    ) -> Path:
        """Run a build; returns its directory. ``cache`` is the build whose compiler cache it begins with.

        ``elsewhere`` builds in another path.
        """
        out = self.root / name
        out.mkdir()
        (out / "hhvm-1.0.0.tar.gz").write_bytes((self.root / "source/hhvm-1.0.0.tar.gz").read_bytes())
        mounts = {
            "/var/out": str(out),
            "/opt/hhvm-packaging:ro": str(ROOT),
            "/opt/hhvm-distro-packaging:ro": str(ROOT / "distros" / self.distro),
            "/testing:ro": str(ROOT / "testing"),
        }
        if cache:
            mounts["/opt/hhvm-ccache:ro"] = str(self.root / cache)
        if elsewhere:
            scripts = shutil.copytree(ROOT / "bin", self.root / "bin", symlinks=True)
            text = (scripts / "make-debianish-package").read_text()
            assert PATH in text
            (scripts / "make-debianish-package").write_text(text.replace(PATH, OTHER_PATH))
            mounts["/opt/hhvm-packaging/bin:ro"] = str(scripts)
        with distro_container(self.image, mounts) as container:
            container.run(prepare)
            log = container.run(script, user)
        if cache:
            assert re.search(r"the compiler cache had [1-9] of 7 objects", log)
        return out


@pytest.fixture(scope="module", params=[pytest.param(DISTROS[0], marks=pytest.mark.slow), DISTROS[1]])
def builds(
    request: pytest.FixtureRequest, job_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Builds:
    return Builds(tmp_path_factory.mktemp(request.param), request.param, job_image)


@pytest.fixture(scope="module")
def usual(builds: Builds) -> Path:
    return builds.run("usual", WITH_CACHE + BUILD)


def assert_same(builds: Builds, first: Path, second: Path) -> None:
    """All that is published has the same bytes. If not, diffoscope says what differs."""
    digests = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}
        for directory in (first, second)
    ]
    # What has no underscore is what the build began with.
    published = {name for one in digests for name in one if "_" in name and name.endswith(PUBLISHED)}
    assert len(published) == 6
    differ = sorted(name for name in published if digests[0].get(name) != digests[1].get(name))
    if differ:
        pytest.fail(f"{', '.join(differ)}:\n{explain(builds, second.name, differ)}")


def explain(builds: Builds, other: str, names: list[str]) -> str:
    """What differs, in diffoscope's words."""
    with distro_container(builds.image, {"/builds:ro": str(builds.root)}) as container:
        container.run("apt_get update; apt_get install diffoscope-minimal")
        compare = f"diffoscope --max-report-size 20000 /builds/usual/{{0}} /builds/{other}/{{0}} || true"
        return "\n".join(container.run(compare.format(name)) for name in names)


def test_a_build_with_a_compiler_cache_gives_the_same_bytes(builds: Builds, usual: Path) -> None:
    assert_same(builds, usual, builds.run("warm", WITH_CACHE + BUILD, cache="usual"))


def test_a_build_on_another_day_by_another_user_elsewhere_with_other_settings_gives_the_same_bytes(
    builds: Builds, usual: Path
) -> None:
    now = f"export REALLY={int(time.time())}\n"
    otherwise = builds.run("otherwise", now + AS_SOMEBODY + BUILD, OTHERWISE, "somebody", elsewhere=True)
    assert_same(builds, usual, otherwise)
