"""Our indices beside those that Debian's own tools make of the same files."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from debian import deb822

from demo import signing_key
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.store.buckets import Bucket
from testing import s3 as s3_server
from testing.apt_client import website
from testing.debs import Deb
from testing.publisher import publish
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "bucket"
FIELDS = "Section: web\nPriority: optional\nDepends: libc6 (>= 2.36),\n libexample\nHomepage: https://example.org/\n"
FIRST = [Deb(f"{version}-1~bookworm", extra=FIELDS) for version in ("1.9.0", "1.10.0~rc1", "1.10.0")]
SECOND = [Deb("1.10.0-1~bookworm", package="hhvm-dev"), Deb("1.0.0-1", package="hhvm-doc")]
"""What one publish adds, and what the next."""


@dataclass(frozen=True)
class Published:
    """A repository that was published to twice."""

    path: Path
    """Its directory, debian."""
    public_key: str

    @property
    def packages(self) -> Path:
        return self.path / "dists/bookworm/main/binary-amd64/Packages"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    directory = tmp_path_factory.mktemp("agreement")
    private, public = signing_key.make("HHVM tests <hhvm@example.org>")
    build = directory / BUCKET / "build"
    build.mkdir(parents=True)
    for deb in [*FIRST, *SECOND]:
        (build / deb.name).write_bytes(deb.content)
    with s3_server.rclone(directory) as endpoint, Signer(private) as signer:
        bucket = Bucket(s3_server.client(endpoint), BUCKET)
        for debs in (FIRST, SECOND):
            publish(
                Suite(bucket, bucket, "debian", "bookworm"),  # also scratch: its keys differ
                {deb.key: deb.artifact for deb in debs},
                signer,
            )
    return Published(directory / BUCKET / "debian", public)


def ftparchive(image: str, directory: Path, *arguments: str) -> str:
    """What apt-ftparchive says in the directory."""
    container = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        f"--volume={directory}:/pool:ro",
        "--workdir=/pool",
    ]
    command = [*container, image, "apt-ftparchive", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def entries(index: str) -> dict[str, dict[str, str]]:
    """The fields of each entry, by its file."""
    return {
        entry["Filename"]: dict(entry) for entry in deb822.Packages.iter_paragraphs(index, use_apt_pkg=False)
    }


def test_the_entries_are_those_of_apt_ftparchive_with_one_digest(
    published: Published, job_image: str
) -> None:
    theirs = entries(ftparchive(job_image, published.path, "packages", "pool"))
    assert len(theirs) == len(FIRST) + len(SECOND)
    for entry in theirs.values():
        for digest in ("MD5sum", "SHA1", "SHA512"):
            del entry[digest]
    assert entries(published.packages.read_text()) == theirs


def test_the_digests_in_release_are_those_of_apt_ftparchive(published: Published, job_image: str) -> None:
    theirs = deb822.Release(ftparchive(job_image, published.path / "dists/bookworm", "release", ".").encode())
    ours = deb822.Release((published.path / "dists/bookworm/Release").read_bytes())
    known = {entry["name"]: (entry["size"], entry["sha256"]) for entry in theirs["SHA256"]}
    assert ours["SHA256"]
    for entry in ours["SHA256"]:
        assert known[entry["name"]] == (entry["size"], entry["sha256"])


# As reprepro sees it, which mirrors it


@pytest.fixture(scope="module")
def reprepro() -> None:
    if not shutil.which("reprepro"):
        subprocess.run([ROOT / "demo/debian-packages", "reprepro"], check=True)


@pytest.fixture
def gnupg() -> Iterator[Path]:
    """An empty keyring; the path is short, as the agent's socket needs."""
    with tempfile.TemporaryDirectory(prefix="hhvm-reprepro-") as home:
        yield Path(home)
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)


def test_reprepro_mirrors_it_and_finds_every_file_right(
    published: Published, reprepro: None, gnupg: Path, tmp_path: Path
) -> None:
    environment = {"GNUPGHOME": str(gnupg), "PATH": "/usr/bin:/bin"}

    def run(*command: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            command, env=environment, input=stdin, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("gpg", "--batch", "--import", stdin=published.public_key)
    keys = run("gpg", "--batch", "--with-colons", "--list-keys").splitlines()
    fingerprint = next(line.split(":")[9] for line in keys if line.startswith("fpr:"))
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "distributions").write_text(
        "Codename: mirror\nArchitectures: amd64\nComponents: main\n"
        "Update: ours\nDebIndices: Packages Release .\n"
    )
    with website(published.path.parent) as server:
        (conf / "updates").write_text(
            f"Name: ours\nMethod: {server.url}/debian\nSuite: bookworm\nComponents: main\n"
            f"Architectures: amd64\nVerifyRelease: {fingerprint[-16:]}\n"
        )
        run("reprepro", "--basedir", str(tmp_path), "update")
    run("reprepro", "--basedir", str(tmp_path), "check")
    run("reprepro", "--basedir", str(tmp_path), "checkpool")

    theirs = (tmp_path / "dists/mirror/main/binary-amd64/Packages").read_bytes()
    # It keeps the newest version of a package, which comes last in ours.
    assert last_of_each(theirs) == last_of_each(published.packages.read_bytes())


def last_of_each(packages: bytes) -> dict[str, tuple[str, str]]:
    """Version and digest by package."""
    stanzas = deb822.Packages.iter_paragraphs(packages, use_apt_pkg=False)
    return {stanza["Package"]: (stanza["Version"], stanza["SHA256"]) for stanza in stanzas}
