"""One suite: what its users get, and the commit, which changes that for all of them at once.

Each write is safe to repeat and safe to die after. Files in the pool and under by-hash never change, so
whichever InRelease a user has, all that it names is there. InRelease alone decides; the names without a
digest (Packages, Release and so on) follow it, and the next run completes them if this one dies. Release
is the last of them: where it is InRelease's, so were the others.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import logging
import lzma
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index, signing
from hhvm_packaging.apt.lock import name_of
from hhvm_packaging.apt.memory import Memory
from hhvm_packaging.apt.snapshots import Snapshot
from hhvm_packaging.apt.sources_index import SOURCES, Sources
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import CACHE_BRIEFLY, CACHE_FOREVER, Conflict
from hhvm_packaging.store.concurrently import alongside, run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from hhvm_packaging.apt.change import Change
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.store.buckets import Bucket

log = logging.getLogger(__name__)

_EMPTY = index.sha256(b"")
_TEXT = "text/plain; charset=utf-8"
_CONTENT_TYPES = {
    ".gz": "application/gzip",
    ".xz": "application/x-xz",
    ".gpg": "application/pgp-signature",
}


class Damaged(PackagingError):
    """The published suite does not hold together. The message names the object."""


@dataclass(frozen=True)
class State:
    """A suite as InRelease has it."""

    etag: str | None = None
    text: bytes = b""
    """InRelease without its signature, which is Release."""
    release: index.Release | None = None
    packages: Mapping[str, index.Packages] = field(default_factory=dict)
    """By architecture."""
    sources: Sources = field(default_factory=Sources)
    remembered: bool = False
    """Whether it is only known to have been so when this machine last changed it."""

    @cached_property
    def identities(self) -> frozenset[index.Identity]:
        """All that users are offered."""
        packages = (stanza for entries in self.packages.values() for stanza in entries.stanzas)
        return frozenset(entry.identity for entry in chain(packages, self.sources.stanzas))

    @property
    def indices(self) -> dict[str, index.Packages | Sources]:
        """All of them, by name."""
        packages = {
            index.packages_of(architecture): entries for architecture, entries in self.packages.items()
        }
        has_sources = self.release is not None and SOURCES in self.release.sha256
        return packages | ({SOURCES: self.sources} if has_sources else {})

    @property
    def release_etag(self) -> str | None:
        """What Release has once the names without a digest are this state's, as it is the last of them."""
        return f'"{hashlib.md5(self.text, usedforsecurity=False).hexdigest()}"' if self.text else None

    @property
    def withdrawn(self) -> frozenset[index.Identity]:
        """What is not to return unasked."""
        return self.release.withdrawn if self.release else frozenset()

    @property
    def snapshot(self) -> str | None:
        """The name of this very state's snapshot."""
        return Snapshot.name_of(self.release.date, self.text) if self.release else None


@dataclass(frozen=True)
class Signed:
    """A Release that was just made."""

    date: datetime
    text: bytes
    in_release: bytes


