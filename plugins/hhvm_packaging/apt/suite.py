"""One suite: what its users get, and the commit, which changes that for all of them at once.

Each write is safe to repeat and safe to die after. Files in the pool and under by-hash never change, so
whichever InRelease a user has, all that it names is there. InRelease alone decides; the names without a
digest (Packages, Release and so on) follow it, and the next run completes them if this one dies.
"""

from __future__ import annotations

import gzip
import lzma
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from debian import deb822

from hhvm_packaging.apt import index, signing
from hhvm_packaging.apt.snapshots import Snapshot
from hhvm_packaging.apt.sources import SOURCES, Sources
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import CACHE_BRIEFLY, CACHE_FOREVER, Store, each

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.store import Bucket

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

    @property
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
    def withdrawn(self) -> frozenset[index.Identity]:
        """What is not to return unasked."""
        return self.release.withdrawn if self.release else frozenset()

    @property
    def snapshot(self) -> str | None:
        """The name of this very state's snapshot."""
        return Snapshot.name_of(self.release.date, self.text) if self.release else None


class Suite:
    """A suite of a repository (debian or ubuntu); ``scratch`` keeps its snapshots.

    Of the requests whose order does not matter, ``at_once`` are under way at the same time.
    """

    def __init__(
        self, downloads: Bucket, scratch: Bucket | None, repository: str, suite: str, *, at_once: int = 1
    ) -> None:
        self.at_once = at_once
        self.downloads = downloads
        self.scratch = scratch
        self.repository = repository
        self.suite = suite
        self.directory = Store.suite(repository, suite)

    def __str__(self) -> str:
        return f"{self.repository} {self.suite}"

    # What is there

    def read(self, *, trusted: bytes | None = None) -> State:
        """The suite now; with ``trusted`` public keys, only if one of them signed it."""
        content, etag = self.downloads.get_with_etag(f"{self.directory}InRelease")
        return State() if content is None else self.state(content, etag, trusted=trusted)

    def state(self, in_release: bytes, etag: str | None, *, trusted: bytes | None = None) -> State:
        """The suite as ``in_release`` has it. Raises signing.BadSignature, Damaged, index.InvalidIndex."""
        if trusted is None:
            text = _unsigned(in_release)
        else:
            try:
                text = signing.signed_text(in_release, trusted)
            except signing.BadSignature as error:
                raise signing.BadSignature(
                    f"{self}: InRelease: {error}. If the signing key was replaced, let the public key of the "
                    "old one follow the private key of the new one."
                ) from error
        release = index.Release.parse(text)
        names = [index.packages_of(architecture) for architecture in release.architectures]
        names += [SOURCES] if SOURCES in release.sha256 else []
        fetched = each((partial(self.content, name, release) for name in names), at_once=self.at_once)
        found = dict(zip(names, fetched, strict=True))
        packages = {
            architecture: index.Packages.parse(found[index.packages_of(architecture)])
            for architecture in release.architectures
        }
        sources = Sources.parse(found[SOURCES]) if SOURCES in found else Sources()
        return State(etag, text, release, packages, sources)

    @staticmethod
    def release_of(in_release: bytes) -> index.Release:
        """The Release in an InRelease whose signature does not matter. Raises index.InvalidIndex."""
        return index.Release.parse(_unsigned(in_release))

    def content(self, name: str, release: index.Release) -> bytes:
        """The index ``name`` that ``release`` means, fetched in a form with few bytes."""
        plain, gz, xz = index.names(name)
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
                f"s3://{self.downloads.name}/{Store.by_hash(key, digest)} nor {key} has these bytes"
            )
        return content

    def find(self, name: str, release: index.Release) -> bytes | None:
        """As ``load``, or None where nothing has these bytes."""
        digest = release.sha256.get(name)
        if digest is None:
            raise Damaged(f"{self}: InRelease does not name {name}")
        key = self.directory + name
        # The plain name is for indices of the time before by-hash.
        for candidate in (Store.by_hash(key, digest), key):
            content = self.downloads.get(candidate)
            if content is not None and index.sha256(content) == digest:
                return content
        return None

    # What goes out

    def commit(
        self,
        indices: Mapping[str, bytes],
        current: State,
        signer: Signer,
        *,
        reason: str,
        added: Iterable[index.Identity] = (),
        removed: Iterable[index.Identity] = (),
        withdrawn: Iterable[index.Identity],
    ) -> Snapshot:
        """Make these the suite's indices, by their names, in place of ``current``.

        Raises store.Conflict if the suite is no longer as ``current`` says.
        """
        # Suites of other tools may have no by-hash files at all.
        has_by_hash = current.release is not None and b"\nAcquire-By-Hash: yes\n" in current.text
        known = current.release.sha256 if current.release and has_by_hash else {}
        date = index.next_date(datetime.now(UTC), current.release.date if current.release else None)
        release = index.render_release(self.suite, indices, date=date, withdrawn=withdrawn)
        in_release, signature = signer.clearsign(release), signer.detach(release)
        snapshot = Snapshot(
            name=Snapshot.name_of(date, release),
            date=date,
            reason=reason,
            previous=current.snapshot,
            added=tuple(sorted(" ".join(identity) for identity in added)),
            removed=tuple(sorted(" ".join(identity) for identity in removed)),
            in_release=in_release.decode(),
        )
        first = [
            partial(self.put_by_hash, name, content)
            for name, content in indices.items()
            if known.get(name) != index.sha256(content)
        ]
        if self.scratch:
            # Before the commit, so that no commit is without; one that was never committed is in no chain.
            first.append(partial(snapshot.write, self.scratch, self.repository, self.suite))
        each(first, at_once=self.at_once)
        etag = self.downloads.replace(
            f"{self.directory}InRelease", in_release, _TEXT, etag=current.etag, cache=CACHE_BRIEFLY
        )
        plain = {**indices, "Release": release, "Release.gpg": signature}
        each((partial(self.put_plain, *file) for file in plain.items()), at_once=self.at_once)
        self.follow(etag, signer)
        return snapshot

    def follow(self, etag: str | None, signer: Signer) -> None:
        """See to it that the plain names are those of the last commit, also if it came after ``etag``'s.

        Whoever writes them last has looked at InRelease after that, so the last commit's stay.
        """
        while True:
            head = self.downloads.head(f"{self.directory}InRelease")
            if head is None or head.etag == (etag or "").strip('"'):
                return
            current = self.read(trusted=signer.public_key())
            if current.release is None:
                return
            self.complete(current.text, current.release, signer)
            etag = current.etag

    def complete(self, text: bytes, release: index.Release, signer: Signer) -> None:
        """Write those plain names that are not what InRelease says: an earlier run died before it did."""
        plain = {name: self.load(name, release) for name in release.sha256}
        for name, content in (plain | {"Release": text}).items():
            if self.downloads.get(self.directory + name) != content:
                self.put_plain(name, content)
        try:
            signature = self.downloads.get(f"{self.directory}Release.gpg") or b""
            signing.verify(text, signature, signer.public_key())
        except signing.BadSignature:
            self.put_plain("Release.gpg", signer.detach(text))

    def put_by_hash(self, name: str, content: bytes) -> None:
        """Write an index under its digest."""
        key = Store.by_hash(self.directory + name, index.sha256(content))
        self.downloads.put(key, content, _content_type(name), cache=CACHE_FOREVER)

    def put_plain(self, name: str, content: bytes) -> None:
        """Write a file under its name without a digest."""
        self.downloads.put(self.directory + name, content, _content_type(name), cache=CACHE_BRIEFLY)


def _unsigned(in_release: bytes) -> bytes:
    lines = deb822.Deb822.split_gpg_and_payload(iter(in_release.splitlines(keepends=True)))[1]
    return b"".join(line + b"\n" for line in lines)


def _content_type(name: str) -> str:
    return _CONTENT_TYPES.get(f".{name.rpartition('.')[2]}", _TEXT)
