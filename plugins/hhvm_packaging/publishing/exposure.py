"""Exposing candidates: users get what apt has accepted."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import target_suites
from hhvm_packaging.publishing import candidates, suite_changes
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    from hhvm_packaging.apt.incoming import Incoming
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.planning.plans import PublishPlan
    from hhvm_packaging.publishing.candidates import Candidate, ExpectedSuite
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store

log = logging.getLogger(__name__)


class Held(PackagingError):
    """Nothing is exposed, because a distribution that the plan asks for has no accepted candidate."""


class Outdated(PackagingError):
    """A suite has changed since its candidate was made."""


def update(plan: PublishPlan | None, store: Store, signer: Signer, settings: Settings) -> list[str]:
    """Expose the plan's accepted candidates, with one commit for each suite. Running it again does no harm.

    Returns the names of the exposed distributions. ``plan`` is None if planning failed. Raises Held if the
    plan holds all distributions and one is not accepted, or if none is; Outdated if a suite has changed since
    its candidate was made; and what Suite.carry_out raises. In the last two cases the other distributions are
    exposed, and so are the earlier suites of the failed one.
    """
    if plan is None:
        raise Held(
            "nothing is exposed, because `plan` failed: its log says why. Fix that and clear the failed tasks"
        )
    found = run_all(
        (partial(candidates.find_accepted, plan, distro, store) for distro in plan.distros),
        at_once=settings.requests_at_once,
    )
    accepted = _hold_together(plan, dict(zip(plan.distros, found, strict=True)))
    refused = [distro.name for distro, candidate in accepted.items() if candidate is None] + [*plan.faults]
    if refused and (plan.hold_all or len(refused) == len(plan.asked)):
        raise Held(
            f"HHVM {plan.version}: nothing is exposed, because {', '.join(refused)} failed; `publish_report` "
            "says why. Fix that and clear the failed tasks"
            + ("; or publish the others with if_one_fails" if len(refused) < len(plan.asked) else "")
        )
    good = {distro: candidate for distro, candidate in accepted.items() if candidate}
    share = settings.shared_by(len(good))
    run_all(
        (
            partial(_expose, plan, distro, candidate, store, signer, share)
            for distro, candidate in good.items()
        ),
        at_once=settings.requests_at_once,
    )
    return [distro.name for distro in good]


def _hold_together(
    plan: PublishPlan, accepted: dict[Distro, Candidate | None]
) -> dict[Distro, Candidate | None]:
    """The accepted candidates. Of those that share their suites, all or none count."""
    return {
        distro: candidate if all(accepted[each] for each in plan.sharing_suites(distro)) else None
        for distro, candidate in accepted.items()
    }


def _expose(
    plan: PublishPlan, distro: Distro, candidate: Candidate, store: Store, signer: Signer, settings: Settings
) -> None:
    new = suite_changes.read_incoming(plan, distro, store, settings)
    for name, expected in candidate.suites.items():
        target = target_suites.open_suite(store, distro, name, settings)
        _expose_suite(plan, distro, new, target, expected, store, signer, settings)
    if candidate.downgrade:
        log.warning(
            "HHVM %s, %s: tell users who installed what was withdrawn to run: %s",
            plan.version,
            distro.name,
            candidate.downgrade,
        )


def _expose_suite(
    plan: PublishPlan,
    distro: Distro,
    new: Incoming | None,
    target: Suite,
    expected: ExpectedSuite,
    store: Store,
    signer: Signer,
    settings: Settings,
) -> None:
    where = f"HHVM {plan.version}, {distro.name}, suite {target.suite}"

    with target.lock():
        current = target.read(signer=signer)
        change = suite_changes.make_change(plan, distro, new, target, current, store, signer, settings)
        if change.digests != expected.digests:
            raise Outdated(f"{where}: it was changed since `candidate`; clear `candidate` and what follows")
        target.carry_out(change, signer)
    log.info(
        "%s: new: %s; gone: %s; before this it was %s",
        where,
        ", ".join(index.words(change.added)) or "nothing",
        ", ".join(index.words(change.removed)) or "nothing",
        change.current.snapshot or "not there",
    )
