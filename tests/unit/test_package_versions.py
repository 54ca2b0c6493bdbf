"""Which texts are one package version to Debian, and that a repository has each version in one spelling."""

from __future__ import annotations

import re

import pytest
from debian.debian_support import Version
from hypothesis import given
from hypothesis import strategies as st

from hhvm_packaging.apt.index import AlreadyPublished
from hhvm_packaging.apt.versions import canonical, refuse_second_spelling

PARTS = st.lists(
    st.one_of(st.sampled_from([".", "~", "+", "a", "-", "0", "00", "09", "9", "~bookworm"])), max_size=6
).map("".join)
VERSIONS = st.builds(
    "{}{}{}".format, st.sampled_from(["", "0:", "00:", "1:", "01:"]), st.integers(0, 9), PARTS
).filter(lambda version: not version.endswith("-") and "--" not in version)


@given(VERSIONS, VERSIONS)
def test_versions_are_the_same_if_debian_compares_them_as_equal(one: str, other: str) -> None:
    assert (canonical(one) == canonical(other)) == (Version(one) == Version(other))


@given(VERSIONS)
def test_padding_alone_never_makes_another_version(version: str) -> None:
    assert canonical(re.sub(r"(?<![0-9])9", "009", version)) == canonical(version)


@pytest.mark.parametrize(
    ("known", "new"), [("26.09.29-1~bookworm", "26.9.29-1~bookworm"), ("1.0-1", "1.0-01"), ("1.0", "0:1.0-0")]
)
def test_a_second_spelling_is_refused_with_the_one_that_is_there(known: str, new: str) -> None:
    there = [("hhvm", known, "amd64")]
    refuse_second_spelling(there, there)
    # Whatever the architecture is: apt compares the versions.
    for architecture in ("amd64", "all", "source"):
        with pytest.raises(AlreadyPublished, match=r"is the same version as .*, which is published"):
            refuse_second_spelling(there, [("hhvm", new, architecture)])
    refuse_second_spelling(there, [("hhvm-dev", new, "amd64")])


def test_two_spellings_in_one_publish_are_refused() -> None:
    with pytest.raises(AlreadyPublished):
        refuse_second_spelling([], [("hhvm", "26.09.29-1", "amd64"), ("hhvm", "26.9.29-1", "all")])
