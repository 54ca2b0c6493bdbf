"""Spellings of package versions: which texts are one version to Debian, such as 26.09.29-1 and 26.9.29-1.

Two spellings of one version in a repository would be two packages that apt takes for the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hhvm_packaging.apt.index import AlreadyPublished

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.apt.index import Identity

_PADDING = re.compile(r"(?<![0-9])0+(?=[0-9])")
_LAST_ZERO = re.compile(r"(?<![0-9])0\Z")


def canonical(version: str) -> tuple[str, str, str]:
    """Epoch, upstream version and revision, spelled in one way.

    Two versions have the same if, and only if, they are equal by deb-version(7): numbers are compared without
    their padding, an absent number at the end is zero, and so is an absent epoch or revision.
    """
    epoch, _, rest = version.rpartition(":")
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    return _canonical(epoch), _canonical(upstream), _canonical(revision)


def _canonical(part: str) -> str:
    return _LAST_ZERO.sub("", _PADDING.sub("", part))


def refuse_second_spelling(known: Iterable[Identity], new: Iterable[Identity]) -> None:
    """Raise AlreadyPublished if a ``new`` package is a known one, or another new one, in another spelling."""
    spelled = {(package, canonical(version)): version for package, version, _ in known}
    for package, version, _ in new:
        there = spelled.setdefault((package, canonical(version)), version)
        if there != version:
            raise AlreadyPublished(
                f"{package} {version} is the same version as {there}, which is published: to Debian they are "
                f"equal. Publish it as {there}, or publish another version."
            )
