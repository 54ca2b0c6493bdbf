"""What holds for every index, whoever wrote it and in whichever order."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
from datetime import UTC, datetime

import pytest
from debian import deb822
from hypothesis import given, settings
from hypothesis import strategies as st

from hhvm_packaging.apt import index, packages_index, release_file
from testing.indices import variants

# The machine may be busy.
unhurried = settings(deadline=None, max_examples=50)
few = settings(deadline=None, max_examples=20)

names = st.sampled_from(["hhvm", "hhvm-dev", "hhvm-nightly"]) | st.from_regex(
    r"[a-z0-9][a-z0-9+.-]{1,8}", fullmatch=True
)
versions = st.from_regex(r"([0-3]:)?[0-9][0-9a-zA-Z.+~]{0,6}(-[0-9a-z+.~]{1,4})?", fullmatch=True)
architectures = st.sampled_from(["amd64", "all"])
line = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
"""What a line of a field may hold: anything but control characters."""


@st.composite
def stanza_texts(draw: st.DrawFn) -> str:
    """A paragraph as some tool or other may write it; its digest follows from what else it says."""
    package, version, architecture = draw(names), draw(versions), draw(architectures)
    description = [f" {part}" for part in draw(st.lists(line)) if part.strip()]
    rest = [
        f"Architecture: {architecture}",
        f"Filename: {draw(st.sampled_from(['./', '', 'pool/']))}{package}.deb",
        f"Size: {draw(st.integers(0, 10**12))}",
        *(f"X-Field-{number}: {value}" for number, value in enumerate(draw(st.lists(line, max_size=3)))),
        "\n".join([f"Description: {draw(line)}", *description]),
    ]
    fields = [f"Package: {package}", f"Version: {version}", *draw(st.permutations(rest))]
    sha256 = hashlib.sha256(repr((package, version, architecture)).encode()).hexdigest()
    return "\n".join([*fields, f"SHA256: {sha256}"])


stanzas = stanza_texts().map(packages_index.Stanza.parse)
lists = st.lists(stanzas, max_size=8, unique_by=lambda stanza: stanza.identity)


def indexed(*parts: list[packages_index.Stanza]) -> packages_index.Packages:
    """The index after one publish after another."""
    packages = packages_index.Packages()
    for part in parts:
        packages = packages.add(part)
    return packages


# Order


@unhurried
@given(st.data(), lists)
def test_the_index_does_not_depend_on_the_order_of_publishing(
    data: st.DataObject, some: list[packages_index.Stanza]
) -> None:
    shuffled = data.draw(st.permutations(some))
    cut = data.draw(st.integers(0, len(some)))
    assert indexed(shuffled[:cut], shuffled[cut:]).render() == indexed(some).render()


@few
@given(st.lists(versions, min_size=2, max_size=4, unique=True))
def test_versions_are_in_the_order_that_dpkg_gives_them(some: list[str]) -> None:
    text = "Package: hhvm\nVersion: {}\nArchitecture: amd64\nFilename: f\nSize: 1\nSHA256: {}"
    entries = [packages_index.Stanza.parse(text.format(version, "a" * 64)) for version in some]
    for lower, higher in itertools.pairwise(indexed(entries).stanzas):
        compare = ["dpkg", "--compare-versions", lower.version, "le", higher.version]
        assert subprocess.run(compare, check=False).returncode == 0


# Adding


@unhurried
@given(lists)
def test_adding_again_changes_nothing(some: list[packages_index.Stanza]) -> None:
    packages = indexed(some)
    assert packages.add(some) is packages


@unhurried
@given(lists)
def test_what_is_written_is_read_back(some: list[packages_index.Stanza]) -> None:
    packages = indexed(some)
    read = packages_index.Packages.parse(packages.render())
    assert read == packages
    assert read.render() == packages.render()


@unhurried
@given(st.lists(stanza_texts(), max_size=8), lists)
def test_what_another_publisher_wrote_stays_byte_for_byte(
    theirs: list[str], ours: list[packages_index.Stanza]
) -> None:
    unique = {packages_index.Stanza.parse(text).identity: text for text in theirs}
    merged = packages_index.Packages.parse("\n\n".join(unique.values()).encode()).add(ours)
    kept = merged.render().decode()
    corrected = {stanza.identity for stanza in ours}
    assert all(f"{text}\n\n" in kept for identity, text in unique.items() if identity not in corrected)
    wanted = {*unique, *(stanza.identity for stanza in ours)}
    assert sorted(stanza.identity for stanza in merged.stanzas) == sorted(wanted)


@unhurried
@given(lists, stanzas)
def test_other_bytes_of_what_is_there_are_refused_and_change_nothing(
    some: list[packages_index.Stanza], one: packages_index.Stanza
) -> None:
    packages = indexed(some).add([one])
    before = packages.render()
    other = packages_index.Stanza.parse(one.text.replace(one.sha256, "0" * 64))
    with pytest.raises(index.AlreadyPublished, match=one.sha256):
        packages.add([other])
    assert packages.render() == before


@unhurried
@given(stanzas, st.from_regex(r"pool/[a-z0-9/+~._-]{1,20}", fullmatch=True))
def test_a_package_that_moves_changes_its_file_name_and_nothing_else(
    stanza: packages_index.Stanza, filename: str
) -> None:
    moved = stanza.at(filename)
    assert packages_index.Stanza.parse(moved.text) == moved
    assert moved.filename == filename
    assert moved.at(stanza.filename) == stanza
    assert moved.identity == stanza.identity


# Release


@unhurried
@given(lists)
def test_release_has_the_size_and_digest_of_every_variant(some: list[packages_index.Stanza]) -> None:
    indices = variants(indexed(some))
    content = release_file.render_release("bookworm", indices, date=datetime(2026, 3, 1, tzinfo=UTC))
    entries = {entry["name"]: entry for entry in deb822.Release(content)["SHA256"]}
    assert entries.keys() == indices.keys()
    for name, variant in indices.items():
        assert int(entries[name]["size"]) == len(variant)
        assert entries[name]["sha256"] == hashlib.sha256(variant).hexdigest()


@unhurried
@given(st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_a_release_is_dated_to_the_second_wherever_it_is_read(date: datetime) -> None:
    content = release_file.render_release("bookworm", {}, date=date)
    assert release_file.Release.parse(content).date == date.replace(microsecond=0)
