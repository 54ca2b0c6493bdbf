"""Plans: what a run works on, resolved once, so that all of its tasks agree."""

from __future__ import annotations

import logging
import tempfile
from abc import abstractmethod
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict

from hhvm_packaging import distros
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.distros import Distro
from hhvm_packaging.planning import adopted_source, packaging_files, source_tarball, spelling
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.packaging_files import WORKTREE
from hhvm_packaging.planning.request import PUBLISH, UNDO, Action, Refused
from hhvm_packaging.release import Release
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.store.keys import CANARY, DEPENDENCIES
from hhvm_packaging.workers import packaging_archive

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable

    from hhvm_packaging.planning.request import Request
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


log = logging.getLogger(__name__)


class Plan(BaseModel):
    """What every plan has: the packaging files and the distributions.

    Plans are kept in the store, in XComs and in the database, as JSON. Fields that a class does not have are
    ignored, so that it reads what older revisions wrote.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    packaging: str
    """SHA-256 of the archive of packaging files."""
    packaging_revision: str
    """The commit of the packaging files; for the worktree its commit, with ``-dirty`` if it has edits."""
    packaging_ref: str = WORKTREE
    """The branch, tag or commit that was resolved to ``packaging_revision``."""
    distros: tuple[Distro, ...]
    """The distributions to work on."""
    faults: dict[str, str] = {}
    """Why the other distributions that were asked for are not worked on, by name."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """What the plan's jobs are filed under: a version, ``canary`` or ``dependencies``."""

    @property
    def title(self) -> str:
        """What the plan is about, as reports and errors begin."""
        return f"HHVM {self.subject}"

    @property
    def asked(self) -> tuple[str, ...]:
        """The names of all distributions that were asked for."""
        return (*(distro.name for distro in self.distros), *self.faults)

    def sharing_suites(self, distro: Distro) -> tuple[Distro, ...]:
        """The plan's distributions that are published in the same suites: those for other architectures."""
        return tuple(each for each in self.distros if each.directory == distro.directory)

    def distro(self, name: str) -> Distro:
        """The plan's distribution of that name. Raises KeyError if it has none."""
        return {distro.name: distro for distro in self.distros}[name]


class ReleasePlan(Plan):
    """What the plans of one version have: its commit, and which distributions exist."""

    version: str
    nightly: bool
    commit: str
    known: tuple[str, ...] = ()
    """The names of all distributions in the packaging files; empty in plans that older revisions wrote."""
    current: tuple[str, ...] = ()
    """Those of them that are built if nobody says which; empty in plans that older revisions wrote."""

    @property
    def subject(self) -> str:
        """The version."""
        return self.version

    @property
    def release(self) -> Release:
        """The release."""
        return Release(self.version, self.nightly)


class BuildPlan(ReleasePlan):
    """What a run of hhvm_build builds."""

    not_before: str = ""
    """For a forced build: an attempt id. Unpublished packages of earlier attempts are built again."""
    run: str = ""
    """The id of the run of hhvm_build; empty in plans that older revisions wrote."""
    requested: tuple[str, ...] = ()
    """The names of the distributions in the request, of which ``asked`` are those that it means."""

    @property
    def earliest_attempt(self) -> AttemptId | None:
        """The earliest attempt whose packages count as built; None if all count."""
        return AttemptId.parse(self.not_before) if self.not_before else None

    @classmethod
    def read(cls, store: Store, release: Release, run_id: str = "") -> BuildPlan | None:
        """The plan of that run of hhvm_build. If it has none, the last plan to build the version, or None.

        Raises DamagedObject.
        """
        own = store.scratch.read_model(cls, keys.plan_of_run(release, run_id)) if run_id else None
        return own or store.scratch.read_model(cls, keys.plan(release))

    def own_distros(self, request: Request) -> tuple[str, ...]:
        """What the request's distributions were resolved to; none if this is not the plan of its own build.

        What the form's default means may have changed since then.
        """
        if not self.run or self.run != request.build_run or self.requested != request.distros:
            return ()
        return self.asked

    def find_distros(self, request: Request, settings: Settings) -> tuple[str, ...]:
        """The names of the distributions that the request means."""
        return self.own_distros(request) or expand_distros(request, self.current or self.known, settings)


