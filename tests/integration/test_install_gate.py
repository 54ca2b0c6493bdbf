"""The install gate: what a build leaves is installed in clean containers before it counts as built."""

from __future__ import annotations

import hashlib
import http.server
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from demo import jobs_network, signing_key
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.settings import Settings
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.store.keys import PUBLIC_KEY
from hhvm_packaging.workers.job import Artifact
from jobs import artifacts
from testing.publisher import publish
from testing.serving import serving
from testing.without_debian import forget_debian
from tests.integration.test_jobs import ROOT, Worker, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

DISTROS = {"bookworm": "debian-12-bookworm", "trixie": "debian-13-trixie"}
each_suite = pytest.mark.parametrize("suite", [pytest.param("bookworm", marks=pytest.mark.slow), "trixie"])
REFUSALS = {
    "prepare": "cannot find out what users have",
    "fresh": "the fresh installation of what was built failed",
    "upgrade": "the upgrade installation of what was built failed",
}


@dataclass(frozen=True)
class Build:
    """What the build of one version leaves: the packages hhvm and hhvm-dev."""

    version: str
    says: str = "echo HipHop VM $VERSION '(rel)'; echo Compiler: 2.0.0"
    """What `hhvm --version` runs."""
    fields: str = ""
    """More of hhvm's control file."""
    scripts: dict[str, str] = field(default_factory=dict)
    """hhvm's maintainer scripts."""
    package: str = "hhvm"
    more: dict[str, str] = field(default_factory=dict)
    """The fields of other packages, by name. Those for debug symbols are of Ubuntu's kind."""
    files: dict[str, str] = field(default_factory=dict)
    """More of hhvm's files. All are programs."""
    finish: str = ""
    """A script that finishes hhvm's files, in their directory."""
    source: dict[str, str] = field(default_factory=dict)
    """Files of a source package, besides its control file and changelog; none without any."""

    def make(self, directory: Path, image: str, suite: str = "bookworm") -> dict[str, Artifact]:
        """Leave the packages in ``directory``; they are described as a job describes its own."""
        version = f"{self.version}-1~{suite}"
        packages = {
            self.package: self.fields,
            f"{self.package}-dev": f"Depends: {self.package} (= {version})\n",
            **{name: fields.format(version=version) for name, fields in self.more.items()},
        }
        script = ""
        for package, fields in packages.items():
            tree = directory / f"{package}-{self.version}"
            files = {"DEBIAN/control": control(package, version, fields)}
            if package == self.package:
                files["usr/bin/hhvm"] = f"#!/bin/sh\nVERSION={self.version}\n{self.says}\n"
                files |= self.files
                files |= {f"DEBIAN/{name}": f"#!/bin/sh\n{text}\n" for name, text in self.scripts.items()}
            write(tree, files)
            if package == self.package:
                script += f"(cd {tree}; {self.finish or ':'});"
            name = f"{package}_{version}_amd64.{'ddeb' if package.endswith('-dbgsym') else 'deb'}"
            script += f"dpkg-deb --root-owner-group --build {tree} {name};"
        if self.source:
            tree = directory / f"{self.package}-source"
            write(tree, {"debian/control": source_control(packages), "debian/source/format": "1.0\n"})
            write(tree, {"debian/changelog": CHANGELOG.format(self.package, version, suite), **self.source})
            script += f"dpkg-source --build {tree};"
            image = run(ROOT / "jobs/looking-image").stdout.strip()  # It has dpkg-source.
        made = run(
            *("docker", "run", "--rm", f"--volume={directory}:{directory}", f"--workdir={directory}", image),
            *("sh", "-ec", script),
        )
        assert made.returncode == 0, made.stderr
        found = [Artifact(**artifact) for artifact in artifacts.describe(directory).artifacts]
        return {artifact.name: artifact for artifact in found}


CHANGELOG = """{} ({}) {}; urgency=medium

  * A test.

 -- HHVM <hhvm@example.org>  Thu, 01 Jan 2026 00:00:00 +0000
"""


def write(tree: Path, files: dict[str, str]) -> None:
    """Write programs."""
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)
        (tree / name).chmod(0o755)


def source_control(packages: Iterable[str]) -> str:
    """The control file of a source package."""
    source = "Source: hhvm\nSection: web\nPriority: optional\nMaintainer: HHVM <hhvm@example.org>\n"
    return source + "".join(f"\nPackage: {name}\nArchitecture: any\nDescription: test\n" for name in packages)


