"""What a version says, and which strings are none."""

import datetime
import re
import subprocess
from pathlib import Path

import pytest
from debian.debian_support import Version
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hhvm_packaging.release import (
    ALLOWED_FORM,
    VERSION_PATTERN,
    InvalidVersion,
    Release,
    is_same_version,
    numbers,
)

ROOT = Path(__file__).resolve().parents[2]
TODAY = datetime.date(2026, 11, 22)

NOT_VERSIONS = [
    "4.26",
    "4.136.0-dev",
    "2026.13.40",
    "2026.00.10",
    "2026.02.30",
    "2026.04.31",
    "2026.1.2",
    "1.0.0;id",
    "$(id)",
    "../1.0.0",
    "1.0.0\n",
    "\n1.0.0",
    " 1.0.0",
    "1.0.0 ",
    "01.0.0",
    "1.00.0",
    "1.0.0.0",
    "026.9.29",
    "26.009.29",
    "26.09.029",
    "00004.1.1",
    "26.00.1",
    "4.172.000",
    "26..29",
    "26.-9.29",
    "+26.9.29",
    "26.9.2_9",
    "1234.5.6",
    "12345.1.1",
    "\u0661.0.0",
    "v1.0.0",
    "HHVM-1.0.0",
    "Nightly",
    "nightly\n",
    "",
]

VERSIONS = ["1.0.0", "4.172.1", "3.30.12", "26.09.29", "26.9.29", "26.10.05", "2026.11.22", "2024.02.29"]

PARTS = st.one_of(
    st.integers(0, 100_000).map(str),
    st.integers(0, 40).map("{:02}".format),
    st.integers(0, 9).map("{:03}".format),
    st.sampled_from(["", "00", "-1", "1_0", "\u0661", "9 ", "x", "2026", "1;id", "0x1", "$(id)"]),
)
TYPED = st.one_of(
    st.lists(PARTS, min_size=2, max_size=4).map(".".join),
    st.dates(datetime.date(1, 1, 1), datetime.date(9999, 12, 31)).map("{:%Y.%m.%d}".format),
    st.text(alphabet="0129.\n ~-x", max_size=12),
)
"""What a person might type: mostly near to what is allowed."""
RELEASES = st.from_regex(VERSION_PATTERN.removesuffix(r"$(?!\n)").removeprefix("^"), fullmatch=True).filter(
    lambda text: (found := Release.find(text)) is not None and not found.nightly
)

SHELL = r"""
. bin/lib/hhvm-packaging.sh
# Two arguments for each version: the version, and one to compare it with.
while [ $# -gt 0 ]; do
  said=$(if parse_version "$1"; then printf '%s' "$SOURCE $IS_NIGHTLY $TAG $BRANCH"; fi 2>/dev/null)
  spelled=$(if [ -n "$said" ]; then spellings "$1" | tr '\n' ' '; fi)
  same=no
  if is_same_version "$1" "$2"; then same=yes; fi
  printf '%s\0' "$said|${spelled% }|$same"
  shift 2
done
"""


def in_shell(pairs: list[tuple[str, str]]) -> list[str]:
    """What bin/lib says of each version, and of whether the two are one: in one shell, which takes long."""
    words = [word for pair in pairs for word in pair]
    said = subprocess.run(["bash", "-c", SHELL, "test", *words], cwd=ROOT, capture_output=True, check=True)
    return said.stdout.decode().split("\0")[:-1]


def in_python(pair: tuple[str, str]) -> str:
    """The same of this module."""
    release, same = Release.find(pair[0]), numbers(pair[0]) and is_same_version(*pair)
    parts = ["", ""]
    if release:
        tag, branch = ("", "") if release.nightly else (release.tag, str(release.branch))
        parts = [f"{release.name} {str(release.nightly).lower()} {tag} {branch}"]
        parts.append(" ".join(one.version for one in release.spellings))
    return "|".join([*parts, "yes" if same and len(numbers(pair[0]) or ()) == 3 else "no"])


@pytest.mark.parametrize("version", NOT_VERSIONS)
def test_what_is_not_a_version_is_refused_by_name_with_the_allowed_form(version: str) -> None:
    with pytest.raises(InvalidVersion) as refusal:
        Release.parse(version, today=TODAY)
    assert str(refusal.value).startswith(f"version: {version!r}")
    assert ALLOWED_FORM in str(refusal.value)


@pytest.mark.parametrize("version", [None, 4, 4.26, ["1.0.0"], {"version": "1.0.0"}, True])
def test_what_is_not_a_string_is_refused(version: object) -> None:
    with pytest.raises(InvalidVersion):
        Release.parse(version, today=TODAY)