class PublishPlan(ReleasePlan):
    """What a run of hhvm_publish_release publishes, or takes back."""

    action: Action = PUBLISH
    undo_to: str | None = None
    """For an undo: the snapshot, or the time, to return to; None to remove this version only."""
    dry_run: bool = False
    hold_all: bool = True
    """Whether no distribution is published if one of them fails."""
    kept: dict[str, str] = {}
    """Why other distributions that were asked for are not published, by name. That is no fault: their
    packages are built and kept in scratch."""
    keyring: bool = False
    """Whether a suite that it opens begins with the package of the signing keys, too. A plan of an older
    revision goes on without: candidate and commit must be the same."""


class CanaryPlan(Plan):
    """The distributions whose published suites a run of hhvm_canary checks."""

    @property
    def subject(self) -> str:
        """``canary``, in place of a version."""
        return CANARY


class DependenciesPlan(Plan):
    """The distributions that a run of hhvm_renew_dependencies makes images with build dependencies for."""

    @property
    def subject(self) -> str:
        """``dependencies``, in place of a version."""
        return DEPENDENCIES


def plan_build(request: Request, store: Store, settings: Settings, run_id: str) -> BuildPlan:
    """Resolve what a run of hhvm_build builds, and keep the plan in the store.

    The plan has the release's one spelling. A forced run has the same ``not_before`` each time it is planned:
    ``run_id`` identifies it. Raises SourceError, UnknownRef; Refused if all packages of a forced build are
    published already.
    """
    request = spelling.settle(request, store, settings, ask_tags=True)
    release = request.release
    files = _find_packaging_files(request, store, settings)
    repository = source_tarball.repository(release, settings)
    commit = _find_commit(release, repository, request.today, store, settings)
    adopted_source.adopt(store, release, commit, settings)
    known, current, found, faults, retired = _load_distros(request, files, store, settings)
    found = tuple(distro for distro in found if distro.name not in retired)
    faults |= retired
    not_before = _pin_not_before(release, run_id, store) if request.force else ""
    if not_before:
        published = _find_published_before(AttemptId.parse(not_before), found, release, store)
        faults |= published
        if found and len(published) == len(found):
            raise Refused("force: nothing is left to build. " + " ".join(faults.values()))
    before = BuildPlan.read(store, release, run_id)
    plan = BuildPlan(
        version=release.version,
        nightly=release.nightly,
        commit=commit,
        packaging=files.sha256,
        packaging_revision=files.revision.commit,
        packaging_ref=files.revision.ref,
        known=known,
        current=current,
        distros=tuple(distro for distro in found if distro.name not in faults),
        faults=faults,
        not_before=not_before,
        run=run_id,
        requested=request.distros,
    )
    for line in describe_changes(before, plan) if before else ():
        log.warning("HHVM %s: %s", plan.version, line)
    content = plan.model_dump(mode="json")
    store.scratch.put_json(keys.plan_of_run(release, run_id), content)
    store.scratch.put_json(keys.plan(release), content)
    return plan


def describe_changes(before: BuildPlan, plan: BuildPlan) -> list[str]:
    """What a plan means otherwise than an earlier one of the same version, a line each, for people."""
    lines = []
    if more := sorted(set(plan.asked) - set(before.asked)):
        lines.append(f"{', '.join(more)}: was not part of the last plan")
    if fewer := sorted(set(before.asked) - set(plan.asked)):
        lines.append(f"{', '.join(fewer)}: is not part of it any more")
    former = {distro.name: distro for distro in before.distros}
    lines += [
        f"{distro.name}: its packaging files have changed"
        for distro in plan.distros
        # Not all fields: a plan of an older revision lacks some.
        if former.get(distro.name, distro).files_sha256 != distro.files_sha256
    ]
    for what, old, new in (
        ("the commit", before.commit, plan.commit),
        ("the packaging revision", before.packaging_revision, plan.packaging_revision),
    ):
        if old != new:
            lines.append(f"{what} was {old}, and is {new} now")
    return lines


