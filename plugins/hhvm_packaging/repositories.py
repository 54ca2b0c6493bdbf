"""Publishing a plan's packages: each distribution's into its own suites."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hhvm_packaging.apt import repository
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.manifests import PackageManifest
from hhvm_packaging.settings import settings as current_settings

if TYPE_CHECKING:
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.plans import Plan
    from hhvm_packaging.release import Release
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store import Store

log = logging.getLogger(__name__)


class NotBuilt(PackagingError):
    """What is to be published is not in the store."""


class Withdrawn(PackagingError):
    """What is to be published was taken back, and nobody has released it again."""


def suites(release: Release, distro: Distro, settings: Settings) -> tuple[str, ...]:
    """The suites of the distribution's repository that the release goes to, as the settings say."""
    series = release.version.rpartition(".")[0]
    kind = "nightly" if release.nightly else series if series in settings.suites else "release"
    return tuple(
        template.replace("DISTRO", distro.distribution).replace("x.y", series)
        for template in settings.suites[kind]
    )


def update(plan: Plan, store: Store, signer: Signer, settings: Settings | None = None) -> list[str]:
    """Add the plan's packages to their suites, one commit for each suite. Returns the distributions.

    A distribution whose packages were withdrawn from a suite stays without them there, and is not
    returned. Raises NotBuilt; Withdrawn if that leaves none; and whatever repository.publish raises.
    Suites before the failing one stay published.
    """
    settings = settings or current_settings()
    updated = []
    for distro in plan.distros:
        manifest = PackageManifest.read(store, plan.release, distro.name)
        if manifest is None:
            raise NotBuilt(f"HHVM {plan.version}, {distro.name}: its manifest is gone; run hhvm_build again")
        if not manifest.sources:
            log.warning("HHVM %s, %s: was built without a source index entry", plan.version, distro.name)
        done = [
            _publish(plan, distro, manifest, suite, store, signer, settings)
            for suite in suites(plan.release, distro, settings)
        ]
        if not any(published.withdrawn for published in done):
            updated.append(distro.name)
    if not updated:
        raise Withdrawn(
            f"HHVM {plan.version} was withdrawn from all distributions of this run. Nothing brings it back "
            "but to release it again."
        )
    return updated


def _publish(
    plan: Plan,
    distro: Distro,
    manifest: PackageManifest,
    suite: str,
    store: Store,
    signer: Signer,
    settings: Settings,
) -> repository.Published:
    published = repository.publish(
        store.downloads,
        store.scratch,
        repository=distro.repository,
        suite=suite,
        pool=store.pool(plan.release),
        packages={manifest.build + package.name: package for package in manifest.packages},
        sources={manifest.build + file.name: file for file in manifest.sources},
        architectures=settings.architectures,
        locks=settings.lock_directory,
        at_once=settings.requests_at_once,
        signer=signer,
    )
    log.info(
        "HHVM %s, %s, suite %s: added %s; there already: %s",
        plan.version,
        distro.name,
        suite,
        ", ".join(published.added) or "nothing",
        ", ".join(published.already) or "nothing",
    )
    if published.withdrawn:
        log.warning(
            "HHVM %s, %s, suite %s: left out, because it was withdrawn: %s",
            plan.version,
            distro.name,
            suite,
            ", ".join(published.withdrawn),
        )
    return published