@pytest.mark.parametrize("version", NOT_VERSIONS)
def test_the_forms_pattern_refuses_them_too(version: str) -> None:
    assert not re.search(VERSION_PATTERN, version)


@pytest.mark.parametrize("version", [*VERSIONS, "nightly"])
def test_the_forms_pattern_takes_every_version(version: str) -> None:
    assert re.search(VERSION_PATTERN, version)


@pytest.mark.parametrize(
    ("version", "spellings"),
    [
        ("26.09.29", ["26.09.29", "26.9.29"]),
        ("26.9.29", ["26.9.29", "26.09.29"]),
        ("26.9.3", ["26.9.3", "26.9.03", "26.09.3", "26.09.03"]),
        ("4.172.0", ["4.172.0"]),
        ("2026.09.29", ["2026.09.29"]),
    ],
)
def test_a_release_can_be_spelled_with_padding_and_a_nightly_in_one_way(
    version: str, spellings: list[str]
) -> None:
    assert [one.version for one in Release.parse(version, today=TODAY).spellings] == spellings


def test_tag_branch_and_series_are_spelled_as_the_version_is() -> None:
    release = Release.parse("26.09.29", today=TODAY)
    assert (release.tag, release.branch, release.series) == ("HHVM-26.09.29", "HHVM-26.09", "26.09")
    assert release.branches == ("HHVM-26.09", "HHVM-26.9")
    assert Release.parse("2026.09.29", today=TODAY).branches == ()


def test_the_29th_of_february_is_a_nightly_in_leap_years_only() -> None:
    assert Release.parse("2024.02.29", today=TODAY).nightly
    with pytest.raises(InvalidVersion, match="day is out of range"):
        Release.parse("2025.02.29", today=TODAY)


def test_a_nightly_of_the_future_is_refused() -> None:
    with pytest.raises(InvalidVersion, match="future"):
        Release.parse("2026.11.23", today=TODAY)


def test_nightly_is_the_nightly_of_today() -> None:
    assert Release.parse("nightly", today=TODAY) == Release("2026.11.22", nightly=True)


def test_a_release_is_the_package_hhvm_from_its_tag() -> None:
    release = Release.parse("4.172.1", today=TODAY)
    assert (release.package, release.name, release.tag) == ("hhvm", "hhvm-4.172.1", "HHVM-4.172.1")


def test_a_nightly_is_the_package_hhvm_nightly() -> None:
    release = Release.parse("2026.11.22", today=TODAY)
    assert (release.package, release.name) == ("hhvm-nightly", "hhvm-nightly-2026.11.22")


@given(st.lists(st.tuples(TYPED, TYPED), min_size=40, max_size=100))
@example([(version, other) for version in [*VERSIONS, *NOT_VERSIONS] for other in ["26.9.29", "26.09.29"]])
@settings(max_examples=4, deadline=None)
def test_the_shell_and_python_read_every_version_alike(pairs: list[tuple[str, str]]) -> None:
    # No argument of a command can hold it.
    pairs = [pair for pair in pairs if "\0" not in "".join(pair)]
    assert in_shell(pairs) == [in_python(pair) for pair in pairs]


@given(TYPED)
def test_the_forms_pattern_takes_what_is_parsed_and_nothing_else(text: str) -> None:
    # A pattern does not know which years have a 29th of February.
    impossible = re.fullmatch(r"[0-9]{4}\.02\.29|0000\.[0-9]{2}\.[0-9]{2}", text)
    assert impossible or bool(re.search(VERSION_PATTERN, text)) == (Release.find(text) is not None)


@given(RELEASES)
def test_every_spelling_of_a_release_has_the_same_spellings(version: str) -> None:
    release = Release(version, nightly=False)
    for spelled in release.spellings:
        assert set(spelled.spellings) == set(release.spellings)
        assert Release.find(spelled.version) == spelled
        assert is_same_version(spelled.version, version)
        assert Version(spelled.version) == Version(version)


@given(RELEASES, RELEASES)
def test_releases_are_sorted_by_their_numbers_as_debian_sorts_them(one: str, other: str) -> None:
    by_numbers = (Release(one, nightly=False).numbers, Release(other, nightly=False).numbers)
    assert (by_numbers[0] < by_numbers[1]) == (Version(one) < Version(other))
    assert (by_numbers[0] == by_numbers[1]) == (Version(one) == Version(other))
    assert (by_numbers[0] == by_numbers[1]) == (
        Release(other, nightly=False) in Release(one, nightly=False).spellings
    )
