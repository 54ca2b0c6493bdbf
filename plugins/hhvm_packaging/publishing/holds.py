"""Holds: which builds of a release are ready, who approved them, and why the release is not published yet."""

from __future__ import annotations

import datetime
from functools import partial
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from hhvm_packaging.building.steps import MakeBinaryPackage
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.plans import BuildPlan, expand_distros
from hhvm_packaging.planning.request import HOLD_ALL
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hhvm_packaging.planning.request import Request
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


class Held(PackagingError):
    """A release may not be published now. The message says which, why, and what to do."""


class Package(BaseModel):
    """What is built of one version for one distribution. Part of the JSON of Ready and of Approval."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    version: str
    """The Debian version, such as 1.0.0-1~bookworm."""
    directory: str = Field(validation_alias="build", serialization_alias="build")
    """The directory in scratch that holds the packages. Each build has its own."""


class Ready(BaseModel):
    """What is built of one version, of everything that was asked for."""

    model_config = ConfigDict(frozen=True)

    version: str
    source: str = ""
    """SHA-256 of the signed source tarball; empty if there is none."""
    packages: dict[str, Package] = {}
    """By the name of the distribution."""
    missing: tuple[str, ...] = ()
    """The names of the distributions that were asked for and are not built."""

    @classmethod
    def find(cls, request: Request, store: Store, settings: Settings) -> Ready:
        """Find in the store what is built, by the version's last build plan."""
        release = request.release
        source = SourceManifest.read(store, release)
        if source is None or source.signed_by is None:
            return cls(version=release.version, missing=request.distros)
        plan = BuildPlan.read(store, release)
        distros = expand_distros(request, plan.current or plan.known, settings) if plan else request.distros
        checks = (partial(_find_package, request, distro, plan, store, settings) for distro in distros)
        found = zip(distros, run_all(checks, at_once=settings.requests_at_once), strict=True)
        packages = {distro: package for distro, package in found if package}
        missing = tuple(distro for distro in distros if distro not in packages)
        return cls(version=release.version, source=source.tarball.sha256, packages=packages, missing=missing)

    def fault(self, request: Request) -> str | None:
        """Why ``if_one_fails`` does not allow to publish the version; None if it does."""
        if self.missing and (request.holds_all or not self.packages):
            others = "; the others are held, as if_one_fails says" if self.packages else ""
            return f"HHVM {self.version} is not built for {', '.join(self.missing)}{others}"
        return None

    def __str__(self) -> str:
        """A line for the person who approves."""
        built = [f"{distro} {package.version}" for distro, package in self.packages.items()]
        missing = [f"not {distro}" for distro in self.missing]
        return f"HHVM {self.version}: {', '.join(built + missing)}"


class Approval(BaseModel):
    """A person's approval to publish one version, given in one run. It is kept in the store."""

    model_config = ConfigDict(frozen=True)

    version: str
    run: str
    """The DAG id and the run id."""
    by: str
    """The person's login name."""
    at: datetime.datetime
    source: str
    packages: dict[str, Package]
    """The builds that were approved, by the name of the distribution."""

    def covers(self, ready: Ready) -> bool:
        """Whether everything that is ready was approved: the same source and the same builds."""
        return self.source == ready.source and ready.packages.items() <= self.packages.items()


def find_ready(requests: Sequence[Request], store: Store, settings: Settings) -> list[Ready]:
    """Find what is built of each version, in the order of the requests."""
    return [Ready.find(request, store, settings) for request in requests]


def find_faults(requests: Sequence[Request], found: Sequence[Ready]) -> dict[str, str]:
    """Why ``if_one_fails`` and ``if_a_version_fails`` hold versions, by version. Others may be published.

    ``found`` is what ``find_ready`` returned for the same requests.
    """
    own = {
        request.version: fault
        for request, ready in zip(requests, found, strict=True)
        if (fault := ready.fault(request))
    }
    if not own or requests[0].if_a_version_fails != HOLD_ALL:
        return own
    reason = f"is held, as if_a_version_fails says: {'. '.join(own.values())}"
    return {request.version: f"HHVM {request.version} {reason}" for request in requests} | own


def select_publishable(requests: Sequence[Request], found: Sequence[Ready]) -> list[Ready]:
    """Those of ``found`` that may be published. Raises Held if none may."""
    held = find_faults(requests, found)
    if len(held) == len(found):
        raise Held(_advice(". ".join(held.values())))
    return [version for version in found if version.version not in held]


def record_approval(
    found: Sequence[Ready], dag_id: str, run_id: str, by: str, at: datetime.datetime, store: Store
) -> None:
    """Record in the store who approved these builds, and in which run."""
    for ready in found:
        approval = Approval(
            version=ready.version,
            run=f"{dag_id}, {run_id}",
            by=by,
            at=at,
            source=ready.source,
            packages=ready.packages,
        )
        store.scratch.put_json(keys.approval(ready.version, dag_id, run_id), approval.model_dump(mode="json"))


def withdraw_approvals(requests: Sequence[Request], dag_id: str, run_id: str, store: Store) -> None:
    """Delete the approvals that were given in the run."""
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
    """Return if the run may publish the version of ``request`` now. Raises Held if it may not.

    ``requests`` are those of all versions of the run. Only the store counts, not the states of tasks: a
    person can mark a task successful.
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
    [ready] = [version for version in found if version.version == request.version]
    if not approved.covers(ready):
        raise Held(
            f"HHVM {request.version} is not what {approved.by} approved: it was built again since then. "
            f"Clear `{WrapperTask.READY}` and what follows, and have that approved"
        )


def _advice(fault: str) -> str:
    return f"{fault}. `{WrapperTask.BUILD}` leads to what failed; once that is fixed, clear the failed tasks"


def _find_package(
    request: Request, distro: str, plan: BuildPlan | None, store: Store, settings: Settings
) -> Package | None:
    """The distribution's package; None if it is not built."""
    manifest = PackageManifest.read(store, request.release, distro)
    if manifest is None or not _is_wanted(request, manifest, plan, store, settings):
        return None
    return Package(version=manifest.package_version, directory=manifest.directory)


def _is_wanted(
    request: Request, manifest: PackageManifest, plan: BuildPlan | None, store: Store, settings: Settings
) -> bool:
    """Whether the packages are what the plan builds.

    If the plan does not name the distribution, whether they exist.
    """
    if plan is None or manifest.distro not in plan.asked:
        return manifest.is_built(store, request.release)
    if manifest.distro in plan.faults:
        return False
    return MakeBinaryPackage(plan, store, settings, plan.distro(manifest.distro)).done() is not None
