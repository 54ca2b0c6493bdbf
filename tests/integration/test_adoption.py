"""Suites that reprepro and aptly really made go on as they were, as Debian's own apt sees it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from demo import signing_key
from hhvm_packaging.apt import adoption, index, undo
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.apt.suite import FOUND, ForeignKey, Suite
from hhvm_packaging.cli import apt_suite
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.upkeep import canary
from hhvm_packaging.upkeep.pruning import Pruning
from testing import apt_client, foreign
from testing.debs import Deb
from testing.foreign import SECTION, LocalApt, Maker, local_apt
from testing.publisher import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from hhvm_packaging.apt.change import Change
    from hhvm_packaging.apt.release_file import Release
    from testing.apt_client import Website


def deb(version: str, package: str = "hhvm", architecture: str = "amd64") -> Deb:
    return Deb(version, package, architecture, SECTION)


OLD, NEW = deb("3.9.0-1"), deb("3.11.0-1")
TOP = deb("3.10.0-1")
EXTRA = deb("1.0-1", "hhvm-extra")

REPREPRO = """
Origin: HHVM
Label: HHVM
Codename: bookworm
Description: HHVM f\u00fcr alle
Architectures: i386 amd64 source
Components: main contrib
UDebComponents: main
Contents: .gz
NotAutomatic: yes
ButAutomaticUpgrades: yes
ValidFor: 30d
"""


@pytest.fixture(scope="module")
def key() -> tuple[str, str]:
    return signing_key.make("HHVM tests <hhvm@example.org>")


@pytest.fixture(scope="module")
def signer(key: tuple[str, str]) -> Iterator[Signer]:
    with Signer(key[0]) as signer:
        yield signer


@pytest.fixture(scope="module")
def maker(key: tuple[str, str]) -> Iterator[Maker]:
    with foreign.maker(key[0]) as maker:
        yield maker


@pytest.fixture(scope="module")
def made(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with each tool's repository, made once."""
    out = tmp_path_factory.mktemp("made")
    packages = {("bookworm", "main"): [TOP], ("bookworm", "contrib"): [EXTRA]}
    maker.reprepro(out / "reprepro", REPREPRO, packages)
    # In the order of aptly, 3.10.0 comes before 3.9.0.
    options = ("-origin=HHVM", "-label=HHVM", "-notautomatic=yes", "-butautomaticupgrades=yes")
    maker.aptly(out / "aptly", "bookworm", [OLD, TOP], *options)
    maker.aptly(out / "aptly-by-hash", "by-hash", [OLD, TOP], *options, "-acquire-by-hash")
    return out


@dataclass
class Repository:
    """A repository of another tool in a store, with its users."""

    store: Store
    settings: Settings
    signer: Signer
    directory: Path
    """Of the bucket ``downloads``."""
    site: Website
    key: str
    tmp_path: Path
    name: str = "bookworm"

    @property
    def suite(self) -> Suite:
        return Suite(self.store.downloads, self.store.scratch, "debian", self.name)

    def read(self, name: str) -> bytes:
        """A file of the suite by its plain name."""
        return self.store.downloads.get(self.suite.key(name)) or b""

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the suite as the other tool would: by its plain name."""
        self.store.downloads.put(self.suite.key(name), content)

    def delete(self, name: str) -> None:
        self.store.downloads.delete(self.suite.key(name))

    def publish(self, *debs: Deb) -> Change:
        for built in debs:
            self.store.scratch.put(built.key, built.content)
        return publish(self.suite, {built.key: built.artifact for built in debs}, self.signer)

    def release(self) -> Release:
        return Suite.parse_release(self.read("InRelease"))

    def apt(self, name: str = "user", components: str = "main") -> LocalApt:
        return local_apt(
            self.tmp_path / name, f"{self.site.url}/debian", self.name, self.key, components=components
        )

    def canary(self) -> list[str]:
        found = canary.check(
            canary.plan_canary(self.store, self.settings), self.store, self.settings, now=datetime.now(UTC)
        )
        return [line.replace(self.site.url, "") for line in found]

    def sign(self, text: bytes) -> None:
        """Make this the suite's Release, as the other tool would have written it."""
        self.write("Release", text)
        self.write("Release.gpg", self.signer.detach(text))
        self.write("InRelease", self.signer.clearsign(text))


