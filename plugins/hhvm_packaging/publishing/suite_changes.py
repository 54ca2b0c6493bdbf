"""The change of a suite that a plan to publish, undo or release again asks for."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index, undo
from hhvm_packaging.apt.additions import add_packages
from hhvm_packaging.apt.incoming import Incoming
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.publishing import keyring, nightlies

if TYPE_CHECKING:
    from hhvm_packaging.apt.change import Change
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.state import State
    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.planning.plans import PublishPlan
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store

log = logging.getLogger(__name__)


class NotBuilt(PackagingError):
    """The packages to publish are not in the store."""


class AgedOut(PackagingError):
    """The nightly to publish is too old for the suite."""


class Withdrawn(PackagingError):
    """The packages to publish were withdrawn, and nobody has released them again."""


def read_incoming(plan: PublishPlan, distro: Distro, store: Store, settings: Settings) -> Incoming | None:
    """The packages that the plan's action adds to the distribution's suites, checked; None for an undo.

    Those of all architectures that the plan publishes: they share the suites. Raises NotBuilt,
    pool.Unpublishable, buckets.Changed.
    """
    if plan.action == "undo":
        return None
    return Incoming({
        name: content
        for each in plan.sharing_suites(distro)
        for name, content in _read_built(plan, each, store, settings).content.items()
    })


def _read_built(plan: PublishPlan, distro: Distro, store: Store, settings: Settings) -> Incoming:
    """The packages of one distribution and architecture."""
    manifest = PackageManifest.read(store, plan.release, distro.name)
    if manifest is None:
        raise NotBuilt(f"HHVM {plan.version}, {distro.name}: its manifest is gone; run hhvm_build again")
    if distro.is_first and not manifest.sources:
        log.warning("HHVM %s, %s: was built without a source index entry", plan.version, distro.name)
    where = f"HHVM {plan.version}, {distro.name}"
    build = manifest.describe(distro, plan.release, settings)
    return Incoming.read(where, build, store.scratch, store.downloads, at_once=settings.requests_at_once)


def make_change(
    plan: PublishPlan,
    distro: Distro,
    new: Incoming | None,
    target: Suite,
    current: State,
    store: Store,
    signer: Signer,
    settings: Settings,
) -> Change:
    """The change of the suite that the plan's action asks for. Nothing is written.

    ``new`` is what ``read_incoming`` returned; ``current`` is the suite's state. Raises Withdrawn, AgedOut,
    undo.CannotUndo, index.AlreadyPublished.
    """
    if new is None:
        if plan.undo_to:
            return undo.go_back(target, current, plan.undo_to, signer)
        return undo.withdraw(target, current, plan.version)
    again = plan.action == "release again"
    taken = ", ".join(index.words(current.withdrawn.intersection(new.names.values())))
    if taken and not again:
        raise Withdrawn(
            f"HHVM {plan.version}, {distro.name}: was withdrawn from {target}: {taken}. "
            "To offer it again, trigger hhvm_publish_release with the action `release again`"
        )
    # Whoever uses a suite gets the next keys by this package, from the suite's first day on.
    opens = plan.keyring and not current.release
    ours = keyring.read_for_new_suite(target, distro, store, signer, settings) if opens else None
    if ours:
        new = Incoming({**new.content, **ours.content})
    wanted = replace(
        add_packages(current, new, settings.architectures, str(target), reinstate=again),
        version=plan.version,
        own=frozenset(ours.names.values()) if ours else frozenset(),
    )
    # An aged-out nightly must not come back for a day because an old run was resumed.
    first = nightlies.first_day(datetime.now(UTC), settings)
    if wanted.added & nightlies.find_aged(wanted.identities, first):
        raise AgedOut(
            f"HHVM {plan.version}, {distro.name}: {target} offers nightlies from {first:%Y.%m.%d} on and the "
            f"newest one; nightly_days is {settings.nightly_days}"
        )
    return wanted