def control(package: str, version: str, fields: str) -> str:
    return (
        f"Package: {package}\nVersion: {version}\nArchitecture: amd64\n"
        f"Maintainer: HHVM <hhvm@example.org>\n{fields}Description: test\n"
    )


# What is published


class Website(http.server.ThreadingHTTPServer):
    """The public bucket over HTTP."""

    broken = False

    def __init__(self, directory: Path) -> None:
        super().__init__((jobs_network.gateway(), 0), partial(Handler, directory=str(directory)))

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_port}"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Says nothing."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Website)
        if self.server.broken:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session")
def signer() -> Iterator[Signer]:
    with Signer(signing_key.make("HHVM tests <hhvm@example.org>")[0]) as signer:
        yield signer


class Bench:
    """A worker whose builds are made up, and a public repository."""

    def __init__(self, root: Path, image: str, s3: S3Client, signer: Signer, website: Website) -> None:
        self.root, self.image, self.signer, self.website = root, image, signer, website
        self.store = Store(s3, Settings())
        self.worker = Worker(root / "work", image)

    def publish(self, *builds: Build, suite: str = "bookworm") -> None:
        """Give the builds to the users of the suite."""
        packages = {}
        for build in builds:
            directory = self.root / f"published-{build.version}"
            directory.mkdir()
            for name, artifact in build.make(directory, self.image, suite).items():
                self.store.scratch.put(name, (directory / name).read_bytes())
                packages[name] = artifact
        self.store.downloads.put(PUBLIC_KEY, self.signer.public_key())
        publish(Suite(self.store.downloads, self.store.scratch, "debian", suite), packages, self.signer)

    def build(self, build: Build, suite: str = "bookworm", *, debian: bool = False, **env: str) -> str:
        """Run make-binary-package, of which only the compiling is made up. Returns its log.

        Without ``debian`` it installs from our repository alone.
        """
        distro = self.worker.work / "packaging/distros" / DISTROS[suite]
        if not debian:
            forget_debian(self.worker.work / "packaging/jobs/in-container/install-gate")
        (distro / "built").mkdir()
        build.make(distro / "built", self.image, suite)
        (distro / "make-package").unlink()
        self.worker.write(
            f"packaging/distros/{distro.name}/make-package",
            "cd /opt/hhvm-distro-packaging/built; cp *.*deb /var/out/; for file in *.dsc *.tar.gz; do "
            'if [ -f "$file" ]; then cp "$file" /var/out/; fi; done',
        )
        (self.worker.work / f"in/{build.package}-{build.version}.tar.gz").write_bytes(b"the source")
        self.worker.run(
            "make-binary-package",
            VERSION=build.version,
            DISTRO=distro.name,
            SOURCE_SHA256=hashlib.sha256(b"the source").hexdigest(),
            PUBLIC_URL=f"{self.website.url}/",
            REPOSITORY="debian",
            SUITE=suite,
            **env,
        )
        return self.worker.log

    def assert_built(self, packages: int = 2) -> None:
        assert self.worker.result["exit_status"] == 0, self.worker.log
        assert len(self.worker.result["artifacts"]) == packages

    def assert_refused(self, part: str, *reasons: str) -> None:
        """It does not count as built, and the last lines say why."""
        assert self.worker.result["exit_status"] != 0, self.worker.log
        assert self.worker.result["artifacts"] == []
        lines = self.worker.log.splitlines()
        assert f"debian-12-bookworm: {REFUSALS[part]}" in lines[-1]
        for reason in reasons:
            assert reason in "\n".join(lines[-20:])


@pytest.fixture
def bench(
    tmp_path: Path, job_image: str, s3: S3Client, s3_directory: Path, signer: Signer
) -> Iterator[Bench]:
    website = Website(s3_directory / Settings().downloads_bucket)
    with serving(website):
        yield Bench(tmp_path, job_image, s3, signer, website)


# What installs


@each_suite
def test_a_first_release_is_installed_fresh_with_what_it_depends_on_and_has_nothing_to_upgrade_from(
    bench: Bench, suite: str
) -> None:
    depends = "Depends: ca-certificates\n"
    log = bench.build(Build("1.0.0", fields=depends), suite, debian=True)
    bench.assert_built()
    assert "Setting up ca-certificates" in log
    where = f"1.0.0, {DISTROS[suite]}"
    assert f"\n{where}, fresh install: 1.0.0-1~{suite} installs and runs\n" in log
    assert f"\n{where}, upgrade: nothing to upgrade from: debian {suite} is not published yet\n" in log


