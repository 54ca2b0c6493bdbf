"""Manifests: which artifacts a build made, and from what. They decide whether a step is done."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from hhvm_packaging.apt.incoming import Build
from hhvm_packaging.apt.sources_index import Source
from hhvm_packaging.package_claims import Allowed
from hhvm_packaging.planning import status_index
from hhvm_packaging.planning.status_index import PackageEntry, SourceEntry, VersionEntry
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Artifact, Facts, Gate

if TYPE_CHECKING:
    from hhvm_packaging.attempt_id import AttemptId
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.release import Release
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Bucket, Store


PACKAGE_SUFFIXES = (".deb", ".ddeb")
"""How the names of binary packages end. Ubuntu's automatic debug packages are .ddeb files."""

RECORD_SUFFIX = ".buildinfo"
"""How the names of the files end that say what a build was made with."""
_RECORDS = (".changes", RECORD_SUFFIX, "ccache.tar")
"""What is left of a build for later: what dpkg-buildpackage writes, and the compiler cache."""
_SOURCE_SUFFIXES = (".dsc", ".diff.gz", ".tar.gz", ".tar.bz2", ".tar.lzma", ".tar.xz", ".asc")


class SourceManifest(BaseModel):
    """The source tarball of one version, and the commit that it was made from."""

    model_config = ConfigDict(frozen=True)

    version: str
    commit: str
    tarball: Artifact
    signed_by: str | None = None
    """The fingerprint of the signing key; None until the tarball is signed."""

    @classmethod
    def read(cls, store: Store, release: Release) -> SourceManifest | None:
        """The version's source manifest; None if no tarball was made yet."""
        return store.scratch.read_model(cls, keys.source(release))

    def write(self, store: Store, release: Release) -> None:
        """Store this as the version's source manifest."""
        store.scratch.put_json(keys.source(release), self.model_dump(mode="json"))
        entry = self.summarize(datetime.datetime.now(datetime.UTC))
        status_index.record_version(store, self.version, VersionEntry(source=entry))

    def summarize(self, at: datetime.datetime) -> SourceEntry:
        """The entry of the index; ``at`` is when the manifest was written."""
        return SourceEntry(
            commit=self.commit,
            sha256=self.tarball.sha256,
            size=self.tarball.size,
            signed_by=self.signed_by or "",
            at=at,
        )


