"""What a Release file says is kept by the next one, whoever wrote it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hhvm_packaging.apt.index import InvalidIndex, sha256
from hhvm_packaging.apt.release_file import File, Release, render_release

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
FILES = b"SHA256:\n " + b"a" * 64 + b" 7 main/binary-amd64/Packages\n"
PACKAGES = "main/binary-amd64/Packages"

KEPT = (
    *(
        "Origin",
        "Label",
        "Suite",
        "Codename",
        "Version",
        "Description",
        "NotAutomatic",
        "ButAutomaticUpgrades",
    ),
    *("Changelogs", "Snapshots", "Signed-By", "No-Support-for-Architecture-all", "X-Anything"),
)

# Any bytes but those that no field has: control characters, and newlines that no space follows.
words = st.binary(min_size=1, max_size=12).map(
    lambda text: bytes(byte | 0x21 for byte in text).replace(b"\x7f", b"~")
)
values = st.lists(words, min_size=1, max_size=3).map(b" ".join)


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    """The name in any case."""
    return "".join(draw(st.sampled_from((character.lower(), character.upper()))) for character in name)


@st.composite
def releases(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A Release file, and its fields that have to stay, in their order."""
    chosen = draw(st.lists(st.sampled_from(KEPT), unique=True))
    kept = {draw(spelled(name)): draw(values) for name in chosen}
    others = {
        draw(spelled("Date")): b"Sat, 28 Nov 2026 08:00:00 UTC",
        draw(spelled("Components")): b"main contrib",
        draw(spelled("Architectures")): b"i386 amd64",
    }
    if draw(st.booleans()):
        others[draw(spelled("Valid-Until"))] = b"Sun, 29 Nov 2026 08:00:00 UTC"
    if draw(st.booleans()):
        others[draw(spelled("Acquire-By-Hash"))] = b"no"
    lists = {draw(spelled("SHA256")): FILES.partition(b":")[2].rstrip(b"\n")}
    for digest in draw(st.lists(st.sampled_from(["MD5Sum", "SHA1", "SHA512"]), unique=True)):
        lists[draw(spelled(digest))] = b"\n " + b"b" * 32 + b" 7 main/binary-amd64/Packages"
    fields = draw(st.permutations([*kept.items(), *others.items(), *lists.items()]))
    text = b"".join(name.encode() + b": " + value + b"\n" for name, value in fields)
    return text, [(name, value) for name, value in fields if name in kept]


@given(releases())
def test_fields_of_any_order_and_case_are_kept_byte_for_byte(
    case: tuple[bytes, list[tuple[str, bytes]]],
) -> None:
    text, kept = case
    before = Release.parse(text)
    rendered = render_release("bookworm", {PACKAGES: b"new"}, date=NOON, last=before)
    lines = rendered.split(b"\n")
    assert [line for line in lines if line in {name.encode() + b": " + value for name, value in kept}] == [
        name.encode() + b": " + value for name, value in kept
    ]
    after = Release.parse(rendered)
    assert {name.lower() for name in after.fields} - {name.lower() for name in before.fields} <= {
        "acquire-by-hash"
    }
    assert after.fields["Components"] == "main contrib"
    assert after.fields["Architectures"] == "i386 amd64"
    assert after.valid_for == before.valid_for
    assert after.by_hash
    assert after.date == NOON
    assert after.files == {PACKAGES: File(sha256(b"new"), 3)}
    # What we wrote stays as it is.
    assert render_release("bookworm", {PACKAGES: b"new"}, date=NOON, last=after) == rendered


def test_fields_that_a_suite_has_not_stay_absent() -> None:
    before = Release.parse(b"Codename: bookworm\nDate: Sat, 28 Nov 2026 08:00:00 UTC\n" + FILES)
    text = render_release("bookworm", {PACKAGES: b"new"}, date=NOON, last=before)
    assert set(Release.parse(text).fields) == {
        *("Codename", "Date", "Acquire-By-Hash", "Architectures", "Components"),
    }


def test_a_new_suite_says_whose_it_is() -> None:
    found = Release.parse(render_release("bookworm", {PACKAGES: b"new"}, date=NOON)).fields
    assert [found[name] for name in ("Origin", "Label", "Suite", "Codename")] == [
        *("HHVM", "HHVM", "bookworm", "bookworm"),
    ]
    assert found.find("Valid-Until") is None


@pytest.mark.parametrize(
    ("had", "has"),
    [
        ("contrib", "contrib main"),
        ("main contrib", "main contrib"),
        ("updates/main updates/contrib", "updates/main updates/contrib"),
    ],
)
def test_our_component_is_added_where_it_is_missing(had: str, has: str) -> None:
    before = Release.parse(f"Components: {had}\nDate: Sat, 28 Nov 2026 08:00:00 UTC\n".encode() + FILES)
    text = render_release("bookworm", {PACKAGES: b"new"}, date=NOON, last=before)
    assert Release.parse(text).fields["Components"] == has


def test_a_suite_is_as_long_valid_as_it_was_counted_from_its_new_date() -> None:
    dates = b"Valid-Until: Fri, 04 Dec 2026 08:00:00 UTC\nDate: Sat, 28 Nov 2026 08:00:00 UTC\n"
    text = render_release("bookworm", {}, date=NOON, last=Release.parse(dates + FILES))
    assert Release.parse(text).valid_until == NOON + timedelta(days=6)


def test_a_release_that_would_never_be_valid_is_refused() -> None:
    dates = b"Valid-Until: Fri, 27 Nov 2026 08:00:00 UTC\nDate: Sat, 28 Nov 2026 08:00:00 UTC\n"
    with pytest.raises(InvalidIndex, match="Valid-Until"):
        render_release("bookworm", {}, date=NOON, last=Release.parse(dates + FILES))


@pytest.mark.parametrize(
    "lines", [b"", b"Date: yesterday\n", b"Date: Sat, 28 Nov 2026 08:00:00 UTC\nValid-Until: 7\n"]
)
def test_a_release_without_times_that_can_be_read_is_refused_by_name(lines: bytes) -> None:
    with pytest.raises(InvalidIndex, match=r"Date|Valid-Until"):
        Release.parse(lines + FILES)


def test_patches_of_an_index_are_not_kept_for_they_end_at_another_one() -> None:
    names = (
        *(
            "main/binary-amd64/Packages",
            "main/binary-amd64/Packages.gz",
            "main/binary-amd64/Packages.diff/Index",
        ),
        *(
            "contrib/source/Sources.xz",
            "main/i18n/Translation-en.bz2",
            "main/Contents-amd64",
            "main/source/Release",
        ),
    )
    lines = b"".join(b" " + b"a" * 64 + b" 7 " + name.encode() + b"\n" for name in names)
    release = Release.parse(b"Date: Sat, 28 Nov 2026 08:00:00 UTC\nSHA256:\n" + lines)
    assert release.indices == ("contrib/source/Sources", "main/binary-amd64/Packages")
    assert set(release.others) == {
        "main/i18n/Translation-en.bz2",
        "main/Contents-amd64",
        "main/source/Release",
    }
