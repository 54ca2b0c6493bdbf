"""Plans: everything that a request needs, resolved once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from hhvm_packaging import distros, packaging, sources
from hhvm_packaging.distros import Distro
from hhvm_packaging.manifests import PackageManifest, SourceManifest
from hhvm_packaging.release import Release
from hhvm_packaging.request import AS_USUAL, PUBLISH, UNDO, Action, Refused

if TYPE_CHECKING:
    import datetime

    from hhvm_packaging.request import Request
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store import Store


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
    action: Action = PUBLISH
    undo_to: str | None = None
    dry_run: bool = False
    hold_all: bool = True
    """Whether one distribution that fails keeps back the others."""

    @property
    def release(self) -> Release:
        """The release."""
        return Release(self.version, self.nightly)

    @property
    def asked(self) -> tuple[str, ...]:
        """All distributions that were asked for, by name."""
        return (*(distro.name for distro in self.distros), *self.faults)

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
    """Resolve what a run of hhvm_publish_release publishes or takes back.

    Raises Refused, naming all that is not built, if that leaves nothing or the others are not to go on.
    """
    release = request.release
    source = SourceManifest.read(store, release)
    if source is None or source.signed_by is None:
        raise Refused(
            f"version: HHVM {release.version} has no signed source yet. Run hhvm_build for it first."
        )
    found, faults = _load(request, settings)
    if request.action != UNDO:
        for distro in found:
            manifest = PackageManifest.read(store, release, distro.name)
            if manifest is None or not manifest.is_built(store, release):
                faults[distro.name] = (
                    f"{distro.name}: HHVM {release.version} is not built for it. Run hhvm_build first."
                )
    hold_all = request.if_one_fails == "hold all" or (
        request.if_one_fails == AS_USUAL and not release.nightly
    )
    if faults and (hold_all or len(faults) == len(request.distros)):
        raise Refused("distros: nothing is published. " + " ".join(faults.values()))
    return Plan(
        version=release.version,
        nightly=release.nightly,
        commit=source.commit,
        packaging=packaging.upload(store, settings.packaging_root),
        packaging_revision=packaging.revision(settings.packaging_root),
        distros=tuple(distro for distro in found if distro.name not in faults),
        faults=faults,
        action=request.action,
        undo_to=request.undo_to,
        dry_run=request.dry_run,
        hold_all=hold_all,
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
