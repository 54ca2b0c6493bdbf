"""Publishing to apt repositories, as Debian's own apt sees it and as S3 keeps it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo import signing_key
from hhvm_packaging.apt import index, lock, packages_index, release_file, signing, undo
from hhvm_packaging.apt.index import AlreadyPublished
from hhvm_packaging.apt.pool import Unpublishable
from hhvm_packaging.apt.signing import BadSignature, Signer
from hhvm_packaging.apt.sources_index import SOURCES
from hhvm_packaging.apt.suite import Damaged, Suite
from hhvm_packaging.apt.undo import CannotUndo
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Conflict, Store
from hhvm_packaging.workers.job import Artifact
from testing import apt_client
from testing import debs as debs_
from testing import s3 as s3_server
from testing.indices import variants
from testing.publisher import publish
from testing.s3 import Died, recorded, writes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from mypy_boto3_s3 import S3Client

    from hhvm_packaging.apt.change import Change
    from hhvm_packaging.apt.snapshots import Snapshot
    from hhvm_packaging.apt.undo import Undone
    from testing.apt_client import Website

OLDEST, OLD, NEW = "0.9.0-1~bookworm", "1.0.0-1~bookworm", "1.0.1-1~bookworm"
POOL = "pool/main/h/hhvm/"
SUITE = "debian/dists/bookworm/"
BINARY = f"{SUITE}main/binary-amd64/"

COMMIT = f"PutObject {SUITE}InRelease"
"""The write that decides what users get."""
WRITES = [
    f"CopyObject debian/{POOL}hhvm_{NEW}_amd64.deb",
    f"PutObject {BINARY}by-hash/SHA256/(digest)",
    f"PutObject {BINARY}by-hash/SHA256/(digest)",
    f"PutObject {BINARY}by-hash/SHA256/(digest)",
    "PutObject snapshots/debian/bookworm/(snapshot).json",
    COMMIT,
    f"CopyObject {BINARY}Packages",
    f"CopyObject {BINARY}Packages.gz",
    f"CopyObject {BINARY}Packages.xz",
    f"PutObject {SUITE}Release.gpg",
    "PutObject snapshots/debian/bookworm/(snapshot).json",
    f"PutObject {SUITE}Release",
]
"""The writes of a publish of one package, in the order that the design fixes."""
UNTIL_COMMIT = WRITES.index(COMMIT)
BUILT, POOL_FILE = f"HeadObject build/hhvm_{NEW}_amd64.deb", f"HeadObject debian/{POOL}hhvm_{NEW}_amd64.deb"
"""The requests that look for the package in scratch, and in the pool: before the copy, and after it."""
READ_BUILT, READ_POOL_FILE = BUILT.replace("Head", "Get"), POOL_FILE.replace("Head", "Get")
"""Those that read it: its beginning in scratch, and all of it where the store computes no checksums."""
READ = f"GetObject {SUITE}InRelease"
READ_INDEX = f"GetObject {BINARY}by-hash/SHA256/(digest)"
LOOK_FOR_SNAPSHOT = "HeadObject snapshots/debian/bookworm/(snapshot).json"
LIST_LATER = "ListObjectsV2 "
"""The request for later snapshots."""
READ_LAST = f"GetObject {SUITE}Release"


# Versions of a package


@dataclass(frozen=True)
class Deb:
    """A package as a build left it."""

    content: bytes
    artifact: Artifact

    @property
    def key(self) -> str:
        return f"build/{self.artifact.name}"


@pytest.fixture(scope="session")
def debs(tmp_path_factory: pytest.TempPathFactory, job_image: str) -> dict[str, Deb]:
    """Real packages, by version, with the stanzas that jobs make."""
    directory = tmp_path_factory.mktemp("debs")
    return {version: make_deb(directory, job_image, version) for version in (OLDEST, OLD, NEW)}


def make_deb(directory: Path, image: str, version: str) -> Deb:
    name = f"hhvm_{version}_amd64.deb"
    tree = directory / version
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: hhvm\nVersion: {version}\nArchitecture: amd64\nMaintainer: HHVM <hhvm@example.org>\n"
        "Description: A virtual machine \u2013 for Hack\n  Oddly   spaced\n .\n and long.\n"
    )
    (tree / "usr/bin").mkdir(parents=True)
    program = tree / "usr/bin/hhvm"
    program.write_text(f"#!/bin/sh\necho HHVM {version}\n")
    program.chmod(0o755)
    script = f"dpkg-deb --root-owner-group --build {version} {name} >&2 && apt-ftparchive packages ./{name}"
    container = [
        "docker",
        "run",
        "--rm",
        f"--volume={directory}:{directory}",
        f"--workdir={directory}",
        image,
    ]
    done = subprocess.run([*container, "sh", "-c", script], check=True, capture_output=True, text=True)
    return as_built((directory / name).read_bytes(), name, done.stdout.strip("\n"))


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory, job_image: str) -> dict[str, tuple[Deb, ...]]:
    """Real source packages of the old version, by distribution: .dsc first, then what it names."""
    directory = tmp_path_factory.mktemp("sources")
    return {suite: make_source(directory, job_image, f"1.0.0-1~{suite}") for suite in ("bookworm", "trixie")}


def make_source(directory: Path, image: str, version: str) -> tuple[Deb, ...]:
    """A source package as dpkg-source makes it, but with invalid tarballs: apt does not unpack them."""
    orig = as_built(gzip.compress(b"upstream", mtime=0), "hhvm_1.0.0.orig.tar.gz")
    debian = as_built(lzma.compress(version.encode()), f"hhvm_{version}.debian.tar.xz")
    lines = [
        "Format: 3.0 (quilt)",
        "Source: hhvm",
        "Binary: hhvm",
        "Architecture: any",
        f"Version: {version}",
    ]
    lines += ["Maintainer: HHVM <hhvm@example.org>", "Package-List:", " hhvm deb web optional arch=any"]
    for field, digest in (("Checksums-Sha256", "sha256"), ("Files", "md5")):
        artifacts = [file.artifact for file in (orig, debian)]
        lines += [f"{field}:", *(f" {getattr(file, digest)} {file.size} {file.name}" for file in artifacts)]
    dsc = as_built("".join(f"{line}\n" for line in lines).encode(), f"hhvm_{version}.dsc")
    for file in (dsc, orig, debian):
        (directory / file.artifact.name).write_bytes(file.content)
    stanza = subprocess.run(
        [
            *("docker", "run", "--rm", f"--volume={directory}:{directory}:ro", f"--workdir={directory}"),
            *(image, "apt-ftparchive", "sources", f"./{dsc.artifact.name}"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return as_built(dsc.content, dsc.artifact.name, stanza), orig, debian


def as_built(content: bytes, name: str, stanza: str | None = None) -> Deb:
    sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()  # ruff: ignore[hashlib-insecure-hash-function]
    return Deb(content, Artifact(name=name, size=len(content), sha256=sha256, md5=md5, stanza=stanza))


def small(deb: debs_.Deb) -> Deb:
    """A package that was made without dpkg-deb."""
    return Deb(deb.content, deb.artifact)


# A repository


@pytest.fixture(scope="session")
def key() -> tuple[str, str]:
    return signing_key.make("HHVM tests <hhvm@example.org>")


@pytest.fixture(scope="session")
def signer(key: tuple[str, str]) -> Iterator[Signer]:
    with Signer(key[0]) as signer:
        yield signer


class Repository:
    """The repository of one store."""

    def __init__(self, s3: S3Client, signer: Signer) -> None:
        store = Store(s3, Settings())
        self.s3, self.signer = s3, signer
        self.scratch, self.downloads = store.scratch, store.downloads

    def build(self, deb: Deb) -> None:
        self.scratch.supports_conditional_writes()  # Asked once, before any publish.
        self.scratch.computes_checksums()
        where: dict[str, Any] = {"Bucket": self.scratch.name, "Key": deb.key}
        self.s3.put_object(**where, Body=deb.content, ChecksumAlgorithm="SHA256")

    def suite(self, name: str = "bookworm", *, at_once: int = 1, locks: Path = lock.DIRECTORY) -> Suite:
        return Suite(self.downloads, self.scratch, "debian", name, at_once=at_once, locks=locks)

    def publish(
        self,
        *files: Deb,
        suite: str = "bookworm",
        signer: Signer | None = None,
        architectures: tuple[str, ...] = ("amd64",),
        **options: Any,
    ) -> Change:
        artifacts = {file.key: file.artifact for file in files}
        target = self.suite(suite, **options)
        return publish(target, artifacts, signer or self.signer, architectures=architectures)

    def history(self) -> list[Snapshot]:
        return undo.read_history(self.suite())

    def undo(self, to: str) -> Undone:
        return undo.undo(self.suite(), to, self.signer)

    def reinstate(self, version: str) -> tuple[str, ...]:
        return undo.reinstate(self.suite(), version, self.signer)

    def versions(self) -> set[str]:
        """The versions that InRelease offers. Checks that every file that it names exists."""
        in_release = self.downloads.get(f"{SUITE}InRelease")
        if in_release is None:
            return set()
        release = release_file.Release.parse(signing.signed_text(in_release, self.signer.public_key()))
        for name, digest in release.sha256.items():
            content = self.downloads.get(keys.by_hash(SUITE + name, digest))
            assert content is not None
            assert index.sha256(content) == digest
        packages = read(self)
        for stanza in packages.stanzas:
            assert index.sha256(self.downloads.get(f"debian/{stanza.filename}") or b"") == stanza.sha256
        return {stanza.version for stanza in packages.stanzas}

    def assert_whole(self) -> None:
        """The plain names agree with InRelease."""
        text = signing.signed_text(self.downloads.get(f"{SUITE}InRelease") or b"", self.signer.public_key())
        assert self.downloads.get(f"{SUITE}Release") == text
        signing.verify(text, self.downloads.get(f"{SUITE}Release.gpg") or b"", self.signer.public_key())
        for name, digest in release_file.Release.parse(text).sha256.items():
            assert index.sha256(self.downloads.get(SUITE + name) or b"") == digest


@pytest.fixture
def published(s3: S3Client, signer: Signer, debs: dict[str, Deb]) -> Repository:
    """A repository with the old version. The new version is built."""
    repository = Repository(s3, signer)
    for deb in debs.values():
        repository.build(deb)
    repository.publish(debs[OLD])
    return repository


# Its users


@pytest.fixture
def website(s3_directory: Path) -> Iterator[Website]:
    """The public bucket over HTTP."""
    with apt_client.website(s3_directory / Settings().downloads_bucket) as server:
        yield server


class Apt:
    """Clean machines whose only source of packages is the repository."""

    def __init__(self, website: Website, key: Path) -> None:
        self.website, self.key = website, key

    def run(
        self, script: str, *, suite: str = "bookworm", meanwhile: Callable[[], object] | None = None
    ) -> str:
        """The output of ``script``. Where the script says ``meanwhile``, that function is called."""
        source = f"[signed-by=/hhvm.asc] {self.website.url}/debian {suite} main"
        lines = (
            f"echo 'deb {source}' > /etc/apt/sources.list; echo 'deb-src {source}' >> /etc/apt/sources.list"
        )
        prepare = f"rm -rf /etc/apt/sources.list*; {lines}; meanwhile() {{ echo '{MEANWHILE}'; read _ <&3; }}"
        with subprocess.Popen(
            [
                *("docker", "run", "--rm", "--interactive", "--network=host"),
                *(f"--volume={self.key}:/hhvm.asc:ro", f"debian:{suite}"),
                *("sh", "-e", "-c", f"exec 3<&0 </dev/null; {prepare}; {UPDATE}; {script}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as container:
            assert container.stdin
            assert container.stdout
            assert container.stderr
            output = ""
            for line in container.stdout:
                output += line
                if line == f"{MEANWHILE}\n" and meanwhile:
                    meanwhile()
                    container.stdin.write("\n")
                    container.stdin.flush()
            errors = container.stderr.read()
        assert container.returncode == 0, output + errors
        return output

    def installed(self, *, suite: str = "bookworm") -> str:
        """The output of the hhvm that a user installs now."""
        return self.run(f"{INSTALL} hhvm; hhvm", suite=suite).splitlines()[-1]


MEANWHILE = "the world goes on"
# Without the option a failed update is only a warning.
UPDATE = "apt-get --quiet --quiet --error-on=any update"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes install"


@pytest.fixture
def apt(website: Website, key: tuple[str, str], base_images: None, tmp_path: Path) -> Apt:
    path = tmp_path / "hhvm.asc"
    path.write_text(key[1])
    path.chmod(0o644)  # apt reads it as a user of its own
    return Apt(website, path)


# What users get


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_users_install_what_is_published(
    published: Repository, debs: dict[str, Deb], apt: Apt, suite: str
) -> None:
    published.publish(debs[OLD], suite=suite)
    assert apt.installed(suite=suite) == f"HHVM {OLD}"


def test_users_upgrade_to_what_is_published_next(
    published: Repository, debs: dict[str, Deb], apt: Apt
) -> None:
    published.publish(debs[NEW])
    output = apt.run(f"{INSTALL} hhvm={OLD}; hhvm; {INSTALL} hhvm; hhvm").splitlines()
    assert [line for line in output if line.startswith("HHVM ")] == [f"HHVM {OLD}", f"HHVM {NEW}"]


def test_an_update_that_a_publish_overtakes_still_succeeds(
    published: Repository, debs: dict[str, Deb], apt: Apt
) -> None:
    apt.website.before_in_release = lambda: published.publish(debs[NEW])
    assert apt.installed() == f"HHVM {OLD}"
    assert apt.installed() == f"HHVM {NEW}"


# Sources


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_users_get_the_source_of_a_version(
    published: Repository, sources: dict[str, tuple[Deb, ...]], apt: Apt, suite: str
) -> None:
    for name, files in sources.items():
        for file in files:
            published.build(file)
        published.publish(*files, suite=name)
    output = apt.run(
        f"apt-get --quiet --quiet source --download-only hhvm=1.0.0-1~{suite}; sha256sum hhvm_*", suite=suite
    )
    assert set(output.splitlines()) == {
        f"{file.artifact.sha256}  {file.artifact.name}" for file in sources[suite]
    }


def test_the_upstream_tarball_is_shared_and_immutable(
    published: Repository, sources: dict[str, tuple[Deb, ...]]
) -> None:
    for file in (*sources["bookworm"], *sources["trixie"]):
        published.build(file)
    published.publish(*sources["bookworm"])
    with recorded(published.s3) as sent:
        done = published.publish(*sources["trixie"], suite="trixie")
    assert done.added == {("hhvm", "1.0.0-1~trixie", "source")}
    assert not [request for request in writes(sent) if ".orig.tar.gz" in request]

    dsc, orig, debian = sources["trixie"]
    other = as_built(orig.content + b"more", orig.artifact.name)
    text = dsc.content.decode().replace("Version: 1.0.0-1", "Version: 1.0.0-2")
    for old, new in ((orig.artifact.sha256, other.artifact.sha256), (orig.artifact.md5, other.artifact.md5)):
        text = text.replace(f"{old} {orig.artifact.size}", f"{new} {other.artifact.size}")
    changed = as_built(text.encode(), dsc.artifact.name.replace("1.0.0-1", "1.0.0-2"))
    for file in (changed, other):
        published.build(file)
    with recorded(published.s3) as sent, pytest.raises(AlreadyPublished) as refused:
        published.publish(changed, other, debian, suite="noble")
    assert not writes(sent)
    assert other.artifact.sha256 in str(refused.value)
    assert orig.artifact.md5 in str(refused.value)


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_source_package_that_is_not_whole_is_refused(
    published: Repository, sources: dict[str, tuple[Deb, ...]], left_out: int
) -> None:
    files = [file for number, file in enumerate(sources["bookworm"]) if number != left_out]
    for file in files:
        published.build(file)
    with recorded(published.s3) as sent, pytest.raises(Unpublishable, match=r"orig\.tar\.gz"):
        published.publish(*files)
    assert not writes(sent)


def test_publishing_a_source_again_writes_nothing(
    published: Repository, sources: dict[str, tuple[Deb, ...]]
) -> None:
    for file in sources["bookworm"]:
        published.build(file)
    published.publish(*sources["bookworm"])
    (source,) = published.suite().read().sources.stanzas
    assert source.directory == POOL.rstrip("/")
    with recorded(published.s3) as sent:
        assert not published.publish(*sources["bookworm"])
    assert not writes(sent)


# Undoing


def test_users_who_had_a_bad_version_go_back_to_the_old_one(
    published: Repository, debs: dict[str, Deb], apt: Apt
) -> None:
    published.publish(debs[NEW])
    good = published.history()[1].name
    output = apt.run(
        f"{INSTALL} hhvm; hhvm; meanwhile;"
        f" {UPDATE}; apt-cache policy hhvm; {INSTALL} --allow-downgrades hhvm={OLD}; hhvm",
        meanwhile=lambda: published.undo(good),
    )
    assert [line for line in output.splitlines() if line.startswith("HHVM ")] == [
        f"HHVM {NEW}",
        f"HHVM {OLD}",
    ]
    assert f"{NEW} 500" not in output
    assert published.versions() == {OLD}
    published.assert_whole()


def test_an_undo_says_what_it_took_and_how_users_downgrade(
    published: Repository, debs: dict[str, Deb]
) -> None:
    published.publish(debs[NEW])
    done = published.undo(published.history()[1].name)
    assert done.removed == (f"hhvm {NEW} amd64",)
    assert done.added == ()
    assert done.downgrade == f"apt-get update && apt-get install --allow-downgrades hhvm={OLD}"


def test_each_commit_is_in_the_history(published: Repository, debs: dict[str, Deb]) -> None:
    published.publish(debs[NEW])
    published.undo(published.history()[1].name)
    published.reinstate(NEW)
    published.publish(debs[NEW])
    history = published.history()
    assert [snapshot.reason for snapshot in history] == [
        "publish",
        f"release {NEW}",
        f"undo to {history[4].name}",
        "publish",
        "publish",
    ]
    assert [snapshot.added for snapshot in history[3:]] == [(f"hhvm {NEW} amd64",), (f"hhvm {OLD} amd64",)]
    assert history[2].removed == (f"hhvm {NEW} amd64",)
    assert history[0].in_release.encode() == published.downloads.get(f"{SUITE}InRelease")


def test_a_withdrawn_version_is_left_out_until_it_is_reinstated(
    published: Repository, debs: dict[str, Deb]
) -> None:
    published.publish(debs[NEW])
    published.undo(published.history()[1].name)
    with recorded(published.s3) as sent:
        done = published.publish(debs[NEW], debs[OLD])
    assert not writes(sent)
    assert not done

    published.publish(debs[OLDEST], debs[NEW])
    assert published.versions() == {OLDEST, OLD}
    assert published.reinstate(NEW) == (f"hhvm {NEW} amd64",)
    assert published.reinstate(NEW) == ()
    assert published.versions() == {OLDEST, OLD}
    assert published.publish(debs[NEW]).added == {("hhvm", NEW, "amd64")}
    assert published.versions() == {OLDEST, OLD, NEW}


@pytest.mark.parametrize(
    ("prefix", "named"), [(f"debian/{POOL}", f"hhvm_{OLD}_amd64.deb"), (BINARY, "main/binary-amd64/Packages")]
)
def test_a_state_whose_files_are_gone_is_not_put_back(
    published: Repository, debs: dict[str, Deb], prefix: str, named: str
) -> None:
    good = published.history()[0].name
    lost = [key for key in published.downloads.keys(prefix) if "by-hash" in key or "/pool/" in key]
    published.publish(debs[NEW])
    for key in lost:
        published.downloads.delete(key)
    with recorded(published.s3) as sent, pytest.raises(Damaged, match=re.escape(named)):
        published.undo(good)
    assert not writes(sent)


def test_only_a_committed_state_without_withdrawn_packages_is_put_back(
    published: Repository, debs: dict[str, Deb]
) -> None:
    published.publish(debs[NEW])
    bad, good = published.history()[:2]
    published.undo(good.name)
    with pytest.raises(CannotUndo, match=f"withdrawn: hhvm {NEW} amd64"):
        published.undo(bad.name)
    with pytest.raises(CannotUndo, match="never in a state"):
        published.undo("20260101T000000Z-000000000000")
    published.reinstate(NEW)
    published.undo(bad.name)
    assert published.versions() == {OLD, NEW}


# Architectures


def test_each_architecture_has_an_index_and_packages_for_all_are_in_each(
    published: Repository, debs: dict[str, Deb]
) -> None:
    for_all, arm = (small(debs_.Deb(NEW, architecture=architecture)) for architecture in ("all", "arm64"))
    published.build(for_all)
    published.build(arm)
    published.publish(for_all)
    published.publish(arm, architectures=("amd64", "arm64"))
    offered = {
        architecture: [stanza.identity for stanza in published.suite().read().packages[architecture].stanzas]
        for architecture in ("amd64", "arm64")
    }
    assert offered == {
        "amd64": [("hhvm", OLD, "amd64"), ("hhvm", NEW, "all")],
        "arm64": [("hhvm", NEW, "all"), ("hhvm", NEW, "arm64")],
    }
    published.assert_whole()
    # An architecture that is no longer set keeps its packages.
    published.publish(debs[OLDEST])
    assert published.suite().read().packages["arm64"].stanzas


# What is written


def test_writes_are_in_the_order_that_is_safe_to_die_in(published: Repository, debs: dict[str, Deb]) -> None:
    with recorded(published.s3) as sent:
        published.publish(debs[NEW])
    digests = {index.sha256(content) for content in variants(read(published)).values()}
    assert [without(digests, request) for request in writes(sent)] == WRITES


def test_requests_at_the_same_time_keep_the_order_that_matters(
    published: Repository, debs: dict[str, Deb]
) -> None:
    with recorded(published.s3) as sent:
        published.publish(debs[NEW], at_once=8)
    digests = {index.sha256(content) for content in variants(read(published)).values()}
    written = [without(digests, request) for request in writes(sent)]
    commit = written.index(COMMIT)
    assert written[0] == WRITES[0]
    assert sorted(written[:commit]) == sorted(WRITES[:UNTIL_COMMIT])
    assert sorted(written[commit:]) == sorted(WRITES[UNTIL_COMMIT:])
    assert written[-1] == WRITES[-1]
    published.assert_whole()


@pytest.mark.parametrize(
    ("store", "reads"),
    [
        (
            "conditional",
            [BUILT, READ_BUILT, READ, READ_INDEX, LIST_LATER, POOL_FILE, POOL_FILE, LOOK_FOR_SNAPSHOT],
        ),
        (
            "published",
            [
                *(BUILT, READ_BUILT, READ_BUILT, READ, READ_INDEX, LIST_LATER),
                *(POOL_FILE, POOL_FILE, READ_POOL_FILE, LOOK_FOR_SNAPSHOT, READ_LAST),
            ],
        ),
    ],
)
def test_a_publish_reads_the_suite_and_looks_for_its_files(
    store: str, reads: list[str], debs: dict[str, Deb], request: pytest.FixtureRequest
) -> None:
    repository = request.getfixturevalue(store)
    repository.publish(debs[OLDEST])
    digests = {index.sha256(content) for content in variants(read(repository)).values()}
    with recorded(repository.s3) as sent:
        repository.publish(debs[NEW])
    assert [without(digests, request) for request in sent if request not in writes(sent)] == reads
    repository.assert_whole()


@pytest.mark.parametrize("store", ["conditional", "published"])
def test_plain_names_that_a_dead_publisher_did_not_write_are_written_by_the_next_publish(
    store: str,
    sources: dict[str, tuple[Deb, ...]],
    debs: dict[str, Deb],
    request: pytest.FixtureRequest,
) -> None:
    repository = request.getfixturevalue(store)
    repository.publish(debs[OLD])
    for file in sources["bookworm"]:
        repository.build(file)
    after_commit = len([*sources["bookworm"], *index.names(SOURCES), "snapshot", "InRelease"])
    with recorded(repository.s3, die_after=after_commit) as sent, pytest.raises(Died):
        repository.publish(*sources["bookworm"])
    assert writes(sent)[-1] == COMMIT
    repository.publish(debs[NEW])
    repository.assert_whole()


def test_a_suite_that_another_tool_made_without_by_hash_files_gets_them(
    published: Repository, signer: Signer, debs: dict[str, Deb]
) -> None:
    text = (published.downloads.get(f"{SUITE}Release") or b"").replace(b"Acquire-By-Hash: yes\n", b"")
    published.downloads.put(f"{SUITE}InRelease", signer.clearsign(text))
    for key in [key for key in published.downloads.keys(SUITE) if "/by-hash/" in key]:
        published.downloads.delete(key)
    published.publish(debs[NEW])
    assert published.versions() == {OLD, NEW}


def read(published: Repository) -> packages_index.Packages:
    return published.suite().read().packages.get("amd64", packages_index.Packages())


def without(digests: set[str], request: str) -> str:
    for digest in digests:
        request = request.replace(digest, "(digest)")
    return re.sub(r"[0-9TZ]+-[0-9a-f]{12}\.json", "(snapshot).json", request)


def test_a_publish_lists_only_later_snapshots_and_reads_of_a_package_only_its_beginning(
    conditional: Repository, debs: dict[str, Deb]
) -> None:
    """Where the store computes checksums."""
    conditional.publish(debs[OLD])
    with recorded(conditional.s3) as sent:
        conditional.publish(debs[NEW])
    assert [request for request in sent if request.startswith("List")] == [LIST_LATER]
    assert [request for request in sent if request.startswith("Get") and request.endswith(".deb")] == [
        f"GetObject build/hhvm_{NEW}_amd64.deb"
    ]


def test_indices_have_the_control_file_of_the_package_and_its_place_size_and_digest(
    published: Repository, debs: dict[str, Deb]
) -> None:
    published.publish(debs[NEW])
    name = debs[NEW].artifact.name
    stanza = read(published).find("hhvm", NEW)
    assert stanza
    assert stanza.text.startswith(f"Package: hhvm\nVersion: {NEW}\nArchitecture: amd64\n")
    assert "A virtual machine \u2013 for Hack\n  Oddly   spaced\n .\n and long.\n" in stanza.text
    artifact = debs[NEW].artifact
    assert f"Filename: {POOL}{name}\nSize: {artifact.size}\nSHA256: {artifact.sha256}" in stanza.text


def test_by_hash_files_of_earlier_commits_stay(published: Repository, debs: dict[str, Deb]) -> None:
    before = variants(read(published))
    published.publish(debs[NEW])
    for name, content in before.items():
        assert published.downloads.get(keys.by_hash(SUITE + name, index.sha256(content))) == content


def test_each_commit_is_dated_later_than_the_last(published: Repository, debs: dict[str, Deb]) -> None:
    before = release_file.Release.parse(published.downloads.get(f"{SUITE}Release") or b"")
    published.publish(debs[NEW])
    after = release_file.Release.parse(published.downloads.get(f"{SUITE}Release") or b"")
    assert after.date > before.date


def test_publishing_again_writes_nothing(published: Repository, debs: dict[str, Deb]) -> None:
    with recorded(published.s3) as sent:
        done = published.publish(debs[OLD])
    assert not writes(sent)
    assert not done


def test_publishing_again_does_not_need_scratch(published: Repository, debs: dict[str, Deb]) -> None:
    published.scratch.delete(debs[OLD].key)
    assert not published.publish(debs[OLD])


def test_a_lost_pool_file_comes_back_with_the_next_publish(
    published: Repository, debs: dict[str, Deb]
) -> None:
    published.downloads.delete(f"debian/{POOL}hhvm_{OLD}_amd64.deb")
    published.publish(debs[OLD])
    assert published.versions() == {OLD}


def test_one_publish_adds_several_packages_in_one_commit(
    s3: S3Client, signer: Signer, debs: dict[str, Deb]
) -> None:
    fresh = Repository(s3, signer)
    for version in (OLD, NEW):
        fresh.build(debs[version])
    with recorded(s3) as sent:
        fresh.publish(debs[OLD], debs[NEW])
    assert sent.count(COMMIT) == 1
    assert fresh.versions() == {OLD, NEW}


# What others ask


def test_a_suite_that_was_never_published_is_empty(s3: S3Client, signer: Signer) -> None:
    assert read(Repository(s3, signer)).stanzas == ()


def test_what_is_published_can_be_asked_for(published: Repository) -> None:
    assert read(published).find("hhvm", OLD)
    assert not read(published).find("hhvm", NEW)


def test_a_suite_without_by_hash_files_is_read_by_its_plain_names(
    published: Repository, debs: dict[str, Deb]
) -> None:
    for name, content in variants(read(published)).items():
        published.downloads.delete(keys.by_hash(SUITE + name, index.sha256(content)))
    published.publish(debs[NEW])
    assert {stanza.version for stanza in read(published).stanzas} == {OLD, NEW}


# What is refused


def assert_refused(published: Repository, deb: Deb, error: type[Exception]) -> str:
    """Check that publishing raises the error and writes nothing. Returns the message."""
    with recorded(published.s3) as sent, pytest.raises(error) as refused:
        published.publish(deb)
    assert not writes(sent)
    return str(refused.value)


def test_a_pool_file_is_never_replaced(published: Repository, debs: dict[str, Deb]) -> None:
    new = debs[NEW].artifact
    key = f"debian/{POOL}{new.name}"
    published.downloads.put(key, b"other bytes")
    message = assert_refused(published, debs[NEW], AlreadyPublished)
    assert key in message
    assert hashlib.md5(b"other bytes").hexdigest() in message  # ruff: ignore[hashlib-insecure-hash-function]
    assert new.sha256 in message


def test_a_published_version_is_never_replaced(published: Repository, debs: dict[str, Deb]) -> None:
    rebuilt = small(debs_.Deb(OLD))
    published.build(rebuilt)
    message = assert_refused(published, rebuilt, AlreadyPublished)
    assert "debian bookworm" in message
    assert debs[OLD].artifact.sha256 in message
    assert rebuilt.artifact.sha256 in message


@pytest.mark.parametrize(
    "name",
    [
        "../hhvm_1.0.1-1_amd64.deb",
        "hhvm.deb",
        "hhvm_1.0.1-1_amd64.deb\n",
        "HHVM_1.0.1-1_amd64.deb",
        "a_1_arm64.deb",
    ],
)
def test_a_file_name_that_is_not_a_package_of_the_suite_is_refused(
    published: Repository, debs: dict[str, Deb], name: str
) -> None:
    artifact = debs[NEW].artifact.model_copy(update={"name": name})
    message = assert_refused(published, Deb(b"", artifact), Unpublishable)
    assert repr(name)[1:-1] in message
    assert "bookworm" in message


@pytest.mark.parametrize("content", [None, b"other bytes"])
def test_a_package_that_scratch_lost_or_changed_is_refused(
    published: Repository, debs: dict[str, Deb], content: bytes | None
) -> None:
    published.scratch.delete(debs[NEW].key)
    if content is not None:
        published.scratch.put(debs[NEW].key, content)
    assert debs[NEW].key in assert_refused(published, debs[NEW], Unpublishable)


def test_an_index_that_is_not_what_in_release_says_is_refused(
    published: Repository, debs: dict[str, Deb]
) -> None:
    for name in index.names(packages_index.PACKAGES):
        key = SUITE + name
        by_hash = keys.by_hash(key, index.sha256(published.downloads.get(key) or b""))
        published.downloads.put(by_hash, b"other")
        published.downloads.put(key, b"other")
    assert "main/binary-amd64/Packages" in assert_refused(published, debs[NEW], Damaged)


def test_a_suite_that_somebody_else_signed_is_refused(published: Repository, debs: dict[str, Deb]) -> None:
    private, _ = signing_key.make("Mallory <mallory@example.org>")
    text = published.downloads.get(f"{SUITE}Release") or b""
    with Signer(private) as mallory:
        published.downloads.put(f"{SUITE}InRelease", mallory.clearsign(text))
    message = assert_refused(published, debs[NEW], BadSignature)
    assert "debian bookworm: InRelease" in message


# On a store with conditional writes and metadata


@pytest.fixture
def conditional(conditional_s3: S3Client, signer: Signer, debs: dict[str, Deb]) -> Repository:
    """An empty repository on moto's S3 server, which supports conditional writes. All versions are built."""
    repository = Repository(conditional_s3, signer)
    for bucket in (repository.scratch, repository.downloads):
        conditional_s3.create_bucket(Bucket=bucket.name)
    for deb in debs.values():
        repository.build(deb)
    return repository


