"""The packaging files: what workers need of this project, as one archive, and which revision of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import re
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.packaging_tree import DEEPEST, MOST_BYTES, MOST_FILES
from hhvm_packaging.planning import git, packaging_refs
from hhvm_packaging.planning.git import GitError
from hhvm_packaging.settings import PACKAGING_REFS
from hhvm_packaging.store import keys
from hhvm_packaging.workers.packaging_archive import extract, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hhvm_packaging.store.buckets import Store

WORKTREE = "worktree"
"""In place of a ref: the files as they lie in the checkout, uncommitted edits included."""

_REVISED = ("bin", "distros")
_JOBS = "jobs"
_AS_IT_IS = re.compile(r"HEAD|refs/(?:heads|tags)/.+|[0-9a-f]{7,40}")
_OTHER_REF = re.compile(r"refs/(?!heads/|tags/).*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_GIT_TIMEOUT = 60
_LONGEST_ENTRY = 400
"""Bytes of a file in git's listing, on average."""

log = logging.getLogger(__name__)


class UnknownRef(PackagingError):
    """The packaging repository has no such revision, or it is not one of packaging files."""


class Revision(NamedTuple):
    """A revision of bin/ and distros/."""

    ref: str
    """What it was found by: a ref, a commit, or ``worktree``."""
    commit: str
    """Of the worktree, with ``-dirty`` if there are uncommitted edits; ``unknown`` outside git."""
    tag: str = ""
    """The id of the tag object that it was found by; empty if there is none."""


def resolve(
    root: Path,
    ref: str | None,
    *branches: str | None,
    allowed: Sequence[str] = PACKAGING_REFS,
    keyring: Path | None = None,
) -> Revision:
    """What a run uses: ``ref`` if one is asked for, else the first of ``branches``, else the worktree.

    Branches that are not there do not count, nor those without packaging files, such as those of the time
    before distros/. The checkout's own refs come before its origin's. Forty hexadecimal digits are a commit.
    Raises UnknownRef, also if no branch or tag of ``allowed`` contains what is asked for, or if it is not
    signed with a key of the ``keyring``; see packaging_refs.
    """
    if ref:
        return _resolve_asked(root, ref, allowed, keyring)
    for find in (_own, _origins):
        for branch in filter(None, branches):
            found = find(root, [f"refs/heads/{branch}"])
            if found and not (lacking := _find_lacking(root, found)):
                _check(root, found, allowed, keyring)
                return found
            if found:
                log.warning("%s (%s) has no directory %s/, so it does not count", *found[:2], lacking)
    return worktree(root)


def _resolve_asked(root: Path, ref: str, allowed: Sequence[str], keyring: Path | None) -> Revision:
    if _OTHER_REF.fullmatch(ref):
        raise UnknownRef(
            f"packaging_ref: {ref!r} is neither a branch nor a tag. Allowed: the name of a branch or tag, or "
            "a commit; not what somebody proposes in a pull request."
        )
    if _COMMIT.fullmatch(ref):
        own = origins = [ref]
    else:
        name = ref.removeprefix("origin/")
        own = [f"refs/heads/{ref}", f"refs/tags/{ref}", *([ref] if _AS_IT_IS.fullmatch(ref) else [])]
        origins = [f"refs/heads/{name}", f"refs/tags/{name}", *([ref] if _is_full(ref) else [])]
    found = _own(root, own) or _origins(root, origins)
    if found is None:
        raise UnknownRef(
            f"packaging_ref: neither {root} nor its origin has a branch, tag or commit {ref!r}. "
            "Allowed: one that is there, or nothing for what is usual."
        )
    _check(root, found, allowed, keyring)
    if lacking := _find_lacking(root, found):
        raise UnknownRef(
            f"packaging_ref: {found.ref} ({found.commit}) has no directory {lacking}/. "
            f"Allowed: a revision of this project with {' and '.join(f'{part}/' for part in _REVISED)}."
        )
    return found


