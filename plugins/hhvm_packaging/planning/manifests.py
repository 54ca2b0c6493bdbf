"""Manifests: what was made from what. They decide what is done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from hhvm_packaging.apt.sources_index import Source
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Artifact

if TYPE_CHECKING:
    from hhvm_packaging.release import Release
    from hhvm_packaging.store.buckets import Bucket, Store


class SourceManifest(BaseModel):
    """The source tarball of one version."""

    model_config = ConfigDict(frozen=True)

    version: str
    commit: str
    tarball: Artifact
    signed_by: str | None = None
    """Fingerprint of the key; None until the tarball is signed."""

    @classmethod
    def read(cls, store: Store, release: Release) -> SourceManifest | None:
        """The version's source manifest, or None where no tarball was made yet."""
        content = store.scratch.get(keys.source(release))
        return None if content is None else cls.model_validate_json(content)

    def write(self, store: Store, release: Release) -> None:
        """Make this the version's source manifest."""
        store.scratch.put_json(keys.source(release), self.model_dump(mode="json"))


class PackageManifest(BaseModel):
    """The packages of one version for one distribution."""

    model_config = ConfigDict(frozen=True)

    version: str
    distro: str
    package_version: str
    """The Debian version, such as 1.0.0-1~bookworm."""
    inputs: str
    """Digest of all that the build depended on."""
    source_sha256: str
    docker_base: str
    build: str
    """The key of the directory in scratch, with a trailing slash, that holds the artifacts."""
    artifacts: tuple[Artifact, ...]

    @classmethod
    def read(cls, store: Store, release: Release, distro: str) -> PackageManifest | None:
        """The distribution's current manifest, or None where nothing was built yet."""
        content = store.scratch.get(keys.manifest(release, distro))
        return None if content is None else cls.model_validate_json(content)

    @staticmethod
    def etag(store: Store, release: Release, distro: str) -> str | None:
        """What ``write`` is told of the current manifest; None where there is none."""
        _, etag = store.scratch.get_with_etag(keys.manifest(release, distro))
        return etag

    def write(self, store: Store, release: Release, *, etag: str | None) -> None:
        """Keep this manifest beside its artifacts, then make it the distribution's current one.

        Raises Conflict if that is not the one with ``etag`` any more, on a store that heeds conditions.
        """
        content = json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True).encode() + b"\n"
        store.scratch.put(f"{self.build}manifest.json", content, "application/json")
        store.scratch.replace(keys.manifest(release, self.distro), content, "application/json", etag=etag)

    def is_since(self, build: str) -> bool:
        """Whether the build that made this began no earlier than ``build``; see ``jobs.new_build``."""
        return self.build.split("/")[-2] >= build

    @property
    def packages(self) -> tuple[Artifact, ...]:
        """The .deb files."""
        return tuple(artifact for artifact in self.artifacts if artifact.name.endswith(".deb"))

    @property
    def sources(self) -> tuple[Artifact, ...]:
        """The source package's files; none in a manifest from before builds described them."""
        stanzas = [artifact.stanza for artifact in self.artifacts if artifact.name.endswith(".dsc")]
        named = {file.name for stanza in stanzas if stanza for file in Source.parse(stanza).files}
        return tuple(artifact for artifact in self.artifacts if artifact.name in named)

    def is_built(self, store: Store, release: Release) -> bool:
        """Whether every artifact is in scratch or, once that was pruned, every package is published."""
        return all(
            _holds(store.scratch, self.build + artifact.name, artifact) for artifact in self.artifacts
        ) or (self.is_published(store, release))

    def is_published(self, store: Store, release: Release) -> bool:
        """Whether every package lies in the public pool."""
        repository = self.distro.partition("-")[0]
        return all(
            _holds(
                store.downloads, keys.in_repository(repository, keys.pool(release) + package.name), package
            )
            for package in self.packages
        )


def _holds(bucket: Bucket, key: str, artifact: Artifact) -> bool:
    head = bucket.head(key)
    return head is not None and head.holds(size=artifact.size, sha256=artifact.sha256, md5=artifact.md5)
