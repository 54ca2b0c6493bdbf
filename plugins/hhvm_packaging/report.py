"""The build report: what a run was to build, what it built, and where each failure's log is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging import sources
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.steps import MakeBinaryPackage

if TYPE_CHECKING:
    from hhvm_packaging.plans import Plan
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store import Store


class Incomplete(PackagingError):
    """Not all that was asked for is built. The message names each failure."""


def check(plan: Plan | None, store: Store, settings: Settings) -> str:
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
            failures.append(
                f"FAILED {title}, {distro.name}, make_binary_package. {_where(plan, store, distro.name)}"
            )
    if failures:
        raise Incomplete(
            "\n".join([f"{title}: {len(failures)} of {len(lines) + len(failures)} failed", *failures, *lines])
        )
    return "\n".join([f"{title}: all {len(lines)} are built", *lines])


def _where(plan: Plan, store: Store, distro: str) -> str:
    logs = [
        key
        for key in store.scratch.keys(store.jobs(plan.version))
        if f"-{distro}-" in key and key.endswith("log.txt")
    ]
    if not logs:
        return "It left no log in the store: see the log of its task."
    latest = max(logs, key=lambda key: key.split("/")[-2])
    return f"Its log: s3://{store.scratch.name}/{latest}"
