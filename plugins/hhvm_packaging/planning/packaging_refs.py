"""Which revisions of the packaging files may be used: those that allowed branches and tags contain."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from hhvm_packaging.apt.gpg_home import temporary_home
from hhvm_packaging.planning import git
from hhvm_packaging.planning.git import GitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

HEAD = "HEAD"
"""The default branch, and what is checked out."""
TIMEOUT = 60
OBJECTS_ALONE = ("-c", "gc.auto=0", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=")
"""A fetch that changes no ref, so that runs beside each other do not contend for them."""

_OPENPGP_ALONE = tuple(
    word
    for setting in (
        "gpg.program=gpg",
        "gpg.openpgp.program=gpg",
        "gpg.ssh.program=false",
        "gpg.x509.program=false",
    )
    for word in ("-c", setting)
)
"""No program that a person has set for himself says what is signed."""
_AT_ONCE = 500
"""As many commits as fit on a command line."""


def is_allowed(root: Path, commit: str, allowed: Sequence[str]) -> bool:
    """Whether an allowed branch or tag of the checkout ``root``, or of its origin, contains the commit.

    ``allowed`` are HEAD and patterns of full names, such as ``refs/heads/HHVM-*``. Raises GitError.
    """
    # Nearly always here, without asking the origin.
    if _contain(root, _own_tips(root, allowed), commit):
        return True
    tips = _origins_tips(root, allowed)
    if missing := [ref for ref, tip in tips.items() if not _is_there(root, tip)]:
        _git(root, *OBJECTS_ALONE, "--", "origin", *missing)
    return _contain(root, tips.values(), commit)


def matches(ref: str, allowed: Iterable[str]) -> bool:
    """Whether the full name of a ref is one of those; ``*`` stands for any characters."""
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), ref) for pattern in allowed)


def find_signature_fault(root: Path, commit: str, tag: str, keyring: Path) -> str:
    """Why neither the commit nor the ``tag`` that named it is signed with a key of the keyring.

    Empty if one of them is. ``tag`` is the id of a tag object, or empty.
    """
    with temporary_home() as home:
        more = {"GNUPGHOME": str(home)}
        imported = subprocess.run(
            ["gpg", "--batch", "--quiet", "--import", "--", str(keyring)],
            env={**os.environ, **more},
            capture_output=True,
            check=False,
        )
        if imported.returncode:
            return f"{keyring} cannot be read as public keys"
        faults = []
        for command, name in (("verify-commit", commit), ("verify-tag", tag)):
            try:
                if name:
                    git.run("-C", str(root), *_OPENPGP_ALONE, command, name, timeout=TIMEOUT, more=more)
                    return ""
            except GitError as error:
                faults.append(f"git {command}: {' '.join(str(error).split()) or 'it has no signature'}")
    return "; ".join(faults)


def _own_tips(root: Path, allowed: Sequence[str]) -> list[str]:
    """The commits of the checkout's allowed refs; of its origin's, as it last had them."""
    names = ["HEAD^{commit}"] if HEAD in allowed else []
    if HEAD in allowed:
        names.append("refs/remotes/origin/HEAD^{commit}")
    listed = _git(
        root, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags", "refs/remotes/origin"
    )
    for ref in listed.decode(errors="surrogateescape").splitlines():
        full = ref.replace("refs/remotes/origin/", "refs/heads/", 1)
        if matches(full, allowed):
            names.append(f"{ref}^{{commit}}")
    return [tip for name in names if (tip := _find_commit(root, name))]


def _origins_tips(root: Path, allowed: Sequence[str]) -> dict[str, str]:
    """The commits of the origin's allowed refs, by name; empty without an origin. Raises GitError."""
    try:
        _git(root, "remote", "get-url", "origin")
    except GitError:
        return {}
    tips: dict[str, str] = {}
    for line in _git(root, "ls-remote", "--symref", "--", "origin").decode().splitlines():
        target, _, name = line.partition("\t")
        if name == HEAD and not target.startswith("ref: ") and HEAD in allowed:
            tips[HEAD] = target
        # An annotated tag is listed twice; with ^{} is the commit that it names.
        if matches(ref := name.removesuffix("^{}"), allowed):
            tips[ref] = target
    return tips


def _contain(root: Path, tips: Iterable[str], commit: str) -> bool:
    """Whether one of the tips is the commit, or has it among its ancestors."""
    for some in _in_parts(tips):
        # What is left of the commit's history without theirs: nothing, if they have it.
        left = _git(
            root, "rev-list", "--max-count=1", "--end-of-options", commit, *(f"^{tip}" for tip in some)
        )
        if not left:
            return True
    return False


def _in_parts(tips: Iterable[str]) -> Iterator[list[str]]:
    every = sorted(set(tips))
    return (every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE))


def _find_commit(root: Path, name: str) -> str | None:
    with suppress(GitError):
        return _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", name).decode().strip()
    return None


def _is_there(root: Path, commit: str) -> bool:
    return _find_commit(root, f"{commit}^{{commit}}") is not None


def _git(root: Path, *arguments: str) -> bytes:
    return git.run("-C", str(root), *arguments, timeout=TIMEOUT)
