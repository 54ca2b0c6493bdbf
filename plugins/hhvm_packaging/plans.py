"""Plans: a request, checked, and everything that it needs resolved once."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from hhvm_packaging import distros, packaging, sources
from hhvm_packaging.distros import Distro
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.manifests import PackageManifest, SourceManifest
from hhvm_packaging.release import InvalidVersion, Release

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store import Store


class Refused(PackagingError):
    """The request is not one that can be carried out. Nothing was started."""


class Request(BaseModel):
    """What a person or a wrapper asked for."""

    model_config = ConfigDict(frozen=True)

    version: str
    distros: tuple[str, ...]
    today: datetime.date
    """The run's own date, UTC."""

    @property
    def release(self) -> Release:
        """The release that is asked for."""
        return Release.parse(self.version, today=self.today)

    @classmethod
    def check(
        cls,
        params: Mapping[str, Any],
        conf: Mapping[str, Any] | None,
        *,
        known: Iterable[str],
        run_date: datetime.date,
    ) -> Request:
        """The request that a run's ``params`` and ``conf`` make; ``known`` are the distributions there are.

        The form checks the same, but not every way to start a run passes it. Raises Refused, naming
        the field and the allowed form.
        """
        allowed, known = ("version", "distros"), sorted(known)
        if unknown := sorted(set(conf or {}) - set(allowed)):
            raise Refused(f"{', '.join(unknown)}: no such parameter. Allowed: {' and '.join(allowed)}.")
        try:
            release = Release.parse(params["version"], today=run_date)
        except InvalidVersion as error:
            raise Refused(str(error)) from error
        asked = params["distros"]
        if (
            not isinstance(asked, list | tuple)
            or not asked
            or not all(isinstance(name, str) for name in asked)
        ):
            raise Refused(
                f"distros: {asked!r} is not allowed. Allowed: a list of at least one of {', '.join(known)}."
            )
        if missing := [name for name in asked if name not in known]:
            raise Refused(f"distros: {', '.join(missing)}: not in distros/. Allowed: {', '.join(known)}.")
        return cls(version=release.version, distros=tuple(dict.fromkeys(asked)), today=run_date)


class Plan(BaseModel):
    """What one run works on, resolved once, so that its tasks agree."""

    model_config = ConfigDict(frozen=True)

    version: str
    nightly: bool
    commit: str
    packaging: str
    """SHA-256 of the packaging files."""
    packaging_revision: str
    distros: tuple[Distro, ...]
    faults: dict[str, str] = {}
    """The distributions that were asked for and cannot be worked on, with the reason."""

    @property
    def release(self) -> Release:
        """The release."""
        return Release(self.version, self.nightly)

    def distro(self, name: str) -> Distro:
        """The plan's distribution of that name. Raises KeyError for another."""
        return {distro.name: distro for distro in self.distros}[name]


def build(request: Request, store: Store, settings: Settings) -> Plan:
    """Resolve what a run of hhvm_build builds, and keep it in the store. Raises SourceError."""
    release = request.release
    repository = sources.repository(release, settings)
    found, faults = _load(request, settings)
    plan = Plan(
        version=release.version,
        nightly=release.nightly,
        commit=_commit(release, repository, request.today, store),
        packaging=packaging.upload(store, settings.packaging_root),
        packaging_revision=packaging.revision(settings.packaging_root),
        distros=found,
        faults=faults,
    )
    store.scratch.put_json(store.plan(release), plan.model_dump(mode="json"))
    return plan


def publish(request: Request, store: Store, settings: Settings) -> Plan:
    """Resolve what a run of hhvm_publish_release publishes. Raises Refused, naming all that is not built."""
    release = request.release
    source = SourceManifest.read(store, release)
    if source is None or source.signed_by is None:
        raise Refused(
            f"version: HHVM {release.version} has no signed source yet. Run hhvm_build for it first."
        )
    found, faults = _load(request, settings)
    for distro in found:
        manifest = PackageManifest.read(store, release, distro.name)
        if manifest is None or not manifest.is_built(store, release):
            faults[distro.name] = (
                f"{distro.name}: HHVM {release.version} is not built for it. Run hhvm_build first."
            )
    if faults:
        raise Refused("distros: nothing is published. " + " ".join(faults.values()))
    return Plan(
        version=release.version,
        nightly=release.nightly,
        commit=source.commit,
        packaging=packaging.upload(store, settings.packaging_root),
        packaging_revision=packaging.revision(settings.packaging_root),
        distros=found,
    )


def _load(request: Request, settings: Settings) -> tuple[tuple[Distro, ...], dict[str, str]]:
    found, faults = [], {}
    for name in request.distros:
        try:
            found.append(distros.load(settings.packaging_root, name))
        except distros.InvalidDistro as error:
            faults[name] = str(error)
    return tuple(found), faults


def _commit(release: Release, repository: str, today: datetime.date, store: Store) -> str:
    """The version's commit; once its source is public, that source's, whatever the branch says now."""
    manifest = SourceManifest.read(store, release)
    is_public = manifest is not None and store.downloads.head(store.public_tarball(release)) is not None
    if manifest is not None and is_public and release.nightly:
        return manifest.commit
    commit = sources.resolve(release, repository, today)
    if manifest is not None and is_public and commit != manifest.commit:
        raise sources.SourceError(
            f"HHVM {release.version}: {release.tag} in {repository} is {commit}, but {manifest.commit} is "
            "published. What is published is immutable: tag the next version."
        )
    return commit