@pytest.fixture(params=["reprepro", "aptly", pytest.param("aptly-by-hash", marks=pytest.mark.slow)])
def repository(
    request: pytest.FixtureRequest,
    made: Path,
    s3: S3Client,
    s3_directory: Path,
    signer: Signer,
    key: tuple[str, str],
    tmp_path: Path,
) -> Iterator[Repository]:
    """The repository of each tool, in a store of the test's own."""
    settings = Settings(canary_patience=0, nightly_schedule="", lock_directory=tmp_path / "locks")
    directory = s3_directory / settings.downloads_bucket
    shutil.copytree(made / request.param, directory / "debian")
    store = Store(s3, settings)
    store.downloads.put(keys.PUBLIC_KEY, key[1].encode())
    name = "by-hash" if request.param == "aptly-by-hash" else "bookworm"
    with apt_client.website(directory) as site:
        settings = settings.model_copy(update={"public_url": site.url})
        yield Repository(store, settings, signer, directory, site, key[1], tmp_path, name)


only_reprepro = pytest.mark.parametrize("repository", ["reprepro"], indirect=True)
only_aptly = pytest.mark.parametrize("repository", ["aptly"], indirect=True)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


# What users notice


def test_users_of_the_suite_upgrade_without_a_word(repository: Repository) -> None:
    apt = repository.apt()
    apt.update()
    repository.publish(NEW)
    apt.update()
    assert {TOP.version, NEW.version} <= apt.versions("hhvm")
    apt.fetch("hhvm", TOP.version)
    apt.run("download", f"hhvm={NEW.version}")


@only_reprepro
def test_the_other_components_are_served_and_signed_as_before(repository: Repository) -> None:
    apt = repository.apt(components="main contrib")
    apt.update()
    repository.publish(NEW)
    apt.update()
    apt.fetch("hhvm-extra", EXTRA.version)
    assert repository.release().fields["Components"] == "main contrib"
    repository.apt("newcomer", "main contrib").update()


@only_reprepro
def test_the_identity_of_the_suite_stays_also_what_is_absent(repository: Repository) -> None:
    before = repository.release()
    repository.publish(NEW)
    after = repository.release()
    same = {
        "Origin",
        "Label",
        "Codename",
        "Description",
        "NotAutomatic",
        "ButAutomaticUpgrades",
        "Components",
    }
    assert {name: after.fields.find(name) for name in same} == {name: before.fields[name] for name in same}
    assert after.fields.find("Suite") is None
    assert after.fields["Architectures"] == "i386 amd64"
    assert after.valid_for == before.valid_for == timedelta(days=30)


def test_every_file_that_the_tool_made_stays_named_but_for_other_forms_of_its_indices(
    repository: Repository,
) -> None:
    before = repository.release()
    repository.publish(NEW)
    after = repository.release()
    gone = set(before.files) - set(after.files)
    assert {name for name in gone if not name.endswith(("Packages.bz2", "Sources.bz2"))} == set()
    assert after.others == before.others


@only_aptly
def test_the_version_that_an_undo_goes_back_to_is_the_highest(repository: Repository) -> None:
    """In aptly's own index 3.10.0 comes before 3.9.0."""
    stanzas = undo.read_history(repository.suite), repository.suite.read().packages["amd64"].stanzas
    assert [stanza.version for stanza in stanzas[1]] == [OLD.version, TOP.version]
    done = repository.publish(NEW)
    assert undo.downgrade(repository.suite.read().indices, done.added) == (
        "apt-get update && apt-get install --allow-downgrades hhvm=3.11.0-1"
    )
    found = undo.read_history(repository.suite)[-1]
    done_undo = undo.undo(repository.suite, found.name, repository.signer)
    assert done_undo.downgrade.endswith(f"hhvm={TOP.version}")


# Going back


def test_what_was_found_can_be_put_back(repository: Repository) -> None:
    before = repository.suite.read()
    apt = repository.apt()
    apt.update()
    offered = apt.versions("hhvm")
    repository.publish(NEW)
    apt.update()
    history = undo.read_history(repository.suite)
    assert [snapshot.reason for snapshot in history] == ["publish", FOUND]
    done = undo.undo(repository.suite, history[-1].name, repository.signer)
    assert set(done.removed) == {f"hhvm {NEW.version} amd64"}
    apt.update()
    assert apt.versions("hhvm") == offered
    after = repository.suite.read()
    assert after.identities == before.identities
    assert after.release
    assert before.release
    assert after.release.others == before.release.others
    assert repository.canary() == []


