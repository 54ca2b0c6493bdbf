"""The commit: new packages become part of a suite, for all users at once.

Each write is safe to repeat and safe to die after. Files in the pool and under by-hash never change, so
whichever InRelease a user has, all that it names is there. InRelease alone decides; the names without a
digest (Packages, Release and so on) follow it, and the next run completes them if this one dies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from debian import deb822

from hhvm_packaging.apt import index, signing
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import CACHE_BRIEFLY, CACHE_FOREVER, Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.jobs import Artifact
    from hhvm_packaging.store import Bucket

# Debian policy 5.6.1 (package), 5.6.12 (version, whose epoch file names leave out) and 5.6.8.
_FILE_NAME = re.compile(
    r"(?P<package>[a-z0-9][a-z0-9+.-]+)_(?P<version>[0-9][A-Za-z0-9.+~-]*)_(?P<architecture>[a-z0-9-]+)\.deb"
)
_DEB = "application/vnd.debian.binary-package"
_TEXT = "text/plain; charset=utf-8"
_CONTENT_TYPES = {
    **dict(zip(index.VARIANTS, (_TEXT, "application/gzip", "application/x-xz"), strict=True)),
    "InRelease": _TEXT,
    "Release": _TEXT,
    "Release.gpg": "application/pgp-signature",
}


class Unpublishable(PackagingError):
    """A package is not what its name or its manifest says. The message names the file and the suite."""


class Damaged(PackagingError):
    """The published suite does not hold together. The message names the object."""


@dataclass(frozen=True)
class Published:
    """What a publish did: names of .deb files."""

    added: tuple[str, ...]
    already: tuple[str, ...]
    """Those that the suite had before."""


def read(downloads: Bucket, repository: str, suite: str) -> index.Packages:
    """What users of the suite are offered now: nothing if it was never published.

    Its signature is not looked at. Raises Damaged or index.InvalidIndex.
    """
    return _Suite(downloads, repository, suite).read().packages


def publish(
    downloads: Bucket,
    scratch: Bucket,
    *,
    repository: str,
    suite: str,
    pool: str,
    packages: Mapping[str, Artifact],
    signer: Signer,
) -> Published:
    """Add packages to a suite, in one commit; to run it again does no harm, and completes what died.

    ``repository`` is debian or ubuntu, ``pool`` where new files go, as Store.pool has it, and ``packages``
    the .deb files by their keys in ``scratch``.

    Nothing is written before all is checked. Raises Unpublishable; index.AlreadyPublished if a name or a
    version is published with other bytes; signing.BadSignature if the suite was signed by a key that the
    signer does not know; Damaged; store.Conflict if another publisher was faster (run it again).
    """
    target = _Suite(downloads, repository, suite)
    current = target.read(trusted=signer.public_key())
    stanzas = {key: target.stanza(package, pool) for key, package in packages.items()}
    try:
        wanted = current.packages.add(stanzas.values())
    except index.AlreadyPublished as error:
        raise index.AlreadyPublished(f"{target}: {error}") from error

    absent = [key for key, package in packages.items() if not target.has_pool_file(package, stanzas[key])]
    for key in absent:
        target.check_scratch(scratch, key, packages[key])
    for key in absent:
        target.copy_to_pool(scratch, key, packages[key], stanzas[key])

    if wanted is not current.packages:
        target.commit(wanted, current, signer)
    elif current.release:
        target.complete(current.text, current.release, signer)

    had = {stanza.identity for stanza in current.packages.stanzas}
    names = {package.name: stanzas[key].identity in had for key, package in packages.items()}
    return Published(
        added=tuple(name for name, old in names.items() if not old),
        already=tuple(name for name, old in names.items() if old),
    )


@dataclass(frozen=True)
class _State:
    """A suite as InRelease has it."""

    etag: str | None = None
    text: bytes = b""
    """InRelease without its signature, which is Release."""
    release: index.Release | None = None
    packages: index.Packages = field(default_factory=index.Packages)


class _Suite:
    def __init__(self, downloads: Bucket, repository: str, suite: str) -> None:
        self.downloads = downloads
        self.repository = repository
        self.suite = suite
        self.directory = Store.suite(repository, suite)

    def __str__(self) -> str:
        return f"{self.repository} {self.suite}"

    # What is there

    def read(self, *, trusted: bytes | None = None) -> _State:
        """The suite now; with ``trusted`` public keys, only if one of them signed it."""
        content, etag = self.downloads.get_with_etag(f"{self.directory}InRelease")
        if content is None:
            return _State()
        if trusted is None:
            lines = deb822.Deb822.split_gpg_and_payload(iter(content.splitlines(keepends=True)))[1]
            text = b"".join(line + b"\n" for line in lines)
        else:
            try:
                text = signing.signed_text(content, trusted)
            except signing.BadSignature as error:
                raise signing.BadSignature(
                    f"{self}: InRelease: {error}. If the signing key was replaced, let the public key of the "
                    "old one follow the private key of the new one."
                ) from error
        release = index.Release.parse(text)
        return _State(etag, text, release, index.Packages.parse(self.load(index.PACKAGES, release)))

    def load(self, name: str, release: index.Release) -> bytes:
        """The index that ``release`` means, whatever was written under its plain name since."""
        digest = release.sha256.get(name)
        if digest is None:
            raise Damaged(f"{self}: InRelease does not name {name}")
        key = self.directory + name
        # The plain name is for indices of the time before by-hash.
        for candidate in (Store.by_hash(key, digest), key):
            content = self.downloads.get(candidate)
            if content is not None and index.sha256(content) == digest:
                return content
        raise Damaged(
            f"{self}: InRelease names {name} with SHA-256 {digest}, but neither "
            f"s3://{self.downloads.name}/{Store.by_hash(key, digest)} nor {key} has these bytes"
        )

    # What comes in

    def stanza(self, package: Artifact, pool: str) -> index.Stanza:
        """The package's entry in the index. Raises Unpublishable if anything in it contradicts the rest."""
        where = f"{self}: {package.name}"
        name = _FILE_NAME.fullmatch(package.name)
        if name is None:
            raise Unpublishable(f"{where!r} is not a Debian package's file name")
        if name["architecture"] not in (index.ARCHITECTURE, "all"):
            raise Unpublishable(f"{where}: the suite is for {index.ARCHITECTURE} and all")
        try:
            stanza = index.Stanza.parse(package.stanza or "")
        except index.InvalidIndex as error:
            raise Unpublishable(f"{where}: its stanza: {error}") from error
        _, _, version = stanza.version.rpartition(":")
        for what, here, there in (
            ("Package", stanza.package, name["package"]),
            ("Version", version, name["version"]),
            ("Architecture", stanza.architecture, name["architecture"]),
            ("Size", stanza.size, package.size),
            ("SHA256", stanza.sha256, package.sha256),
            ("MD5sum", stanza.md5 or package.md5, package.md5),
        ):
            if here != there:
                raise Unpublishable(f"{where}: its stanza says {what} {here}, but it is {there}")
        return stanza.at(pool + package.name)

    def pool_key(self, stanza: index.Stanza) -> str:
        return Store.in_repository(self.repository, stanza.filename)

    def has_pool_file(self, package: Artifact, stanza: index.Stanza) -> bool:
        head = self.downloads.head(self.pool_key(stanza))
        if head is None:
            return False
        if not head.holds(size=package.size, sha256=package.sha256, md5=package.md5):
            raise index.AlreadyPublished(
                f"{self}: s3://{self.downloads.name}/{self.pool_key(stanza)} is published with "
                f"{head.size} bytes, SHA-256 {head.sha256 or 'unknown'}, ETag {head.etag}, but this one has "
                f"{package.size} bytes, SHA-256 {package.sha256}, MD5 {package.md5}. What is published is "
                "immutable: publish another version."
            )
        return True

    def check_scratch(self, scratch: Bucket, key: str, package: Artifact) -> None:
        head = scratch.head(key)
        if head is None or not head.holds(size=package.size, sha256=package.sha256, md5=package.md5):
            state = "is missing" if head is None else f"has other bytes (ETag {head.etag})"
            raise Unpublishable(f"{self}: {package.name}: s3://{scratch.name}/{key} {state}: build it again")

    # What goes out

    def copy_to_pool(self, scratch: Bucket, key: str, package: Artifact, stanza: index.Stanza) -> None:
        self.downloads.copy_from(
            scratch,
            key,
            self.pool_key(stanza),
            content_type=_DEB,
            sha256=package.sha256,
            cache=CACHE_FOREVER,
        )

    def commit(self, packages: index.Packages, current: _State, signer: Signer) -> None:
        """Make this the suite's index."""
        indices = packages.variants()
        date = index.next_date(datetime.now(UTC), current.release.date if current.release else None)
        release = index.render_release(self.suite, indices, date=date)
        in_release = signer.clearsign(release)
        for name, content in indices.items():
            key = Store.by_hash(self.directory + name, index.sha256(content))
            self.downloads.put(key, content, _CONTENT_TYPES[name], cache=CACHE_FOREVER)
        self.downloads.replace(
            f"{self.directory}InRelease",
            in_release,
            _CONTENT_TYPES["InRelease"],
            etag=current.etag,
            cache=CACHE_BRIEFLY,
        )
        for name, content in (indices | {"Release": release}).items():
            self.put_plain(name, content)
        self.put_plain("Release.gpg", signer.detach(release))

    def complete(self, text: bytes, release: index.Release, signer: Signer) -> None:
        """Write those plain names that are not what InRelease says: an earlier run died before it did."""
        plain = {name: self.load(name, release) for name in index.VARIANTS if name in release.sha256}
        for name, content in (plain | {"Release": text}).items():
            if self.downloads.get(self.directory + name) != content:
                self.put_plain(name, content)
        try:
            signature = self.downloads.get(f"{self.directory}Release.gpg") or b""
            signing.verify(text, signature, signer.public_key())
        except signing.BadSignature:
            self.put_plain("Release.gpg", signer.detach(text))

    def put_plain(self, name: str, content: bytes) -> None:
        self.downloads.put(self.directory + name, content, _CONTENT_TYPES[name], cache=CACHE_BRIEFLY)