@each_suite
def test_the_highest_of_the_lower_published_versions_is_upgraded(bench: Bench, suite: str) -> None:
    bench.publish(*map(Build, ("1.0.9", "1.0.11", "1.0.8")), suite=suite)
    log = bench.build(Build("1.0.10"), suite)
    bench.assert_built()
    for package in ("hhvm", "hhvm-dev"):
        assert f"Unpacking {package} (1.0.10-1~{suite}) over (1.0.9-1~{suite})" in log
    where = f"1.0.10, {DISTROS[suite]}, upgrade from 1.0.9-1~{suite}"
    assert f"\n{where}: 1.0.10-1~{suite} installs and runs\n" in log


@pytest.mark.slow
def test_a_release_by_date_says_its_version_by_the_same_numbers(bench: Bench) -> None:
    bench.publish(Build("26.9.28"))
    log = bench.build(Build("26.09.29", says="echo HipHop VM 26.9.29"))
    bench.assert_built()
    assert "upgrade from 26.9.28-1~bookworm: 26.09.29-1~bookworm installs and runs" in log


def test_where_only_higher_versions_are_published_there_is_nothing_to_upgrade_from(bench: Bench) -> None:
    bench.publish(Build("1.1.0"))
    log = bench.build(Build("1.0.1"))
    bench.assert_built()
    assert "nothing to upgrade from: debian bookworm has no hhvm lower than 1.0.1-1~bookworm" in log


@pytest.mark.slow
def test_a_nightly_is_upgraded_too_and_may_call_itself_what_it_likes(bench: Bench) -> None:
    bench.publish(Build("1.0.0"), Build("2026.11.21", package="hhvm-nightly"))
    log = bench.build(Build("2026.11.22", package="hhvm-nightly", says="echo 1.1.0-dev"))
    bench.assert_built()
    assert "upgrade from 2026.11.21-1~bookworm: 2026.11.22-1~bookworm installs and runs" in log


@pytest.mark.slow
def test_a_published_version_that_nobody_can_install_does_not_stand_in_the_way(bench: Bench) -> None:
    bench.publish(Build("1.0.0", fields="Depends: no-such-package\n"))
    log = bench.build(Build("1.0.1"))
    bench.assert_built()
    assert "nothing to upgrade from: apt refuses to install what is published" in log


@pytest.mark.slow
def test_a_published_version_that_fails_to_install_can_be_repaired(bench: Bench) -> None:
    bench.publish(Build("1.0.0", scripts={"postinst": "exit 1"}))
    log = bench.build(Build("1.0.1"))
    bench.assert_built()
    assert "Unpacking hhvm (1.0.1-1~bookworm) over (1.0.0-1~bookworm)" in log


def test_a_package_can_change_neither_what_was_built_nor_reach_the_engine(bench: Bench) -> None:
    look = "if touch /var/out/hhvm.deb || [ -e /var/run/docker.sock ]; then exit 1; fi"
    bench.build(Build("1.0.0", scripts={"postinst": look}))
    bench.assert_built()


# All that the build declares


SAME = "Depends: hhvm (= {version})\n"


def test_all_packages_of_a_build_are_installed_over_all_that_users_have(bench: Bench) -> None:
    bench.publish(Build("1.0.0", more={"hhvm-dbg": SAME}))
    log = bench.build(Build("1.0.1", more={"hhvm-dbg": SAME, "hhvm-dev-dbgsym": SAME}))
    bench.assert_built(4)
    for package in ("hhvm", "hhvm-dev", "hhvm-dbg"):
        assert f"Unpacking {package} (1.0.1-1~bookworm) over (1.0.0-1~bookworm)" in log
    # Fresh, again after a purge, and as an upgrade.
    assert log.count("Setting up hhvm-dev-dbgsym (1.0.1-1~bookworm)") == 3


def test_a_build_without_a_package_that_users_have_is_refused_if_apt_would_keep_hhvm_back(
    bench: Bench,
) -> None:
    bench.publish(Build("1.0.0", more={"hhvm-dbg": SAME}))
    bench.build(Build("1.0.1"))
    bench.assert_refused("upgrade", "back for users who have", "the build has no hhvm-dbg any more")


