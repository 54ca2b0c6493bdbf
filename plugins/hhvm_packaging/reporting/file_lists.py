"""File lists: what the packages of a build install, read from the beginnings of the packages themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.apt import control_member
from hhvm_packaging.release import Release
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hhvm_packaging.planning.manifests import PackageManifest
    from hhvm_packaging.store.buckets import Store
    from hhvm_packaging.workers.job import Artifact

_BUILD_IDS = "usr/lib/debug/.build-id/"
"""Its files have other names in each build."""


@dataclass(frozen=True)
class FileChange:
    """What has become of the files of one package. In paths, VERSION stands for the package's own."""

    total: int
    """Files that it installs now."""
    new: tuple[str, ...]
    gone: tuple[str, ...]
    changed: int
    """Files whose content is another."""


def compare(after: Mapping[str, str], before: Mapping[str, str]) -> FileChange:
    """What ``after`` changes. Both are the digest of each file by its path."""
    return FileChange(
        len(after),
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(before.keys() - after.keys())),
        sum(after[path] != before[path] for path in after.keys() & before.keys()),
    )


def read(store: Store, manifest: PackageManifest, package: Artifact) -> dict[str, str] | None:
    """The digest of each file that a package of the manifest installs, by its path; for people.

    None if the package is neither in scratch nor public any more, or lists no files. One request for nearly
    every package.
    """
    repository, release = manifest.distro.partition("-")[0], Release.find(manifest.version)
    places = [(store.scratch, keys.output(manifest.directory, package.name))]
    if release and repository in keys.REPOSITORIES:
        public = keys.in_repository(repository, keys.pool(release) + package.name)
        places.append((store.downloads, public))
    for bucket, key in places:
        try:
            files = control_member.read_files(lambda size: bucket.get_from(key, 0, size), package.size)  # ruff: ignore[function-uses-loop-variable]
        except control_member.InvalidDeb:
            continue
        if files is not None:
            # HHVM installs itself below its own version.
            neutral = ((path.replace(manifest.version, "VERSION"), md5) for path, md5 in files.items())
            return {f"/{path}": md5 for path, md5 in neutral if _BUILD_IDS not in path}
    return None
