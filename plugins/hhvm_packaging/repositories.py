"""Publishing a plan's packages: each distribution's into its own suite."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hhvm_packaging.apt import repository
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.manifests import PackageManifest

if TYPE_CHECKING:
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.plans import Plan
    from hhvm_packaging.store import Store

log = logging.getLogger(__name__)


class NotBuilt(PackagingError):
    """What is to be published is not in the store."""


def update(plan: Plan, store: Store, signer: Signer) -> list[str]:
    """Add the plan's packages to their suites, one commit for each suite. Returns the distributions.

    Raises NotBuilt, and whatever repository.publish raises; suites before the failing one stay published.
    """
    for distro in plan.distros:
        manifest = PackageManifest.read(store, plan.release, distro.name)
        if manifest is None:
            raise NotBuilt(f"HHVM {plan.version}, {distro.name}: its manifest is gone; run hhvm_build again")
        published = repository.publish(
            store.downloads,
            store.scratch,
            repository=distro.repository,
            suite=distro.distribution,
            pool=store.pool(plan.release),
            packages={manifest.build + package.name: package for package in manifest.packages},
            sources={manifest.build + file.name: file for file in manifest.sources},
            signer=signer,
        )
        log.info(
            "HHVM %s, %s: added %s; there already: %s",
            plan.version,
            distro.name,
            ", ".join(published.added) or "nothing",
            ", ".join(published.already) or "nothing",
        )
    return [distro.name for distro in plan.distros]