def plan_publish(request: Request, store: Store, settings: Settings, run_id: str = "") -> PublishPlan:
    """Resolve what a run of hhvm_publish_release publishes, or takes back.

    What a wrapper publishes, it has built in a run of hhvm_build with the same ``run_id``; what that was
    resolved to counts. If there is none, the packaging files are those of the last build, unless the request
    names others. Raises Refused, naming each distribution that is not built, if none is left or the request
    holds all if one fails.
    """
    request = spelling.settle(request, store, settings).model_copy(update={"build_run": run_id})
    release = request.release
    source = SourceManifest.read(store, release)
    # An undo leaves the source as it is, and takes back what another system published, too.
    if request.action != UNDO and (source is None or source.signed_by is None):
        raise Refused(
            f"version: HHVM {release.version} has no signed source yet. Run hhvm_build for it first."
        )
    last = BuildPlan.read(store, release, run_id)
    if last and request.packaging_ref and not (run_id and last.run == run_id):
        last = None
    files = _find_packaging_files(request, store, settings, last)
    known, current, found, faults, _ = _load_distros(request, files, store, settings, last)
    kept = {distro.name: distro.not_published for distro in found if distro.not_published}
    found = tuple(distro for distro in found if distro.name not in kept)
    if kept and not found and not faults:
        raise Refused(
            "distros: nothing is published. " + " ".join(f"{name}: {why}." for name, why in kept.items())
        )
    asked = len(found) + len(faults)
    if request.action != UNDO:
        checks = (partial(_is_built, release, distro, store) for distro in found)
        for distro, is_built in zip(found, run_all(checks, at_once=settings.requests_at_once), strict=True):
            if not is_built:
                faults[distro.name] = (
                    f"{distro.name}: HHVM {release.version} is not built for it. Run hhvm_build first."
                )
    if faults and (request.holds_all or len(faults) == asked):
        raise Refused("distros: nothing is published. " + " ".join(faults.values()))
    return PublishPlan(
        version=release.version,
        nightly=release.nightly,
        commit=source.commit if source else "",
        packaging=files.sha256,
        packaging_revision=files.revision.commit,
        packaging_ref=files.revision.ref,
        known=known,
        current=current,
        distros=tuple(distro for distro in found if distro.name not in faults),
        faults=faults,
        action=request.action,
        undo_to=request.undo_to,
        dry_run=request.dry_run,
        hold_all=request.holds_all,
        kept=kept,
        keyring=True,
    )


def propose_distros(settings: Settings) -> list[str]:
    """The form's default: the current targets of the checkout. All of its distributions if there are none.

    It means the current targets of whichever packaging files are used.
    """
    root = settings.packaging_root
    known = distros.names(root)
    try:
        current = _current_targets(root, settings)
    except distros.InvalidTargets:  # `plan` says so. A form that cannot be made would hide it.
        return known
    return [name for name in current if name in known] or known


def expand_distros(request: Request, current: Iterable[str], settings: Settings) -> tuple[str, ...]:
    """The names of the distributions that a request asks for, each for all architectures of the settings.

    ``current`` are the current targets of the packaging files in use, which the form's default means. They
    are empty if the plan does not have them: then the names are those of the request.
    """
    nobody_said = set(request.distros) == set(propose_distros(settings))
    names = (nobody_said and tuple(current)) or request.distros
    return tuple(distros.name_on(name, each) for name in names for each in settings.architectures)


def _current_targets(packaging: Path, settings: Settings) -> tuple[str, ...]:
    """The distributions of packaging files that are built if nobody says which. Raises InvalidTargets."""
    if not settings.current_targets:
        return distros.current_targets(packaging)
    # A revision may lack one that the checkout has. One that neither has is not left out, so that it is told.
    lacking = set(distros.names(settings.packaging_root)) - set(distros.names(packaging))
    return tuple(
        name
        for name in dict.fromkeys(settings.current_targets)
        if name not in lacking and not distros.retirement(packaging, name)
    )


def _is_built(release: Release, distro: Distro, store: Store) -> bool:
    manifest = PackageManifest.read(store, release, distro.name)
    return manifest is not None and manifest.is_built(store, release)


class _PackagingFiles(NamedTuple):
    """Packaging files in the store, where workers fetch them."""

    sha256: str
    revision: packaging_files.Revision


def _find_packaging_files(
    request: Request, store: Store, settings: Settings, last: BuildPlan | None = None
) -> _PackagingFiles:
    """The packaging files of the ``last`` build; if that is None, those of the request, or the default."""
    root = settings.packaging_root
    if last:
        revision = packaging_files.Revision(last.packaging_ref, last.packaging_revision)
        return _PackagingFiles(packaging_files.upload_again(store, root, last.packaging), revision)
    signers = settings.packaging_signers_file
    revision = packaging_files.resolve(
        root,
        request.packaging_ref,
        *request.release.branches,
        allowed=settings.packaging_refs,
        keyring=root / signers if signers else None,
    )
    return _PackagingFiles(packaging_files.upload(store, root, revision), revision)