def test_files_that_the_tool_replaced_meanwhile_come_back_as_well(repository: Repository) -> None:
    (name,) = [name for name in repository.release().others if name.endswith("main/binary-amd64/Release")]
    found = repository.read(name)
    repository.publish(NEW)
    text = repository.read("Release")
    old, new = index.sha256(found), b"Archive: other\n" + found
    repository.write(name, new)
    repository.sign(
        text.replace(f"{old} {len(found)} ".encode(), f"{index.sha256(new)} {len(new)} ".encode())
    )
    repository.publish(deb("3.12.0-1"))
    assert repository.read(name) == new
    history = undo.read_history(repository.suite)
    assert [snapshot.reason for snapshot in history] == ["publish", FOUND]


# Adopting


def test_a_suite_is_adopted_without_a_change_of_its_packages(repository: Repository) -> None:
    before = repository.suite.read()
    proposed = adoption.find(repository.suite, repository.signer)
    assert repository.suite.read() == before
    done = adoption.adopt(repository.suite, repository.signer)
    assert proposed
    assert done == proposed
    after = repository.suite.read()
    assert after.identities == before.identities
    assert adoption.adopt(repository.suite, repository.signer) is None
    assert repository.suite.read() == after
    assert repository.canary() == []
    assert undo.read_history(repository.suite)[-1].name == done.snapshot


def test_the_history_of_a_suite_that_is_not_adopted_says_so(repository: Repository) -> None:
    (said,) = apt_suite.show_history(repository.suite)
    assert "was made by another tool" in said
    adoption.adopt(repository.suite, repository.signer)
    assert any(line.endswith(f"  {FOUND}") for line in apt_suite.show_history(repository.suite))


def test_an_adoption_that_died_is_made_by_the_next(repository: Repository) -> None:
    repository.suite.keep(repository.suite.read(), repository.signer)
    assert adoption.adopt(repository.suite, repository.signer)


@only_reprepro
def test_the_command_says_what_would_change_and_changes_it_when_told(repository: Repository) -> None:
    before = repository.suite.read()
    said = "\n".join(apt_suite.adopt([repository.suite], repository.signer, really=False))
    assert repository.suite.read() == before
    for part in (
        "debian bookworm would be adopted",
        "stays: Origin: HHVM; Label: HHVM; Codename: bookworm",
        "users get: Acquire-By-Hash: yes",
        "goes: MD5Sum; SHA1",
        "main/Contents-amd64.gz",
        "Add --yes to do it",
    ):
        assert part in said
    said = "\n".join(apt_suite.adopt([repository.suite], repository.signer, really=True))
    assert "debian bookworm was adopted" in said
    said = "\n".join(apt_suite.adopt([repository.suite], repository.signer, really=True))
    assert said == "debian bookworm needs no adoption: it is published by this project"


@only_reprepro
def test_a_suite_that_cannot_be_adopted_is_named_and_the_others_are_adopted(repository: Repository) -> None:
    broken = Suite(repository.store.downloads, repository.store.scratch, "debian", "broken")
    text = repository.read("Release").replace(b"SHA256:", b"X-Digests:")
    broken.downloads.put(broken.key("InRelease"), repository.signer.clearsign(text))
    said: list[str] = []
    with pytest.raises(apt_suite.NotAdopted, match="debian broken"):
        said.extend(apt_suite.adopt([broken, repository.suite], repository.signer, really=True))
    assert said[0].startswith("debian broken is not adopted: debian broken: Release: it needs the fields")
    assert adoption.find(repository.suite, repository.signer) is None


@only_reprepro
def test_a_suite_whose_users_trust_only_another_key_is_refused(repository: Repository) -> None:
    text = repository.read("Release")
    stranger = "A" * 40
    repository.sign(text.replace(b"Codename", f"Signed-By: {stranger}\nCodename".encode()))
    with pytest.raises(ForeignKey, match=stranger):
        repository.publish(NEW)
    repository.sign(
        text.replace(b"Codename", f"Signed-By: {repository.signer.fingerprint}\nCodename".encode())
    )
    repository.publish(NEW)