@pytest.fixture
def in_parts(conditional: Repository, debs: dict[str, Deb]) -> Repository:
    """A repository that has the old version, each of whose objects was uploaded in parts."""
    conditional.publish(debs[OLD])
    for bucket in (conditional.scratch, conditional.downloads):
        for key in list(bucket.keys()):
            s3_server.put_in_parts(conditional.s3, bucket.name, key, bucket.get(key) or b"")
            head = bucket.head(key)
            assert head and "-" in head.etag, "its ETag is no MD5"  # ruff: ignore[pytest-composite-assertion]
    return conditional


def test_what_was_uploaded_in_parts_is_compared_by_its_bytes(
    in_parts: Repository, debs: dict[str, Deb]
) -> None:
    with recorded(in_parts.s3) as sent:
        assert not in_parts.publish(debs[OLD])
    assert not writes(sent), "all of it is there"
    in_parts.publish(debs[NEW])
    assert in_parts.versions() == {OLD, NEW}
    in_parts.undo(in_parts.history()[1].name)
    assert in_parts.versions() == {OLD}
    in_parts.assert_whole()


@pytest.mark.parametrize("bucket", ["scratch", "downloads"])
def test_what_was_uploaded_in_parts_with_other_bytes_is_not_published(
    in_parts: Repository, debs: dict[str, Deb], bucket: str
) -> None:
    deb, place = debs[NEW], getattr(in_parts, bucket)
    key = deb.key if bucket == "scratch" else f"debian/{POOL}{deb.artifact.name}"
    s3_server.put_in_parts(in_parts.s3, place.name, key, deb.content[::-1])
    with pytest.raises((Unpublishable, AlreadyPublished), match=r"other bytes|is published with"):
        in_parts.publish(deb)
    assert in_parts.versions() == {OLD}