class PackageManifest(BaseModel):
    """The packages of one version for one distribution."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    version: str
    distro: str
    package_version: str
    """The Debian version, such as 1.0.0-1~bookworm."""
    inputs: str
    """SHA-256 of everything that the packages were made from."""
    source_sha256: str
    docker_base: str
    directory: str = Field(validation_alias="build", serialization_alias="build")
    """The directory of the artifacts: a key in scratch, with a trailing slash."""
    artifacts: tuple[Artifact, ...]
    left_out: dict[str, str] = {}
    """Why other things that the build left are not published, by name. The job found them."""
    packaging_revision: str = ""
    """The commit of the packaging files; empty in manifests that older revisions wrote, like what follows."""
    packaging_ref: str = ""
    facts: Facts = Facts()
    """The images that it was built in, and how much of it was compiled."""
    gates: tuple[Gate, ...] = ()
    """What the quality gates found; empty in manifests that older revisions wrote."""

    @classmethod
    def read(cls, store: Store, release: Release, distro: str) -> PackageManifest | None:
        """The distribution's current manifest; None if nothing was built yet."""
        return store.scratch.read_model(cls, keys.manifest(release, distro))

    @staticmethod
    def etag(store: Store, release: Release, distro: str) -> str | None:
        """The ETag of the current manifest, for ``write``; None if there is none."""
        _, etag = store.scratch.get_with_etag(keys.manifest(release, distro))
        return etag

    def write(self, store: Store, release: Release, *, etag: str | None) -> None:
        """Store this manifest beside its artifacts, then as the distribution's current one.

        Raises Conflict if the current one no longer has this ``etag``, on a store that supports conditional
        writes.
        """
        content = json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True).encode() + b"\n"
        store.scratch.put(keys.attempt_manifest(self.directory), content, "application/json")
        store.scratch.replace(keys.manifest(release, self.distro), content, "application/json", etag=etag)
        entry = self.summarize(datetime.datetime.now(datetime.UTC))
        status_index.record_version(store, self.version, VersionEntry(packages={self.distro: entry}))

    def summarize(self, at: datetime.datetime) -> PackageEntry:
        """The entry of the index; ``at`` is when the manifest was written."""
        return PackageEntry(
            attempt=str(keys.attempt_of(self.directory)),
            version=self.package_version,
            size=sum(artifact.size for artifact in (*self.packages, *self.sources)),
            at=at,
        )

    def is_since(self, earliest: AttemptId | None) -> bool:
        """Whether the attempt that made the packages is ``earliest`` or a later one; None is before all."""
        return earliest is None or keys.attempt_of(self.directory) >= earliest

    @property
    def packages(self) -> tuple[Artifact, ...]:
        """The binary packages that are published: all that the build declares, debug packages included."""
        return tuple(
            artifact
            for artifact in self.artifacts
            if artifact.name.endswith(PACKAGE_SUFFIXES) and artifact.name not in self.left_out
        )

    @property
    def sources(self) -> tuple[Artifact, ...]:
        """The files of the source package; none if an older revision of this project built it."""
        stanzas = [artifact.stanza for artifact in self.artifacts if artifact.name.endswith(".dsc")]
        named = {file.name for stanza in stanzas if stanza for file in Source.parse(stanza).files}
        return tuple(artifact for artifact in self.artifacts if artifact.name in named)

    @property
    def records(self) -> tuple[Artifact, ...]:
        """The .buildinfo files, which are published beside the packages."""
        return tuple(
            artifact
            for artifact in self.artifacts
            if artifact.name.endswith(RECORD_SUFFIX) and artifact.name not in self.left_out
        )

    @property
    def not_published(self) -> dict[str, str]:
        """Why things that the build left are not published, by name, but for its own records.

        A person reads it: whatever is not in the repository is here by name.
        """
        published = {artifact.name for artifact in (*self.packages, *self.sources)}
        others = (artifact.name for artifact in self.artifacts if artifact.name not in published)
        return {
            name: self.left_out.get(name) or _explain(name)
            for name in sorted({*others, *self.left_out})
            if not name.endswith(_RECORDS) or name in self.left_out
        }

    def describe(self, distro: Distro, release: Release, settings: Settings) -> Build:
        """What a publish adds to the distribution's suites, and what the packages may be."""
        return Build(
            distro.repository,
            keys.pool(release),
            {keys.output(self.directory, package.name): package for package in self.packages},
            {keys.output(self.directory, file.name): file for file in self.sources},
            settings.architectures,
            Allowed(distro.claims, tuple(settings.allowed_claims)),
            {keys.output(self.directory, record.name): record for record in self.records},
        )

    def is_built(self, store: Store, release: Release) -> bool:
        """Whether every artifact is in scratch, or every package is published: scratch is pruned."""
        return all(
            _has(store.scratch, keys.output(self.directory, artifact.name), artifact)
            for artifact in self.artifacts
        ) or self.is_published(store, release)

    def is_published(self, store: Store, release: Release) -> bool:
        """Whether there are packages, and every one is in the public pool with the same bytes."""
        repository = self.distro.partition("-")[0]
        return (
            bool(self.packages)
            and repository in keys.REPOSITORIES
            and all(
                _has(
                    store.downloads,
                    keys.in_repository(repository, keys.pool(release) + package.name),
                    package,
                )
                for package in self.packages
            )
        )


def _explain(name: str) -> str:
    """Why a file that is no package of ours is not published."""
    if name.endswith(".udeb"):
        return "it is a package for Debian's installer alone"
    if name.endswith(_SOURCE_SUFFIXES):
        return "no .dsc of the build names it"
    return "apt has no use for such a file"


def _has(bucket: Bucket, key: str, artifact: Artifact) -> bool:
    """Whether the object exists and has the artifact's size and digests."""
    head = bucket.head(key)
    return head is not None and bucket.holds(key, head, artifact)
