"""Plans: everything that a request needs, resolved once."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict

from hhvm_packaging import distros
from hhvm_packaging.attempt_id import new_build
from hhvm_packaging.distros import Distro
from hhvm_packaging.planning import packaging_files, source_tarball
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.packaging_files import WORKTREE
from hhvm_packaging.planning.request import PUBLISH, UNDO, Action, Refused
from hhvm_packaging.release import Release
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable

    from hhvm_packaging.planning.request import Request
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


class Plan(BaseModel):
    """What one run works on, resolved once, so that its tasks agree."""

    model_config = ConfigDict(frozen=True)

    version: str
    nightly: bool
    commit: str
    packaging: str
    """SHA-256 of the packaging files."""
    packaging_revision: str
    """The commit of their distros/ and bin/; of the worktree, with ``-dirty`` if there are edits."""
    packaging_ref: str = WORKTREE
    """What that commit was found by."""
    known: tuple[str, ...] = ()
    """All distributions that they have, by name; none in a plan that does not say."""
    distros: tuple[Distro, ...]
    faults: dict[str, str] = {}
    """The distributions that were asked for and cannot be worked on, with the reason."""
    not_before: str = ""
    """Packages of an unpublished build before this one do not count as built: the build is forced."""
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

    @classmethod
    def read(cls, store: Store, release: Release) -> Plan | None:
        """The last plan to build the version, or None where there was none yet."""
        content = store.scratch.get(keys.plan(release))
        return None if content is None else cls.model_validate_json(content)

    def distro(self, name: str) -> Distro:
        """The plan's distribution of that name. Raises KeyError for another."""
        return {distro.name: distro for distro in self.distros}[name]


def plan_build(request: Request, store: Store, settings: Settings, run: str) -> Plan:
    """Resolve what the run of hhvm_build with the id ``run`` builds, and keep it in the store.

    Raises SourceError, UnknownRef, and Refused if a forced build is left with nothing but published packages.
    """
    release = request.release
    files = _resolve(request, store, settings)
    repository = source_tarball.repository(release, settings)
    commit = _commit(release, repository, request.today, store)
    known, found, faults = _load(request, files, store, settings)
    not_before = _not_before(release, run, store) if request.force else ""
    if not_before:
        published = _published_before(not_before, found, release, store)
        faults |= published
        if found and len(published) == len(found):
            raise Refused("force: nothing is left to build. " + " ".join(faults.values()))
    plan = Plan(
        version=release.version,
        nightly=release.nightly,
        commit=commit,
        packaging=files.sha256,
        packaging_revision=files.revision.commit,
        packaging_ref=files.revision.ref,
        known=known,
        distros=tuple(distro for distro in found if distro.name not in faults),
        faults=faults,
        not_before=not_before,
    )
    store.scratch.put_json(keys.plan(release), plan.model_dump(mode="json"))
    return plan


def plan_publish(request: Request, store: Store, settings: Settings) -> Plan:
    """Resolve what a run of hhvm_publish_release publishes or takes back.

    Its packaging files are those of the last build, unless others are asked for. Raises Refused, naming all
    that is not built, if that leaves nothing or the others are not to go on.
    """
    release = request.release
    source = SourceManifest.read(store, release)
    if source is None or source.signed_by is None:
        raise Refused(
            f"version: HHVM {release.version} has no signed source yet. Run hhvm_build for it first."
        )
    files = _resolve(request, store, settings, last=Plan.read(store, release))
    known, found, faults = _load(request, files, store, settings)
    asked = len(found) + len(faults)
    if request.action != UNDO:
        looks = (partial(_is_built, release, distro, store) for distro in found)
        for distro, is_built in zip(found, run_all(looks, at_once=settings.requests_at_once), strict=True):
            if not is_built:
                faults[distro.name] = (
                    f"{distro.name}: HHVM {release.version} is not built for it. Run hhvm_build first."
                )
    if faults and (request.holds_all or len(faults) == asked):
        raise Refused("distros: nothing is published. " + " ".join(faults.values()))
    return Plan(
        version=release.version,
        nightly=release.nightly,
        commit=source.commit,
        packaging=files.sha256,
        packaging_revision=files.revision.commit,
        packaging_ref=files.revision.ref,
        known=known,
        distros=tuple(distro for distro in found if distro.name not in faults),
        faults=faults,
        action=request.action,
        undo_to=request.undo_to,
        dry_run=request.dry_run,
        hold_all=request.holds_all,
    )


