"""A source tarball that another system made. It is the version's source if a trusted key signed it.

What is public is immutable: a version whose tarball is public is built from those bytes, also with a raised
PKGVER, and not from a tarball that is made anew and differs.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hhvm_packaging.apt import signing
from hhvm_packaging.planning import source_tarball
from hhvm_packaging.planning.manifests import SourceManifest
from hhvm_packaging.planning.source_tarball import SourceError
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Artifact

if TYPE_CHECKING:
    from hhvm_packaging.release import Release
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Bucket, Store

log = logging.getLogger(__name__)


class _Place(NamedTuple):
    """Where a tarball may be."""

    bucket: Bucket
    tarball: str
    signature: str


def adopt(store: Store, release: Release, commit: str, settings: Settings) -> None:
    """Make a source manifest for a tarball that is there without one, if a trusted key signed it.

    ``commit`` is what it was made from, as far as the tags say. Does nothing if there is a manifest, or no
    such tarball. Raises SourceError if the public one is not signed by a trusted key.
    """
    if SourceManifest.read(store, release) is not None:
        return
    scratch = _Place(store.scratch, keys.tarball(release), keys.tarball_signature(release))
    public = _Place(store.downloads, keys.public_tarball(release), keys.public_signature(release))
    for place in (public, scratch):
        try:
            manifest = _verify(place, release, commit, source_tarball.trusted_keys(store, settings))
        except signing.BadSignature as error:
            where = f"s3://{place.bucket.name}/{place.tarball}"
            if place is public:
                raise SourceError(
                    f"HHVM {release.version}: {where} is public, so it is this version's source, but its "
                    f"signature is not good: {error}. If an earlier key signed it, name a file with that "
                    "public key in the setting source_keys_file"
                ) from error
            log.warning("%s is made anew: its signature is not good: %s", where, error)
            continue
        if manifest is not None:
            _copy_to_scratch(place, scratch, manifest)
            manifest.write(store, release)
            log.info(
                "HHVM %s: s3://%s/%s, signed by %s, is its source",
                release.version,
                place.bucket.name,
                place.tarball,
                manifest.signed_by,
            )
            return


def _verify(place: _Place, release: Release, commit: str, trusted: bytes) -> SourceManifest | None:
    """The manifest of the tarball; None if there is none.

    Raises signing.BadSignature.
    """
    head = place.bucket.head(place.tarball)
    if head is None:
        return None
    signature = place.bucket.get(place.signature)
    if signature is None:
        raise signing.BadSignature(f"s3://{place.bucket.name}/{place.signature} is missing")
    with tempfile.TemporaryDirectory(prefix="hhvm-adopt-") as directory:
        path = Path(directory) / Path(place.tarball).name
        place.bucket.download(place.tarball, path)
        signed_by = signing.verify(path, signature, trusted, expired=True)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        tarball = Artifact(name=path.name, size=path.stat().st_size, sha256=sha256, md5=md5)
    return SourceManifest(version=release.version, commit=commit, tarball=tarball, signed_by=signed_by)


def _copy_to_scratch(place: _Place, scratch: _Place, manifest: SourceManifest) -> None:
    """Put the tarball and its signature where jobs fetch them."""
    tarball = manifest.tarball
    if place.bucket is scratch.bucket:
        return
    checked = place.bucket.head(place.tarball)
    if checked is None or not place.bucket.holds(place.tarball, checked, tarball):
        raise SourceError(f"s3://{place.bucket.name}/{place.tarball} has changed meanwhile: clear `plan`")
    scratch.bucket.put(
        scratch.signature, place.bucket.get(place.signature) or b"", "application/pgp-signature"
    )
    scratch.bucket.copy_from(
        place.bucket,
        place.tarball,
        scratch.tarball,
        content_type="application/gzip",
        checked=checked,
    )
