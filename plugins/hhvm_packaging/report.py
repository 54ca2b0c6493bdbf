"""Reports: what a run was to do, what there is now, and where each failure's log is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging import repositories, sources
from hhvm_packaging.candidates import Candidate
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.request import PUBLISH
from hhvm_packaging.steps import MakeBinaryPackage, VerifyCandidate

if TYPE_CHECKING:
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.plans import Plan
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store import Store


class Incomplete(PackagingError):
    """Not all that was asked for is done. The message names each failure."""


def built(plan: Plan | None, store: Store, settings: Settings) -> str:
    """What there is now of all that ``plan`` asked for, one line each. Raises Incomplete, with the same.

    The plan is None where planning itself failed.
    """
    if plan is None:
        raise Incomplete("nothing was built, because `plan` failed: its log says why")
    title = f"HHVM {plan.version}"
    if sources.is_signed(store, plan.release, sources.public_keys(store)) is None:
        raise Incomplete(f"{title}: there is no signed source tarball, so nothing was built")
    lines, failures = [], [f"FAILED {fault}" for fault in plan.faults.values()]
    for distro in plan.distros:
        if done := MakeBinaryPackage(plan, store, settings, distro.name).done():
            lines.append(f"built  {distro.name}: {done}")
        else:
            where = _where(plan, store, distro.name, MakeBinaryPackage.script)
            failures.append(f"FAILED {title}, {distro.name}, make_binary_package. {where}")
    return _summary(title, "built", lines, failures)


def published(plan: Plan | None, store: Store, settings: Settings) -> str:
    """What users get now of all that ``plan`` asked for, likewise; of a dry run, what they would get."""
    if plan is None:
        raise Incomplete("nothing was published, because `plan` failed: its log says why")
    title = f"HHVM {plan.version}" + (f", {plan.action}" if plan.action != PUBLISH else "")
    lines, failures = [], [f"FAILED {fault}" for fault in plan.faults.values()]
    for distro in plan.distros:
        candidate = Candidate.read(store, plan.release, distro.name)
        if candidate is None:
            failures.append(f"FAILED {title}, {distro.name}, candidate: there is none; see that task's log")
        elif candidate.fault:
            failures.append(f"FAILED {title}, {distro.name}, candidate: {candidate.fault}")
        elif not candidate.is_accepted(store):
            where = _where(plan, store, distro.name, VerifyCandidate.script)
            failures.append(f"FAILED {title}, {distro.name}, verify_candidate. {where}")
        elif plan.dry_run:
            lines.append(f"would change {distro.name}:\n{candidate.difference}")
        elif hidden := _not_exposed(candidate, distro, store, settings):
            failures.append(f"held   {title}, {distro.name}: users do not get it from {', '.join(hidden)}")
        else:
            lines.append(f"public {title}, {distro.name}: {', '.join(candidate.suites)}")
            if candidate.downgrade:
                lines.append(f"       who installed what was withdrawn goes back with: {candidate.downgrade}")
    return _summary(title, "there; this was a dry run" if plan.dry_run else "public", lines, failures)


def _not_exposed(candidate: Candidate, distro: Distro, store: Store, settings: Settings) -> list[str]:
    """The suites that are not what the candidate was to make of them."""
    return [
        name
        for name, suite in candidate.suites.items()
        if not suite.digests.items() <= repositories.suite(store, distro, name, settings).digests().items()
    ]


def _summary(title: str, state: str, lines: list[str], failures: list[str]) -> str:
    """All that is to be said. Raises Incomplete if anything failed."""
    if failures:
        raise Incomplete("\n".join([f"{title}: {len(failures)} failed", *failures, *lines]))
    return "\n".join([f"{title}: all is {state}", *lines])


def _where(plan: Plan, store: Store, distro: str, script: str) -> str:
    logs = [
        key
        for key in store.scratch.keys(store.jobs(plan.version))
        if f"-{script}-{distro}-" in key and key.endswith("log.txt")
    ]
    if not logs:
        return "It left no log in the store: see the log of its task."
    latest = max(logs, key=lambda key: key.split("/")[-2])
    return f"Its log: s3://{store.scratch.name}/{latest}"