def _is_built(release: Release, distro: Distro, store: Store) -> bool:
    manifest = PackageManifest.read(store, release, distro.name)
    return manifest is not None and manifest.is_built(store, release)


class _Files(NamedTuple):
    """Packaging files that workers can fetch."""

    sha256: str
    revision: packaging_files.Revision


def _resolve(request: Request, store: Store, settings: Settings, last: Plan | None = None) -> _Files:
    """The packaging files that are asked for, else those of the plan ``last``, else what is usual."""
    root = settings.packaging_root
    if last and not request.packaging_ref:
        revision = packaging_files.Revision(last.packaging_ref, last.packaging_revision)
        return _Files(packaging_files.upload_again(store, root, last.packaging), revision)
    revision = packaging_files.resolve(root, request.packaging_ref, request.release.branch)
    return _Files(packaging_files.upload(store, root, revision), revision)


def expand_distros(request: Request, known: Iterable[str], settings: Settings) -> tuple[str, ...]:
    """The distributions that a request means, of packaging files that have ``known``, as a plan says it.

    All that the checkout has, the form's default, stand for all that those files have.
    """
    everything = set(request.distros) >= set(distros.names(settings.packaging_root))
    return (everything and tuple(known)) or request.distros


class _Loaded(NamedTuple):
    """What packaging files have."""

    known: tuple[str, ...]
    distros: tuple[Distro, ...]
    """Those that are asked for and without fault."""
    faults: dict[str, str]


def _load(request: Request, files: _Files, store: Store, settings: Settings) -> _Loaded:
    """The distributions that are asked for, from the very files that workers get."""
    found, faults = [], {}
    with tempfile.TemporaryDirectory(prefix="hhvm-plan-") as directory:
        root = Path(directory)
        packaging_files.unpack(store, files.sha256, root)
        known = tuple(distros.names(root))
        for name in expand_distros(request, known, settings):
            try:
                found.append(distros.load(root, name))
            except distros.InvalidDistro as error:
                faults[name] = f"{error} (packaging revision {files.revision.commit}, {files.revision.ref})"
    return _Loaded(known, tuple(found), faults)


def _not_before(release: Release, run: str, store: Store) -> str:
    """When the run began to build again; the same whenever, and however, it is resumed."""
    key = keys.forced(release, run)
    pinned = store.scratch.get_json(key)
    if pinned is None:
        pinned = {"run": run, "not_before": new_build()}
        store.scratch.put_json(key, pinned)
    return str(pinned["not_before"])


def _published_before(build: str, found: Iterable[Distro], release: Release, store: Store) -> dict[str, str]:
    """Why those distributions are not built again whose packages are in the pool from an earlier build."""
    faults = {}
    for distro in found:
        manifest = PackageManifest.read(store, release, distro.name)
        version = distro.package_version(release)
        if manifest and manifest.package_version == version and manifest.is_since(build):
            continue
        if any(store.downloads.keys(keys.packages(release, distro.repository, version))):
            faults[distro.name] = (
                f"{distro.name}: {release.package} {version} is already published; "
                f"bump distros/{distro.name}/PKGVER to rebuild."
            )
    return faults


def _commit(release: Release, repository: str, today: datetime.date, store: Store) -> str:
    """The version's commit; once its source is public, that source's, whatever the branch says now."""
    manifest = SourceManifest.read(store, release)
    is_public = manifest is not None and store.downloads.head(keys.public_tarball(release)) is not None
    if manifest is not None and is_public and release.nightly:
        return manifest.commit
    commit = source_tarball.resolve(release, repository, today)
    if manifest is not None and is_public and commit != manifest.commit:
        raise source_tarball.SourceError(
            f"HHVM {release.version}: {release.tag} in {repository} is {commit}, but {manifest.commit} is "
            "published. What is published is immutable: tag the next version."
        )
    return commit
