"""What users are offered now: the versions before the one that is built, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.planning import target_suites
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.release import Release

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.distros import Distro
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


def find(release: Release, distro: Distro, store: Store, settings: Settings) -> Iterator[PackageManifest]:
    """The builds of a release's own kind that users of its first suite are offered, newest first.

    What was withdrawn is not among them, nor is what waits for an approval. Raises PackagingError if the
    suite cannot be read.
    """
    suite = target_suites.choose_suites(release, distro, settings)[0]
    state = target_suites.open_suite(store, distro, suite, settings).read()
    offered = {version for package, version, _ in state.identities if package == release.package}
    releases = {Release.find(version.rpartition("-")[0]) for version in offered}
    for found in sorted(filter(None, releases), key=lambda one: one.numbers, reverse=True):
        if found.nightly != release.nightly:
            continue
        manifest = PackageManifest.read(store, found, distro.name)
        if manifest and manifest.package_version in offered:
            yield manifest