# Upkeep


def test_the_canary_finds_nothing_wrong_before_and_after(repository: Repository) -> None:
    assert repository.canary() == []
    repository.publish(NEW)
    assert repository.canary() == []


@only_reprepro
def test_the_canary_notices_if_no_form_of_an_index_is_there(repository: Repository) -> None:
    repository.delete("main/source/Sources.gz")
    assert repository.canary() == [
        "debian bookworm: /debian/dists/bookworm/main/source/Sources: HTTP 404",
        "debian bookworm: /debian/dists/bookworm/main/source/Sources.gz: HTTP 404",
    ]


def test_the_repository_is_pruned_once_it_is_adopted(repository: Repository) -> None:
    def prune() -> str:
        later = datetime.now(UTC) + timedelta(days=repository.settings.snapshot_days + 1)
        return "\n".join(
            Pruning(repository.store, repository.settings, dry_run=False, now=later).delete_files()
        )

    nightly = "debian/pool/main/h/hhvm-nightly/hhvm-nightly_2020.01.01-1_amd64.deb"
    repository.store.downloads.put(nightly, b"left by the other tool")
    assert "Nothing is deleted" in prune()
    adoption.adopt(repository.suite, repository.signer)
    assert "Nothing is deleted" not in prune()
    assert repository.store.downloads.head(nightly) is None
    repository.apt().update()
    assert repository.suite.read().identities


# Bytes


@only_reprepro
@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".bz2"])
def test_an_index_in_any_one_form_is_read(repository: Repository, suffix: str) -> None:
    name = "main/binary-amd64/Packages"
    # Once: gzip writes the time into what it makes.
    compressed = COMPRESS[suffix](repository.read(name))
    text = repository.read("Release")
    for form in (name, f"{name}.gz"):
        repository.delete(form)
    repository.write(f"{name}{suffix}", compressed)
    lines = [line for line in text.split(b"\n") if not line.endswith(f"{name}.gz".encode())]
    if suffix:
        line = f" {index.sha256(compressed)} {len(compressed)} {name}{suffix}".encode()
        lines.insert(lines.index(b"SHA256:") + 1, line)
    repository.sign(b"\n".join(lines))
    repository.publish(NEW)
    apt = repository.apt()
    apt.update()
    assert {TOP.version, NEW.version} <= apt.versions("hhvm")


@only_reprepro
def test_bytes_that_are_no_utf_8_stay_as_they_are(repository: Repository) -> None:
    name = "main/binary-amd64/Packages"
    latin = "Maintainer: Andr\u00e9 <hhvm@example.org>".encode("latin-1")
    content = repository.read(name)
    new = content.replace(b"Maintainer: HHVM <hhvm@example.org>", latin)
    assert latin in new
    text = repository.read("Release").replace("f\u00fcr".encode(), "f\u00fcr".encode("latin-1"))
    for form, before, after in (
        (name, content, new),
        (f"{name}.gz", repository.read(f"{name}.gz"), gzip.compress(new)),
    ):
        repository.write(form, after)
        for digest in (f"{index.sha256(before)} {len(before)}", f"{index.sha256(after)} {len(after)}"):
            text = text.replace(f"{index.sha256(before)} {len(before)}".encode(), digest.encode())
    repository.sign(text)
    repository.publish(NEW)
    assert latin in repository.read(name)
    assert b"Description: HHVM f\xfcr alle\n" in repository.read("Release")
    found = undo.read_history(repository.suite)[-1]
    undo.undo(repository.suite, found.name, repository.signer)
    assert latin in repository.read(name)


def test_a_suite_without_in_release_is_adopted_too(repository: Repository) -> None:
    """Tools of before 2013 wrote Release and Release.gpg only."""
    before = repository.suite.read()
    repository.delete("InRelease")
    assert repository.suite.read(signer=repository.signer).identities == before.identities
    assert repository.canary() == []
    repository.publish(NEW)
    assert repository.suite.read().identities == before.identities | {("hhvm", NEW.version, "amd64")}
    undo.undo(repository.suite, undo.read_history(repository.suite)[-1].name, repository.signer)
    assert repository.suite.read().identities == before.identities