@contextlib.contextmanager
def overtaken(by: Repository, deb: Deb, s3: S3Client, write: str = "InRelease") -> Generator[None]:
    """Have a publisher on another machine publish just before ``s3`` sends that ``write``."""

    def overtake(params: dict[str, Any], model: Any, **_: object) -> None:
        if params.get("Key", "") == SUITE + write and not model.name.startswith(s3_server.READS):
            with tempfile.TemporaryDirectory() as locks:
                by.publish(deb, locks=Path(locks))

    s3.meta.events.register("before-parameter-build.s3", overtake, unique_id="overtaken")
    try:
        yield
    finally:
        s3.meta.events.unregister("before-parameter-build.s3", overtake, unique_id="overtaken")


@pytest.mark.parametrize("first", [True, False], ids=["first commit", "later commit"])
def test_the_slower_of_two_publishers_overwrites_nothing_and_succeeds_when_run_again(
    conditional: Repository, signer: Signer, debs: dict[str, Deb], tmp_path: Path, first: bool
) -> None:
    faster = Repository(s3_server.client(conditional.s3.meta.endpoint_url), signer)
    before = [] if first else [debs[OLDEST]]
    faster.publish(*before)
    with overtaken(faster, debs[OLD], conditional.s3), pytest.raises(Conflict):
        conditional.publish(debs[NEW], locks=tmp_path)
    assert conditional.versions() == {OLD, *(OLDEST for _ in before)}
    conditional.assert_whole()

    conditional.publish(debs[NEW])
    assert conditional.versions() == {OLD, NEW, *(OLDEST for _ in before)}
    conditional.assert_whole()