@pytest.mark.slow
def test_a_package_that_the_build_replaces_by_its_own_word_is_no_obstacle(bench: Bench) -> None:
    bench.publish(Build("1.0.0", more={"hhvm-dbg": SAME}))
    log = bench.build(Build("1.0.1", fields="Breaks: hhvm-dbg (<< 1.0.1)\nReplaces: hhvm-dbg\n"))
    bench.assert_built()
    assert "Removing hhvm-dbg (1.0.0-1~bookworm)" in log
    assert "until they run apt-get dist-upgrade: the build replaces a package" in log


@pytest.mark.slow
def test_packages_that_exclude_each_other_are_each_installable(bench: Bench) -> None:
    log = bench.build(Build("1.0.1", more={"hhvm-other": "Conflicts: hhvm-dev\n"}))
    bench.assert_built(3)
    assert "hhvm-other can be installed, but not beside hhvm hhvm-dev" in log


@pytest.mark.parametrize("package", ["hhvm-dbg", "hhvm-dbgsym"])
def test_a_package_of_any_kind_that_does_not_install_is_refused(bench: Bench, package: str) -> None:
    bench.build(Build("1.0.1", more={package: "Depends: no-such-package\n"}))
    bench.assert_refused(
        "fresh", f"{package} : Depends: no-such-package", "1.0.1-1~bookworm does not install"
    )


# What does not


FRESH = "1.0.1, debian-12-bookworm, fresh install: "


@pytest.mark.parametrize(
    ("build", "reasons"),
    [
        (
            Build("1.0.1", fields="Depends: no-such-package\n"),
            ("hhvm : Depends: no-such-package", f"{FRESH}1.0.1-1~bookworm does not install"),
        ),
        (
            Build("1.0.1", scripts={"postinst": "echo the postinst is unhappy; exit 1"}),
            ("the postinst is unhappy", f"{FRESH}1.0.1-1~bookworm does not install"),
        ),
        (
            Build("1.0.1", says="echo HipHop VM 1.0.1-dev '(rel)'"),
            (f"{FRESH}the first line of hhvm --version, 'HipHop VM 1.0.1-dev (rel)', does not say 1.0.1",),
        ),
        (
            Build("1.0.1", says="echo HipHop VM 1.0.1; echo hhvm is unhappy >&2; exit 3"),
            ("hhvm is unhappy", f"{FRESH}hhvm --version ended with exit status 3"),
        ),
    ],
    ids=["missing dependency", "failing postinst", "another version", "failing program"],
)
def test_what_does_not_install_is_not_built(bench: Bench, build: Build, reasons: tuple[str, ...]) -> None:
    bench.build(build)
    bench.assert_refused("fresh", *reasons)


def test_what_cannot_be_upgraded_to_is_not_built(bench: Bench) -> None:
    bench.publish(Build("1.0.0"))
    log = bench.build(Build("1.0.1", scripts={"preinst": '[ "$1" != upgrade ]'}))
    assert f"{FRESH}1.0.1-1~bookworm installs and runs" in log
    bench.assert_refused(
        "upgrade",
        "hhvm package pre-installation script subprocess returned error exit status 1",
        "1.0.1, debian-12-bookworm, upgrade from 1.0.0-1~bookworm: 1.0.1-1~bookworm does not install",
    )


@pytest.mark.slow
def test_a_repository_that_does_not_answer_is_an_error(bench: Bench) -> None:
    bench.website.server_close()
    bench.build(Build("1.0.1"))
    bench.assert_refused("prepare", "onnect", "1.0.1, debian-12-bookworm: cannot tell what is published")


@pytest.mark.slow
def test_a_repository_that_reports_an_error_is_an_error(bench: Bench) -> None:
    bench.website.broken = True
    bench.build(Build("1.0.1"))
    bench.assert_refused("prepare", "503  Service Unavailable", "cannot tell what is published")


def test_a_published_package_whose_file_is_missing_is_an_error(bench: Bench) -> None:
    bench.publish(Build("1.0.0"))
    bench.store.downloads.delete("debian/pool/main/h/hhvm/hhvm_1.0.0-1~bookworm_amd64.deb")
    bench.build(Build("1.0.1"))
    bench.assert_refused("prepare", "404", "what is published cannot be fetched")