def _is_full(ref: str) -> bool:
    return ref.startswith(("refs/heads/", "refs/tags/"))


def _check(root: Path, found: Revision, allowed: Sequence[str], keyring: Path | None) -> None:
    """Raises UnknownRef if what was found may not be used."""
    what = f"packaging_ref: {found.ref} ({found.commit})"
    name = found.ref.removeprefix("origin ").replace("refs/remotes/origin/", "refs/heads/", 1)
    try:
        # What was found by an allowed name is contained in it, and nothing need be fetched.
        if not packaging_refs.matches(name, allowed) and not packaging_refs.is_allowed(
            root, found.commit, allowed
        ):
            raise UnknownRef(
                f"{what} is in no branch or tag that may be used. Allowed: what {', '.join(allowed)} contain "
                "(HEAD is the default branch). Merge it there, or name its branch in the setting "
                "packaging_refs."
            )
    except GitError as error:
        raise UnknownRef(f"{what}: cannot find out whether it may be used: {error}") from error
    if keyring and (fault := packaging_refs.find_signature_fault(root, found.commit, found.tag, keyring)):
        raise UnknownRef(
            f"{what} is not signed as the setting packaging_signers_file wants it: {fault}. Allowed: a "
            "commit, or a tag by its name, that is signed with one of those keys."
        )


def _find_lacking(root: Path, revision: Revision) -> str | None:
    """The first of the directories of packaging files that the revision does not have; None if it has all."""
    listed = _git(root, "ls-tree", "-d", "--name-only", "-z", revision.commit, "--", *_REVISED).split(b"\0")
    return next((part for part in _REVISED if part.encode() not in listed), None)


def worktree(root: Path) -> Revision:
    """The revision of the files as they lie in ``root``: by git, or in an image by its file REVISION."""
    if (head := _own(root, ["HEAD"])) is None:
        baked = root / "REVISION"
        return Revision(WORKTREE, baked.read_text().strip() if baked.exists() else "unknown")
    edits = _git(root, "status", "--porcelain", "--untracked-files=all", "--", *_REVISED, _JOBS)
    return Revision(WORKTREE, f"{head.commit}-dirty" if edits else head.commit)


def pack(root: Path, jobs: Path | None = None) -> bytes:
    """The packaging files under ``root``, as a tar.gz whose bytes depend on nothing but their content.

    ``jobs`` is another directory for jobs/, which belongs to the code that calls them. What it shares with
    bin/ by a link is packed with it, as bin/ may be of another revision.
    """
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for part in _REVISED:
            tar.add(root / part, part, filter=_anonymous)
        tar.dereference = True
        tar.add(jobs or root / _JOBS, _JOBS, filter=_anonymous)
    return buffer.getvalue()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def upload(store: Store, root: Path, revision: Revision | None = None) -> str:
    """Keep the packaging files of a revision in scratch, by default those that lie in ``root``.

    Returns their SHA-256, by which they are fetched. Raises UnknownRef if the revision has none.
    """
    if revision is None or revision.ref == WORKTREE:
        return _keep(store, pack(root))
    _refuse_excess(root, revision)
    with tempfile.TemporaryDirectory(prefix="hhvm-packaging-") as directory:
        try:
            # As committed: without the checkout's edits.
            files = _git(root, "archive", "--format=tar.gz", revision.commit, *_REVISED)
        except GitError as error:
            raise UnknownRef(
                f"packaging_ref: {revision.ref} ({revision.commit}) is none of packaging files: {error}"
            ) from error
        extract(files, Path(directory))
        return _keep(store, pack(Path(directory), root / _JOBS))