@pytest.mark.parametrize("write", ["main/binary-amd64/Packages.gz", "Release.gpg", "Release"])
def test_the_plain_names_are_in_the_end_those_of_the_last_of_two_publishers(
    conditional: Repository, signer: Signer, debs: dict[str, Deb], write: str
) -> None:
    last = Repository(s3_server.client(conditional.s3.meta.endpoint_url), signer)
    with overtaken(last, debs[OLD], conditional.s3, write):
        conditional.publish(debs[NEW])
    assert conditional.versions() == {OLD, NEW}
    conditional.assert_whole()


@pytest.mark.parametrize(("store", "warns"), [("published", True), ("conditional", False)])
def test_a_store_without_conditional_writes_is_warned_of(
    store: str,
    warns: bool,
    debs: dict[str, Deb],
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    repository = request.getfixturevalue(store)
    repository.publish(debs[NEW])
    assert ("a lock keeps publishers on this machine apart" in caplog.text) == warns
    assert NEW in repository.versions()


def test_an_answer_that_was_lost_is_no_conflict(conditional: Repository) -> None:
    bucket = conditional.downloads
    etag = bucket.replace("some/key", b"content", "text/plain", etag=None)
    assert bucket.replace("some/key", b"content", "text/plain", etag=None) == etag
    with pytest.raises(Conflict, match=r"nothing was overwritten\. Run it again"):
        bucket.replace("some/key", b"other", "text/plain", etag=None)


def test_a_second_publisher_of_the_same_machine_waits_for_its_turn(
    published: Repository, debs: dict[str, Deb], tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as second:
        with published.suite(locks=tmp_path).lock():
            waiting = second.submit(published.publish, debs[NEW], locks=tmp_path)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
            assert published.versions() == {OLD}
        assert waiting.result(timeout=30)
    assert published.versions() == {OLD, NEW}


def test_who_waits_too_long_for_its_turn_is_told_who_holds_the_lock(
    published: Repository, tmp_path: Path
) -> None:
    with (
        published.suite(locks=tmp_path).lock(),
        pytest.raises(Conflict, match=f"another publisher has held {tmp_path}/hhvm-publish-.*"),
        lock.hold_lock(published.downloads, "debian bookworm", directory=tmp_path, wait=0.1),
    ):
        pass


def test_the_lock_of_a_killed_publisher_is_free(tmp_path: Path) -> None:
    path = tmp_path / "publish.lock"
    hold = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX)"
    script = f"{hold}; print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        with pytest.raises(Conflict), lock.hold_file(path, wait=0.1):
            pass
        process.kill()
    with lock.hold_file(path, wait=0):
        pass


def test_what_another_machine_withdrew_stays_away(
    conditional: Repository, debs: dict[str, Deb], tmp_path: Path
) -> None:
    conditional.publish(debs[OLD], locks=tmp_path)
    good = conditional.history()[0].name
    conditional.publish(debs[NEW], locks=tmp_path)
    conditional.undo(good)
    conditional.publish(debs[NEW], locks=tmp_path)
    assert conditional.versions() == {OLD}


def test_caches_keep_what_never_changes_and_nothing_else(
    conditional: Repository, debs: dict[str, Deb]
) -> None:
    conditional.publish(debs[OLD])
    for key in conditional.downloads.keys():  # ruff: ignore[in-dict-keys] - a bucket is no mapping
        cache = conditional.s3.head_object(Bucket=conditional.downloads.name, Key=key)["CacheControl"]
        assert ("immutable" in cache) == ("/pool/" in key or "/by-hash/" in key)


def test_the_pool_records_digests_where_the_store_keeps_them(
    conditional: Repository, debs: dict[str, Deb]
) -> None:
    conditional.publish(debs[OLD])
    head = conditional.downloads.head(f"debian/{POOL}hhvm_{OLD}_amd64.deb")
    assert head is not None
    assert head.sha256 == debs[OLD].artifact.sha256
