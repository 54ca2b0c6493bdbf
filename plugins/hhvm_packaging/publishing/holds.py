"""Embargoes: what of a release is ready, who approved it, and why it is not published yet."""

from __future__ import annotations

import datetime
from functools import partial
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from hhvm_packaging.building.steps import MakeBinaryPackage
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.plans import BuildPlan, expand_distros
from hhvm_packaging.planning.request import HOLD_ALL
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hhvm_packaging.planning.request import Request
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


class Held(PackagingError):
    """A release is not published. The message says which, why, and what to do."""


class Package(BaseModel):
    """What is built of one version for one distribution."""

    model_config = ConfigDict(frozen=True)

    version: str
    """The Debian version."""
    build: str
    """The directory in scratch that holds it; another build has another one."""


class Ready(BaseModel):
    """What is built of one version, of all that was asked for."""

    model_config = ConfigDict(frozen=True)

    version: str
    source: str = ""
    """SHA-256 of the source tarball; empty where there is no signed one."""
    packages: dict[str, Package] = {}
    """By distribution."""
    missing: tuple[str, ...] = ()
    """The distributions that were asked for and are not built."""

    @classmethod
    def of(cls, request: Request, store: Store, settings: Settings) -> Ready:
        """What the store holds, judged as the version's last plan has it."""
        release = request.release
        source = SourceManifest.read(store, release)
        if source is None or source.signed_by is None:
            return cls(version=release.version, missing=request.distros)
        plan = BuildPlan.read(store, release)
        distros = expand_distros(request, plan.known, settings) if plan else request.distros
        looks = (partial(_built, request, distro, plan, store, settings) for distro in distros)
        found = zip(distros, run_all(looks, at_once=settings.requests_at_once), strict=True)
        packages = {distro: package for distro, package in found if package}
        missing = tuple(distro for distro in distros if distro not in packages)
        return cls(version=release.version, source=source.tarball.sha256, packages=packages, missing=missing)

    def fault(self, request: Request) -> str | None:
        """Why the version may not be published by the run's own terms, or None."""
        if self.missing and (request.holds_all or not self.packages):
            terms = "; the others are held, as if_one_fails has it" if self.packages else ""
            return f"HHVM {self.version} is not built for {', '.join(self.missing)}{terms}"
        return None

    def __str__(self) -> str:
        """What a person is to approve."""
        built = [f"{distro} {package.version}" for distro, package in self.packages.items()]
        missing = [f"not {distro}" for distro in self.missing]
        return f"HHVM {self.version}: {', '.join(built + missing)}"


class Approval(BaseModel):
    """That a person approved to publish one version, in one run."""

    model_config = ConfigDict(frozen=True)

    version: str
    run: str
    """The DAG and the run."""
    by: str
    """Who, by the name that they log in with."""
    at: datetime.datetime
    source: str
    packages: dict[str, Package]
    """What was approved: exactly these builds."""

    def covers(self, ready: Ready) -> bool:
        """Whether all of what is ready is what was approved."""
        return self.source == ready.source and ready.packages.items() <= self.packages.items()


def find_ready(requests: Sequence[Request], store: Store, settings: Settings) -> list[Ready]:
    """What is built of each version."""
    return [Ready.of(request, store, settings) for request in requests]


def find_faults(requests: Sequence[Request], found: Sequence[Ready]) -> dict[str, str]:
    """By version, why those that may not be published may not, by the run's own terms."""
    own = {
        request.version: fault
        for request, ready in zip(requests, found, strict=True)
        if (fault := ready.fault(request))
    }
    if not own or requests[0].if_a_version_fails != HOLD_ALL:
        return own
    others = f"is held, as if_a_version_fails has it: {'. '.join(own.values())}"
    return {request.version: f"HHVM {request.version} {others}" for request in requests} | own


def select_publishable(requests: Sequence[Request], found: Sequence[Ready]) -> list[Ready]:
    """Those that may go on. Raises Held if none may."""
    held = find_faults(requests, found)
    if len(held) == len(found):
        raise Held(_advice(". ".join(held.values())))
    return [one for one in found if one.version not in held]


def record_approval(
    found: Sequence[Ready], dag_id: str, run_id: str, by: str, at: datetime.datetime, store: Store
) -> None:
    """Keep who approved what."""
    for one in found:
        approval = Approval(
            version=one.version,
            run=f"{dag_id}, {run_id}",
            by=by,
            at=at,
            source=one.source,
            packages=one.packages,
        )
        store.scratch.put_json(keys.approval(one.version, dag_id, run_id), approval.model_dump(mode="json"))


def withdraw_approvals(requests: Sequence[Request], dag_id: str, run_id: str, store: Store) -> None:
    """Forget what was approved in the run, which is to be approved anew."""
    for request in requests:
        store.scratch.delete(keys.approval(request.version, dag_id, run_id))


def ensure_publishable(
    request: Request,
    requests: Sequence[Request],
    dag_id: str,
    run_id: str,
    *,
    now: datetime.datetime,
    store: Store,
    settings: Settings,
) -> None:
    """Return if the run may publish the version now. Raises Held.

    The store says so, not the tasks before: one that somebody marked successful approves nothing.
    ``requests`` are all that the run was asked for.
    """
    asked = requests if request.if_a_version_fails == HOLD_ALL else [request]
    found = find_ready(asked, store, settings)
    if fault := find_faults(asked, found).get(request.version):
        raise Held(_advice(fault))
    if request.hold_until and now < request.hold_until:
        raise Held(f"HHVM {request.version} is held until {request.hold_until:%Y-%m-%d %H:%M:%S} UTC")
    if not request.require_approval:
        return
    approval = store.scratch.get_json(keys.approval(request.version, dag_id, run_id))
    if approval is None:
        raise Held(f"HHVM {request.version} is not approved. To ask for it again, clear the failed tasks")
    approved = Approval.model_validate(approval)
    [now_there] = [one for one in found if one.version == request.version]
    if not approved.covers(now_there):
        raise Held(
            f"HHVM {request.version} is not what {approved.by} approved: it was built since then. Clear "
            "`ready` and what follows, and have that approved"
        )


def _advice(fault: str) -> str:
    return f"{fault}. `build` leads to what failed; once that is mended, clear the failed tasks"


def _built(
    request: Request, distro: str, plan: BuildPlan | None, store: Store, settings: Settings
) -> Package | None:
    """What is built for the distribution."""
    manifest = PackageManifest.read(store, request.release, distro)
    if manifest is None or not _is_wanted(request, manifest, plan, store, settings):
        return None
    return Package(version=manifest.package_version, build=manifest.build)


def _is_wanted(
    request: Request, manifest: PackageManifest, plan: BuildPlan | None, store: Store, settings: Settings
) -> bool:
    """Whether the packages are those that the plan wants; if it does not say, whether they are there."""
    if plan is None or manifest.distro not in plan.asked:
        return manifest.is_built(store, request.release)
    if manifest.distro in plan.faults:
        return False
    return MakeBinaryPackage(plan, store, settings, plan.distro(manifest.distro)).done() is not None
