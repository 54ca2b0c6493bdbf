"""A deployment takes over from the old one: its packaging files, and the repository that reprepro made.

The files in ``old_packaging`` are shaped as those of github.com/hhvm/packaging were. The tests build upon one
another, in this order.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.driver import Demo
from demo.progress import Progress
from demo.stack import DOWNLOADS
from hhvm_packaging.cli import check_distros
from testing.debs import Deb
from testing.newcomer import ROOT, WRAPPER, Newcomer
from testing.short_builds import MULTI
from testing.unhurried import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.timeout(DEADLINE), pytest.mark.slow]

SUITES = ("bookworm", "trixie")
OLD, NEW = "0.9.0", "1.0.0"
PACKAGES = ("hhvm", "hhvm-dbg", "hhvm-dev")


class Takeover(Newcomer):
    """Somebody whose new deployment has the old one's packaging files and repository."""

    def __init__(self, var: Path) -> None:
        super().__init__(var)
        self.packaging = var / "packaging"
        for part in ("bin", "jobs"):
            shutil.copytree(ROOT / part, self.packaging / part, symlinks=True)
        shutil.copytree(Path(__file__).with_name("old_packaging"), self.packaging / "distros", symlinks=True)
        (var / "settings.json").write_text(json.dumps({"PACKAGING_ROOT": str(self.packaging)}))

    def make_old_repository(self) -> None:
        """Have reprepro make the suites, with the old packages and their source, and all that it keeps."""
        repository = self.var / "s3" / DOWNLOADS / "debian"
        (repository / "conf").mkdir(parents=True)
        (repository / "conf/distributions").write_text(
            "\n".join(
                f"Origin: HHVM\nLabel: HHVM\nCodename: {suite}\nComponents: main\n"
                "Architectures: amd64 source\nSignWith: default\n"
                for suite in SUITES
            )
        )
        with ExitStack() as stack:
            home = stack.enter_context(tempfile.TemporaryDirectory(prefix="gnupg-"))
            environment = {**os.environ, "GNUPGHOME": home}
            stack.callback(subprocess.run, ["gpgconf", "--kill", "all"], env=environment, check=True)
            key = self.stack.var / "signing-key.asc"
            subprocess.run(["gpg", "--batch", "--quiet", "--import", key], env=environment, check=True)
            for suite in SUITES:
                for file in self._old_packages(suite):
                    kind = "includedsc" if file.suffix == ".dsc" else "includedeb"
                    subprocess.run(
                        ["reprepro", "--basedir", repository, "--silent", kind, suite, file],
                        env=environment,
                        check=True,
                    )

    def apt_suite(self, *words: str) -> str:
        """What the command bin/apt-suite says."""
        done = self.run("bin/apt-suite", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _old_packages(self, suite: str) -> Iterator[Path]:
        directory = self.var / "old"
        version = f"{OLD}-1~{suite}"
        tree = directory / f"hhvm-{OLD}"
        orig = directory / f"hhvm_{OLD}.orig.tar.gz"
        (tree / "debian/source").mkdir(parents=True, exist_ok=True)
        if not orig.exists():
            (tree / "README").write_text("The old source.\n")
            command = ["tar", "--create", "--gzip", "--exclude=debian", "--file", orig.name, tree.name]
            subprocess.run(command, cwd=directory, check=True)
        (tree / "debian/source/format").write_text("3.0 (quilt)\n")
        (tree / "debian/control").write_text(
            "Source: hhvm\nSection: web\nPriority: optional\nMaintainer: HHVM <hhvm@example.org>\n\n"
            "Package: hhvm\nArchitecture: any\nDescription: the old one\n"
        )
        (tree / "debian/changelog").write_text(
            f"hhvm ({version}) {suite}; urgency=medium\n\n  * Old.\n\n"
            " -- HHVM <hhvm@example.org>  Mon, 01 Jan 2018 00:00:00 +0000\n"
        )
        subprocess.run(["dpkg-source", "--build", tree.name], cwd=directory, check=True, capture_output=True)
        yield directory / f"hhvm_{version}.dsc"
        for package in PACKAGES:
            own = "Section: web\nPriority: optional\n"
            depends = "" if package == "hhvm" else f"Depends: hhvm (= {version})\n"
            deb = Deb(version, package, extra=own + depends)
            (directory / deb.name).write_bytes(deb.content)
            yield directory / deb.name


class User:
    """A machine whose owner installed hhvm from the old repository."""

    def __init__(self, deployment: Takeover, suite: str) -> None:
        self.suite = suite
        self._container = deployment.engine.containers.run(
            f"debian:{suite}", ["sleep", "3600"], detach=True, remove=True, network="host"
        )
        key = (deployment.var / "s3" / DOWNLOADS / "conf/hhvm.gpg.key").read_text()
        self.do(f"cat >/usr/share/keyrings/hhvm.asc <<'END'\n{key}\nEND\n")
        options = "[signed-by=/usr/share/keyrings/hhvm.asc]"
        for kind in ("deb", "deb-src"):
            line = f"{kind} {options} {deployment.stack.public_url}/debian {suite} main"
            self.do(f"echo '{line}' >>/etc/apt/sources.list.d/hhvm.list")

    def do(self, script: str) -> str:
        """What a script prints that the user runs as root."""
        done = self._container.exec_run(
            ["bash", "-euc", script], environment={"DEBIAN_FRONTEND": "noninteractive"}
        )
        assert isinstance(done.output, bytes)
        said = done.output.decode()
        assert done.exit_code == 0, said
        return said

    def apt(self, *words: str) -> str:
        """What apt-get says. No change of what a suite says of itself is accepted, and no error."""
        strict = ("-o", "Acquire::AllowReleaseInfoChange=false", "-o", "Dpkg::Use-Pty=0")
        return self.do(" ".join(["apt-get", "--yes", "--quiet", "--no-install-recommends", *strict, *words]))

    def update(self) -> None:
        """Read the indices again."""
        self.apt("update", "--error-on=any")

    def installed(self) -> dict[str, str]:
        """The version of each package of hhvm that is installed."""
        listed = self.do(
            "dpkg-query --show --showformat '${Package} ${Version} ${db:Status-Abbrev}\\n' 'hhvm*'"
        )
        words = [line.split() for line in listed.splitlines()]
        return {name: version for name, version, *state in words if state == ["ii"]}

    def leave(self) -> None:
        """Remove the machine."""
        self._container.remove(force=True)


@pytest.fixture(scope="module")
def takeover(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Takeover]:
    """The deployment over the old repository; it is stopped at the end."""
    subprocess.run([ROOT / "demo/debian-packages", "reprepro", "dpkg-dev"], check=True)
    takeover = Takeover(tmp_path_factory.mktemp("takeover"))
    subprocess.run([ROOT / "demo/make-git-repositories", takeover.var / "git", NEW], check=True)
    takeover.stack.prepare()
    takeover.make_old_repository()
    demo = Demo(takeover.stack, Progress())
    demo.services()
    demo.api().wait_for_dags([MULTI])
    yield takeover
    takeover.make("down")


@pytest.fixture(scope="module")
def users(takeover: Takeover) -> Iterator[dict[str, User]]:
    """A user of each suite who installed all the old packages."""
    with ExitStack() as stack:
        users = {}
        for suite in SUITES:
            users[suite] = user = User(takeover, suite)
            stack.callback(user.leave)
            user.update()
            user.apt("install", *PACKAGES)
            assert user.installed() == dict.fromkeys(PACKAGES, f"{OLD}-1~{suite}")
        yield users


def test_the_old_files_are_found_good_but_for_what_newer_systems_ignore(takeover: Takeover) -> None:
    said = list(check_distros.check(takeover.packaging))
    assert not [words for kind, words in said if kind == check_distros.WRONG]
    assert [words for kind, words in said if kind == check_distros.WARNING and "changes owners" in words]


def test_to_adopt_shows_first_what_it_would_do(takeover: Takeover) -> None:
    shown = takeover.apt_suite("adopt", "debian")
    assert all(suite in shown for suite in SUITES)
    assert "as it was found" not in takeover.apt_suite("history", "debian", "bookworm")
    takeover.apt_suite("adopt", "debian", "--yes")
    assert "as it was found" in takeover.apt_suite("history", "debian", "bookworm")


def test_a_release_and_a_nightly_are_built_from_the_old_files_and_published_over_the_old_repository(
    takeover: Takeover, users: dict[str, User]
) -> None:
    versions = {"release": NEW, "nightly": "nightly"}
    for run_id, version in versions.items():
        assert takeover.trigger(WRAPPER, run_id, {"version": version}).is_success
    assert [takeover.ended(WRAPPER, run_id) for run_id in versions] == ["success", "success"]


@pytest.mark.parametrize("suite", SUITES)
def test_an_upgrade_brings_all_packages_together(users: dict[str, User], suite: str) -> None:
    user = users[suite]
    user.update()
    assert "kept back" not in user.apt("upgrade")
    assert user.installed() == dict.fromkeys(PACKAGES, f"{NEW}-2~{suite}")
    assert user.do("hhvm --version").splitlines()[0] == f"HipHop VM {NEW} (rel)"
    assert user.do("readlink --canonicalize /usr/bin/hhvm").strip() == f"/opt/hhvm/{NEW}/bin/hhvm"


@pytest.mark.parametrize("suite", SUITES)
def test_the_old_packages_and_their_source_are_still_offered(users: dict[str, User], suite: str) -> None:
    user = users[suite]
    old = f"{OLD}-1~{suite}"
    user.apt("install", "--allow-downgrades", *(f"{package}={old}" for package in PACKAGES))
    assert user.installed() == dict.fromkeys(PACKAGES, old)
    user.do(f"cd /root && apt-get source --quiet --download-only hhvm={old}")
    assert user.do("ls /root/*.dsc").strip() == f"/root/hhvm_{old}.dsc"


@pytest.mark.parametrize("suite", SUITES)
def test_the_nightly_takes_the_place_of_the_release(users: dict[str, User], suite: str) -> None:
    user = users[suite]
    user.apt("install", "hhvm-nightly", "hhvm-nightly-dev", "hhvm-nightly-dbg")
    assert {name.removeprefix("hhvm-nightly") for name in user.installed()} == {"", "-dev", "-dbg"}
    assert "HipHop VM" in user.do("hhvm --version")