class _Distros(NamedTuple):
    """The distributions of some packaging files."""

    known: tuple[str, ...]
    """The names of all of them."""
    current: tuple[str, ...]
    """The names of those that are meant if nobody says which."""
    found: tuple[Distro, ...]
    """Those that the request asks for and that are valid."""
    faults: dict[str, str]
    """By name, what is wrong with the others that it asks for."""
    retired: dict[str, str]
    """By name, why some of those that were found are not built any more."""


def _load_distros(
    request: Request,
    files: _PackagingFiles,
    store: Store,
    settings: Settings,
    last: BuildPlan | None = None,
) -> _Distros:
    """Load the distributions from the same archive that workers get. Raises InvalidTargets.

    If there is a ``last`` build, it says which are meant if nobody says which: that may not be what would be
    built today.
    """
    found, faults, retired = [], {}, {}
    with tempfile.TemporaryDirectory(prefix="hhvm-plan-") as directory:
        root = Path(directory)
        packaging_archive.unpack(store, files.sha256, root)
        known = tuple(distros.names(root))
        current = (last.current if last else ()) or _current_targets(root, settings)
        own = last.own_distros(request) if last else ()
        for name in own or expand_distros(request, current, settings):
            directory, architecture = distros.split_name(name)
            try:
                found.append(distros.load(root, directory).on(architecture))
            except distros.InvalidDistro as error:
                faults[name] = f"{error} (packaging revision {files.revision.commit}, {files.revision.ref})"
            if reason := distros.retirement(root, directory):
                retired[name] = (
                    f"distros/{directory}: it is retired ({reason}). To build it again, remove its file "
                    "RETIRED."
                )
    return _Distros(known, current, tuple(found), faults, retired)


def _pin_not_before(release: Release, run_id: str, store: Store) -> str:
    """When the forced run was first planned, as an attempt id; kept in the store, for when it is resumed."""
    key = keys.forced(release, run_id)
    pinned = store.scratch.get_json(key)
    if pinned is None:
        pinned = {"run": run_id, "not_before": str(AttemptId.new())}
        store.scratch.put_json(key, pinned)
    return str(pinned["not_before"])


def _find_published_before(
    earliest: AttemptId, found: Iterable[Distro], release: Release, store: Store
) -> dict[str, str]:
    """The distributions whose published packages an attempt before ``earliest`` made: by name, a message.

    They cannot be built again: what is published is immutable.
    """
    faults = {}
    for distro in found:
        manifest = PackageManifest.read(store, release, distro.name)
        version = distro.package_version(release)
        if manifest and manifest.package_version == version and manifest.is_since(earliest):
            continue
        if distro.not_published:
            continue
        ending = "" if distro.is_first else f"_{distro.architecture}.deb"
        public = store.downloads.keys(keys.packages(release, distro.repository, version))
        if any(key.endswith(ending) for key in public):
            faults[distro.name] = (
                f"{distro.name}: {release.package} {version} is already published; "
                f"bump distros/{distro.directory}/PKGVER to rebuild."
            )
    return faults


def _find_commit(
    release: Release, repository: str, today: datetime.date, store: Store, settings: Settings
) -> str:
    """The version's commit. Once its source is public, that is the commit of the source.

    Of a source that another system published, that is the commit of the public tag. Raises SourceError if the
    tag of a release whose source is public names another commit.
    """
    manifest = SourceManifest.read(store, release)
    is_public = store.downloads.head(keys.public_tarball(release)) is not None
    if manifest is not None and is_public and release.nightly:
        return manifest.commit
    if manifest is None and is_public and not release.nightly:
        tagged = source_tarball.published_tag(release, settings.public_repository)
        if tagged is not None:
            return tagged
    commit = source_tarball.resolve(release, repository, today)
    if manifest is not None and is_public and commit != manifest.commit:
        raise source_tarball.SourceError(
            f"HHVM {release.version}: {release.tag} in {repository} is {commit}, but {manifest.commit} is "
            "published. What is published is immutable: tag the next version."
        )
    return commit