class Suite:
    """A suite of a repository (debian or ubuntu); ``scratch`` keeps its snapshots.

    Of the requests whose order does not matter, ``at_once`` are under way at the same time. ``memories`` is
    the directory where this machine remembers what it publishes, if it is to.
    """

    def __init__(
        self,
        downloads: Bucket,
        scratch: Bucket,
        repository: str,
        suite: str,
        *,
        at_once: int = 1,
        memories: Path | None = None,
    ) -> None:
        self.at_once = at_once
        self.downloads = downloads
        self.scratch = scratch
        self.repository = repository
        self.suite = suite
        self.directory = keys.suite(repository, suite)
        self._memories = memories

    def __str__(self) -> str:
        return f"{self.repository} {self.suite}"

    # What is there

    def read(self, *, signer: Signer | None = None) -> State:
        """The suite now; with a ``signer``, only if a key that he knows signed it."""
        in_release, etag = self.downloads.get_with_etag(f"{self.directory}InRelease")
        return State() if in_release is None else self.state(in_release, etag, signer=signer)

    def remembered(self, *, signer: Signer | None = None) -> State | None:
        """The suite as this machine left it; None where it does not know."""
        memory = Memory.read(self._memory_file) if self._memory_file else None
        if memory is None:
            return None
        in_release, known = memory.in_release.encode(), memory.indices
        try:
            state = self.state(in_release, memory.etag, signer=signer, known=known)
        except PackagingError:
            return None  # Which the suite itself is, or not.
        return replace(state, remembered=True)

    @property
    def _memory_file(self) -> Path | None:
        return self._memories and self._memories / f"{name_of(self.downloads, str(self))}.json"

    def state(
        self,
        in_release: bytes,
        etag: str | None,
        *,
        signer: Signer | None = None,
        known: Mapping[str, bytes] = MappingProxyType({}),
    ) -> State:
        """The suite as ``in_release`` has it; ``known`` are indices, by SHA-256, that need not be fetched.

        Raises signing.BadSignature, Damaged, index.InvalidIndex.
        """
        text = self.text(in_release, signer)
        release = index.Release.parse(text)
        names = [index.packages_of(architecture) for architecture in release.architectures]
        names += [SOURCES] if SOURCES in release.sha256 else []

        def content(name: str) -> bytes:
            return known.get(release.sha256[name]) or self.content(name, release)

        found = dict(
            zip(names, run_all((partial(content, name) for name in names), at_once=self.at_once), strict=True)
        )
        packages = {
            architecture: index.Packages.parse(found[index.packages_of(architecture)])
            for architecture in release.architectures
        }
        sources = Sources.parse(found[SOURCES]) if SOURCES in found else Sources()
        return State(etag, text, release, packages, sources)

    def text(self, in_release: bytes, signer: Signer | None) -> bytes:
        """InRelease without its signature, which must be by a key that the ``signer`` knows, if he is given.

        Raises signing.BadSignature.
        """
        if signer is None:
            return Suite.unsigned(in_release)
        try:
            return signer.signed_text(in_release)
        except signing.BadSignature as error:
            raise signing.BadSignature(
                f"{self}: InRelease: {error}. If the signing key was replaced, let the public key of the "
                "old one follow the private key of the new one."
            ) from error

    def digests(self) -> Mapping[str, str]:
        """The SHA-256 of each index as InRelease has it, by name; its signature does not matter."""
        content = self.downloads.get(f"{self.directory}InRelease")
        return {} if content is None else self.release_of(content).sha256

    @staticmethod
    def release_of(in_release: bytes) -> index.Release:
        """The Release in an InRelease whose signature does not matter. Raises index.InvalidIndex."""
        return index.Release.parse(Suite.unsigned(in_release))

    @staticmethod
    def unsigned(in_release: bytes) -> bytes:
        """The text in an InRelease whose signature does not matter."""
        # The import takes a twentieth of a second, which a publisher, who verifies, does not need.
        from debian import deb822

        lines = deb822.Deb822.split_gpg_and_payload(iter(in_release.splitlines(keepends=True)))[1]
        return b"".join(line + b"\n" for line in lines)

    def content(self, name: str, release: index.Release) -> bytes:
        """The index ``name`` that ``release`` means, fetched in a form with few bytes."""
        plain, gz, xz = index.names(name)
        if release.sha256[plain] == _EMPTY:
            return b""
        # Much the same bytes, but gz unpacks faster.
        for variant, decompress in ((gz, gzip.decompress), (xz, lzma.decompress)):
            if variant in release.sha256 and (content := self.find(variant, release)) is not None:
                return decompress(content)
        return self.load(plain, release)

    def load(self, name: str, release: index.Release) -> bytes:
        """The file that ``release`` means, whatever was written under its plain name since."""
        content = self.find(name, release)
        if content is None:
            key, digest = self.directory + name, release.sha256.get(name, "(none)")
            raise Damaged(
                f"{self}: InRelease names {name} with SHA-256 {digest}, but neither "
                f"s3://{self.downloads.name}/{keys.by_hash(key, digest)} nor {key} has these bytes"
            )
        return content

    def find(self, name: str, release: index.Release) -> bytes | None:
        """As ``load``, or None where nothing has these bytes."""
        digest = release.sha256.get(name)
        if digest is None:
            raise Damaged(f"{self}: InRelease does not name {name}")
        key = self.directory + name
        # The plain name is for indices of the time before by-hash.
        for candidate in (keys.by_hash(key, digest), key):
            content = self.downloads.get(candidate)
            if content is not None and index.sha256(content) == digest:
                return content
        return None

    # What goes out

    def commit(self, change: Change, signer: Signer, copies: Iterable[Callable[[], object]] = ()) -> Snapshot:
        """Make the change: from then on users get it. The pool is whole once the ``copies`` are made.

        Raises store.Conflict if the suite is no longer as the change's ``current`` says, or may not be.
        """
        current = change.current
        # Suites of other tools may have no by-hash files at all.
        has_by_hash = current.release is not None and b"\nAcquire-By-Hash: yes\n" in current.text
        known = current.release.sha256 if current.release and has_by_hash else {}

        def is_new(name: str) -> bool:
            return known.get(name) != index.sha256(change.making[name].result())

        def put_new(name: str) -> None:
            if is_new(name):
                self.put_by_hash(name, change.making[name].result())

        besides: list[Callable[[], object]] = [*copies, self.is_fenced]
        besides += [partial(put_new, name) for name in change.making]
        with alongside(besides, at_once=self.at_once):
            signed = self.sign(change, signer)
            snapshot = Snapshot(
                name=Snapshot.name_of(signed.date, signed.text),
                date=signed.date,
                reason=change.reason,
                previous=current.snapshot,
                added=index.words(change.added),
                removed=index.words(change.removed),
                in_release=signed.in_release.decode(),
            )
            # Before the commit, so that no commit is without; one that was never committed is in no chain.
            snapshot.write(self.scratch, self.repository, self.suite)
        if not self.is_fenced():
            if current.remembered:
                raise Conflict(f"{self}: it may have been changed by another publisher")
            log.warning(
                "%s: the store does not support conditional writes; a lock keeps publishers on this machine "
                "apart, but not those on another",
                self,
            )
        etag = self.put_over("InRelease", signed.in_release, current.etag)
        new = {name: content for name, content in change.contents.items() if is_new(name)}
        then: list[Callable[[], object]] = [partial(self.copy_plain, *file) for file in new.items()]
        then.append(partial(self.put_signature, signed.text, signer))
        then.append(partial(self.remember, change, signed, etag))
        self.follow(current, signed, signer, then)
        return snapshot

    def sign(self, change: Change, signer: Signer) -> Signed:
        """The Release of the change, as of now."""
        last = change.current.release
        date = index.next_date(datetime.now(UTC), last.date if last else None)
        text = index.render_release(self.suite, change.contents, date=date, withdrawn=change.withdrawn)
        return Signed(date, text, signer.clearsign(text))

    def is_fenced(self) -> bool:
        """Whether the store refuses a commit by whoever did not see the one before it."""
        return self.scratch.supports_conditional_writes()

    def remember(self, change: Change, signed: Signed, etag: str) -> None:
        """Have this machine know what the suite is from then on, if the store notices who changes it then."""
        if self._memory_file is None:
            return
        if self.is_fenced():
            texts = tuple(change.contents[name].decode() for name in change.indices)
            Memory(signed.in_release.decode(), etag, texts).write(self._memory_file)
        else:
            self._memory_file.unlink(missing_ok=True)

    def follow(
        self, current: State, signed: Signed, signer: Signer, others: Iterable[Callable[[], object]]
    ) -> None:
        """Write the names without a digest: the ``others``, then Release.

        All of them, if a publisher died before this one: then Release was not what ``current`` is. A store
        that heeds conditions tells so by that very write.
        """

        def is_followed() -> bool:
            if self.is_fenced():
                return True
            return self.downloads.get(f"{self.directory}Release") == (current.text or None)

        if run_all([*others, is_followed], at_once=self.at_once)[-1]:
            with contextlib.suppress(Conflict):
                self.put_over("Release", signed.text, current.release_etag)
                return
        self.complete(signer)

    def complete(self, signer: Signer) -> None:
        """Make the names without a digest those of the last commit, whoever made it.

        Whoever wrote them looks at InRelease after that, so the last commit's stay.
        """
        while wrong := self.wrong(signer):
            for name, content in wrong.items():
                self.put_plain(name, content)

    def wrong(self, signer: Signer) -> dict[str, bytes]:
        """What should be under a name without a digest and is not; Release is the last."""
        in_release = self.downloads.get(f"{self.directory}InRelease")
        if in_release is None:
            return {}
        text = self.text(in_release, signer)
        release = index.Release.parse(text)
        names = [*release.sha256, "Release.gpg", "Release"]
        found = run_all(
            (partial(self.downloads.get, self.directory + name) for name in names), at_once=self.at_once
        )
        there = {name: content or b"" for name, content in zip(names, found, strict=True)}
        wrong = {
            name: self.load(name, release)
            for name, digest in release.sha256.items()
            if index.sha256(there[name]) != digest
        }
        try:
            signing.verify(text, there["Release.gpg"], signer.public_key())
        except signing.BadSignature:
            wrong["Release.gpg"] = signer.detach(text)
        if wrong or there["Release"] != text:
            wrong["Release"] = text
        return wrong

    def put_over(self, name: str, content: bytes, etag: str | None) -> str:
        """Write a file over the one with this ETag. Returns its own. Raises store.Conflict."""
        key = self.directory + name
        return self.downloads.replace(key, content, _content_type(name), etag=etag, cache=CACHE_BRIEFLY)

    def put_by_hash(self, name: str, content: bytes) -> None:
        """Write an index under its digest."""
        key = keys.by_hash(self.directory + name, index.sha256(content))
        self.downloads.put(key, content, _content_type(name), cache=CACHE_FOREVER)

    def copy_plain(self, name: str, content: bytes) -> None:
        """Write an index, which is under its digest, under its name without one: no byte of it goes up."""
        key = self.directory + name
        by_hash = keys.by_hash(key, index.sha256(content))
        self.downloads.copy_from(
            self.downloads, by_hash, key, content_type=_content_type(name), cache=CACHE_BRIEFLY
        )

    def put_signature(self, text: bytes, signer: Signer) -> None:
        """Write Release.gpg for that Release."""
        self.put_plain("Release.gpg", signer.detach(text))

    def put_plain(self, name: str, content: bytes) -> None:
        """Write a file under its name without a digest."""
        self.downloads.put(self.directory + name, content, _content_type(name), cache=CACHE_BRIEFLY)


def _content_type(name: str) -> str:
    return _CONTENT_TYPES.get(f".{name.rpartition('.')[2]}", _TEXT)
