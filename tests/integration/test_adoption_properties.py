"""Whatever a suite of another tool looks like: a publish and its undo give back what was offered."""

from __future__ import annotations

import bz2
import email.utils
import gzip
import lzma
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo import signing_key
from hhvm_packaging.apt import adoption, index, undo
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.settings import Settings
from hhvm_packaging.store.buckets import Store
from testing.debs import Deb
from testing.publisher import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client

    from hhvm_packaging.apt.release_file import Release

NEW = Deb("99.0-1")
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
IDENTITY = ("Origin", "Label", "Suite", "Codename", "Version", "Description", "NotAutomatic")


@dataclass(frozen=True)
class Foreign:
    """A suite as some tool may have made it: its files by their plain names."""

    fields: dict[str, str]
    packages: dict[tuple[str, str], list[Deb]]
    """By component and architecture, in any order."""
    forms: tuple[str, ...]
    """Of the forms of an index, those that are there."""
    named: bool
    """Whether Release also names an uncompressed index that is not there."""
    others: dict[str, bytes]
    lower: bool
    """Whether the names of fields are in lower case."""

    def files(self) -> tuple[dict[str, bytes], bytes]:
        """The files of the suite, and Release."""
        files, named = dict(self.others), dict(self.others)
        for (component, architecture), debs in self.packages.items():
            name = f"{component}/binary-{architecture}/Packages"
            content = b"\n".join(self.stanza(deb) for deb in debs)
            forms = {f"{name}{suffix}": FORMS[suffix](content) for suffix in self.forms}
            files |= forms
            named |= forms | ({name: content} if self.named else {})
        lines = [f"{name.lower() if self.lower else name}: {value}" for name, value in self.fields.items()]
        lines.append("sha256:" if self.lower else "SHA256:")
        lines += [f" {index.sha256(content)} {len(content):>9} {name}" for name, content in named.items()]
        return files, index.encode("".join(f"{line}\n" for line in lines))

    @staticmethod
    def stanza(deb: Deb) -> bytes:
        text = str(deb.artifact.stanza).replace("./", f"pool/main/h/{deb.package}/")
        # As tools of an earlier time wrote it.
        return text.encode().replace("\u2013".encode(), b"\xe9\xff") + b"\n"


versions = st.sampled_from([
    "3.9.0-1",
    "3.10.0-1",
    "3.10.0~rc1-1",
    "1:1.0-1",
    "3.10.0-1~bookworm",
    "3.10.0-10",
])


@st.composite
def suites(draw: st.DrawFn) -> Foreign:
    components = draw(st.lists(st.sampled_from(["main", "contrib", "non-free"]), min_size=1, unique=True))
    architectures = draw(st.lists(st.sampled_from(["amd64", "i386", "arm64"]), min_size=1, unique=True))
    packages = {
        (component, architecture): [
            Deb(version, package, architecture)
            for package in draw(st.lists(st.sampled_from(["hhvm", "hhvm-dev"]), unique=True))
            for version in draw(st.lists(versions, unique=True))
        ]
        for component in components
        for architecture in architectures
    }
    fields = {name: f"the {name}" for name in draw(st.lists(st.sampled_from(IDENTITY), unique=True))}
    for name in fields.keys() & {"Suite", "Codename"}:
        fields[name] = draw(st.sampled_from(["stable", "stable/updates", "..", "a name", "\u00e4"]))
    date = datetime.now(UTC).replace(microsecond=0) - timedelta(days=draw(st.integers(0, 1000)))
    fields["Date"] = email.utils.format_datetime(date, usegmt=True)
    if draw(st.booleans()):
        days = draw(st.integers(1, 100))
        fields["Valid-Until"] = email.utils.format_datetime(date + timedelta(days=days), usegmt=True)
    fields |= {"Components": " ".join(components), "Architectures": " ".join(architectures)}
    order = draw(st.permutations(list(fields)))
    return Foreign(
        fields={name: fields[name] for name in order},
        packages=packages,
        forms=tuple(draw(st.lists(st.sampled_from(list(FORMS)), min_size=1, unique=True))),
        named=draw(st.booleans()),
        others=draw(
            st.dictionaries(
                st.sampled_from([
                    "main/Contents-amd64.gz",
                    "main/i18n/Translation-en",
                    "contrib/source/Release",
                ]),
                st.binary(max_size=20),
            )
        ),
        lower=draw(st.booleans()),
    )


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with Signer(signing_key.make("HHVM tests <hhvm@example.org>")[0]) as signer:
        yield signer


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(foreign=suites(), adopt_first=st.booleans(), has_in_release=st.booleans())
def test_a_publish_and_its_undo_give_back_what_was_offered(
    s3: S3Client, signer: Signer, foreign: Foreign, adopt_first: bool, has_in_release: bool
) -> None:
    store = Store(s3, Settings())
    suite = Suite(store.downloads, store.scratch, "debian", uuid.uuid4().hex)
    files, text = foreign.files()
    for name, content in files.items():
        store.downloads.put(suite.key(name), content)
    store.downloads.put(suite.key("Release"), text)
    store.downloads.put(suite.key("Release.gpg"), signer.detach(text))
    if has_in_release:
        store.downloads.put(suite.key("InRelease"), signer.clearsign(text))
    for debs in foreign.packages.values():
        for deb in debs:
            store.downloads.put(f"debian/pool/main/h/{deb.package}/{deb.name}", deb.content)
    store.scratch.put(NEW.key, NEW.content)

    found = suite.read(signer=signer)
    offered = {
        (component, architecture): {Foreign.stanza(deb).strip() for deb in debs}
        for (component, architecture), debs in foreign.packages.items()
    }
    assert paragraphs(suite) == offered
    if adopt_first:
        adoption.adopt(suite, signer)
        assert paragraphs(suite) == offered
    publish(suite, {NEW.key: NEW.artifact}, signer)
    during = paragraphs(suite)
    for place, stanzas in offered.items():
        assert without_new(during[place]) == without_new(stanzas)
    assert_kept(suite.read().release, found.release)

    undo.undo(suite, undo.read_history(suite)[-1].name, signer)
    after = suite.read(signer=signer)
    assert after.identities == found.identities
    assert {
        place: stanzas for place, stanzas in paragraphs(suite).items() if stanzas or place in offered
    } == offered
    assert_kept(after.release, found.release)
    for name, content in foreign.others.items():
        assert store.downloads.get(suite.key(name)) == content


def without_new(stanzas: set[bytes]) -> set[bytes]:
    """All entries but those of the version that is published here."""
    return {stanza for stanza in stanzas if f"\nVersion: {NEW.version}\n".encode() not in stanza}


def paragraphs(suite: Suite) -> dict[tuple[str, str], set[bytes]]:
    """What users are offered, by component and architecture, from the plain files where there are any."""
    release = suite.read().release
    assert release
    found: dict[tuple[str, str], set[bytes]] = defaultdict(set)
    for name in release.indices:
        component, directory, kind = name.split("/")
        if kind == "Packages":
            content = suite.fetch_index(name, release)
            found[component, directory.removeprefix("binary-")] = {
                part.strip(b"\n") for part in content.split(b"\n\n") if part.strip()
            }
    return dict(found)


def assert_kept(after: Release | None, before: Release | None) -> None:
    assert after
    assert before
    for name in IDENTITY:
        assert after.fields.find(name) == before.fields.find(name)
    assert set(str(before.fields.find("Components")).split()) <= set(
        str(after.fields.find("Components")).split()
    )
    assert after.valid_for == before.valid_for
    assert after.others == before.others
    assert after.date > before.date