def _refuse_excess(root: Path, revision: Revision) -> None:
    """Refuse a revision before any of its files is read. Raises UnknownRef.

    Trees that name each other many times unfold to more files than any machine has.
    """
    excess = f"it has more than {MOST_FILES:,} files in {' and '.join(f'{part}/' for part in _REVISED)}"
    fault = ""
    try:
        arguments = ("-C", str(root), "ls-tree", "-r", "-l", "-z", revision.commit, "--", *_REVISED)
        entries = git.run_up_to(MOST_FILES * _LONGEST_ENTRY, *arguments, timeout=_GIT_TIMEOUT).split(b"\0")[
            :-1
        ]
    except git.TooMuch:
        fault = excess
    except GitError as error:
        fault = f"git cannot list its files: {error}"
    else:
        parsed = [entry.partition(b"\t")[::2] for entry in entries]
        if len(parsed) > MOST_FILES:
            fault = excess
        elif any(path.count(b"/") > DEEPEST for _, path in parsed):
            fault = f"its directories are more than {DEEPEST} deep"
        elif sum(int(about.split()[3]) for about, _ in parsed if about.split()[1] == b"blob") > MOST_BYTES:
            fault = f"its files have more than {MOST_BYTES:,} bytes"
    if fault:
        raise UnknownRef(f"packaging_ref: {revision.ref} ({revision.commit}) is not used: {fault}.")


def upload_again(store: Store, root: Path, sha256: str) -> str:
    """The packaging files with that digest, with ``root``'s own jobs/. Returns the SHA-256 that makes.

    Raises DigestMismatch if they are not there or differ.
    """
    with tempfile.TemporaryDirectory(prefix="hhvm-packaging-") as directory:
        unpack(store, sha256, Path(directory))
        return _keep(store, pack(Path(directory), root / _JOBS))


def _keep(store: Store, archive: bytes) -> str:
    sha256 = hashlib.sha256(archive).hexdigest()
    if store.scratch.head(keys.packaging(sha256)) is None:
        store.scratch.put(keys.packaging(sha256), archive, "application/gzip")
    return sha256


def _own(root: Path, names: list[str]) -> Revision | None:
    """The first of ``names`` that names a commit in the checkout."""
    for name in names:
        try:
            commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except GitError:
            continue
        return Revision(name, commit.decode().strip(), _find_tag(root, name))
    return None


def _find_tag(root: Path, name: str) -> str:
    """The id of the tag object of that name; empty if it is none."""
    if not name.startswith("refs/tags/"):
        return ""
    try:
        return (
            _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{tag}}")
            .decode()
            .strip()
        )
    except GitError:
        return ""


def _origins(root: Path, refs: list[str]) -> Revision | None:
    """The first of ``refs`` that the checkout's origin has; what it had, where it cannot be asked now.

    Only objects come into the checkout, so that runs beside each other do not contend for its refs.
    """
    try:
        _git(root, "remote", "get-url", "origin")
    except GitError:
        return None
    try:
        # An annotated tag is listed twice: itself, and with ^{} the commit that it names.
        asked = _git(root, "ls-remote", "--", "origin", *refs, *(f"{ref}^{{}}" for ref in refs)).decode()
        listed = {name: commit for commit, name in (line.split("\t") for line in asked.splitlines())}
        for ref in refs:
            # A commit by its own name is not listed, yet may be there.
            commit = ref if _COMMIT.fullmatch(ref) else listed.get(f"{ref}^{{}}", listed.get(ref))
            if commit:
                tag = listed[ref] if f"{ref}^{{}}" in listed else ""
                if _own(root, [tag or commit]) is None:
                    _git(root, *packaging_refs.OBJECTS_ALONE, "--", "origin", ref)
                return Revision(f"origin {ref}", commit, tag)
    except GitError as error:
        log.warning("The origin of %s does not give it, so what it last had counts: %s", root, error)
        return _own(root, [ref.replace("refs/heads/", "refs/remotes/origin/") for ref in refs])
    return None


def _git(root: Path, *arguments: str) -> bytes:
    """What git prints in ``root``. Raises GitError."""
    return git.run("-C", str(root), *arguments, timeout=_GIT_TIMEOUT)
