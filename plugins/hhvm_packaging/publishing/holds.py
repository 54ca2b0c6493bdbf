"""Holds: which builds of a release are ready, whether people approved them, and why it is not public yet."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from hhvm_packaging.building.steps import MakeBinaryPackage
from hhvm_packaging.planning.hold_records import (
    Answer,
    Asked,
    Builds,
    Held,
    Hold,
    Holds,
    Package,
    Question,
    ensure_released,
)
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.planning.request import HOLD_ALL
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.release import Release
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Sequence

    from hhvm_packaging.planning.hold_records import Asker, Person
    from hhvm_packaging.planning.request import Request
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


class Ready(Builds):
    """What is built of one version, of everything that was asked for."""

    missing: tuple[str, ...] = ()
    """The names of the distributions that were asked for and are not built."""

    @classmethod
    def find(cls, request: Request, store: Store, settings: Settings) -> Ready:
        """Find in the store what is built, by the version's last build plan."""
        release = request.release
        source = SourceManifest.read(store, release)
        if source is None or source.signed_by is None:
            return cls(version=release.version, missing=request.distros)
        plan = BuildPlan.read(store, release, request.build_run)
        distros = plan.find_distros(request, settings) if plan else request.distros
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


def ask_for_holds(requests: Iterable[Request], asker: Asker, store: Store) -> None:
    """Hold each version in the store as its request asks for. It is held from then on, whatever asks for it.

    Running it again does no harm.
    """
    for request in requests:
        if request.hold_until or request.require_approval:
            Hold(
                version=request.version,
                asker=asker,
                until=request.hold_until,
                needs_approval=request.require_approval,
            ).write(store)


def read_holds(requests: Iterable[Request], store: Store, settings: Settings) -> dict[str, Holds]:
    """The holds of all versions that are asked for. Raises DamagedRecord."""
    return {request.version: Holds.read(store, request.version, settings) for request in requests}


def ask(
    requests: Sequence[Request], found: Iterable[Ready], asker: Asker, store: Store, settings: Settings
) -> list[Question]:
    """What people are asked in this run, in its order: earlier questions, and a last one if it is needed.

    The last one names the builds, of those that were ``found``, that need an approval and have none. If it
    asked for exactly these before, there is no other one: a question has a place of its own in the run, and
    an answer is for the question of that place.
    """
    holds = read_holds(requests, store, settings)
    asked = tuple(
        Asked(**dict(ready), holds=tuple(holds[ready.version].needing_approval))
        for ready in found
        if holds[ready.version].unapproved(ready.digests)
    )
    questions = Question.read_all(store, asker.dag_id, asker.run_id)
    last = questions[-1] if questions else None
    if asked and (last is None or last.asked != asked or last.approvals < settings.approvals):
        question = Question(asker=asker, number=len(questions) + 1, asked=asked, approvals=settings.approvals)
        if not question.write(store):
            raise Held(f"{asker}: something else was asked in this run at the same time; clear this task")
        questions.append(question)
    return questions


class Outcome(NamedTuple):
    """Why there is no need to ask a question."""

    approved: bool
    reason: str


def find_outcome(question: Question, place: int, store: Store, settings: Settings) -> Outcome | None:
    """Why there is no need to ask this question; None if it must be asked.

    ``place`` counts from 1: of a question that needs several approvals, each is asked for by itself.
    """
    people: list[set[str]] = []
    for asked in question.asked:
        if find_files(store, asked) != {distro: built.files for distro, built in asked.packages.items()}:
            reason = f"HHVM {asked.version} was built again after this was asked: it is not asked any more"
            return Outcome(approved=False, reason=reason)
        holds = Holds.read(store, asked.version, settings)
        people += [
            set(holds.approvers(hold, digest).values())
            for hold in asked.holds
            if hold in holds.needing_approval
            for digest in asked.digests.values()
        ]
    if not people:
        return Outcome(approved=False, reason="nothing that was asked for holds it any more")
    if len(who := set.intersection(*people)) < place:
        return None
    return Outcome(approved=True, reason=f"{' and '.join(sorted(who))} approved it already")


def find_files(store: Store, asked: Asked) -> dict[str, dict[str, str]]:
    """The files that are built now for the distributions that were asked about, as Package has them.

    Nothing if the source is another one.
    """
    release = Release.find(asked.version)
    source = SourceManifest.read(store, release) if release else None
    if release is None or source is None or source.tarball.sha256 != asked.source:
        return {}
    manifests = (PackageManifest.read(store, release, distro) for distro in asked.packages)
    return {manifest.distro: _package(manifest).files for manifest in manifests if manifest}


def record_answer(
    question: Question, by: Person, at: datetime.datetime, store: Store, settings: Settings, *, approved: bool
) -> None:
    """Record in the store what a person answered. Raises Held if that person may not approve it."""
    answers = [
        Answer(
            version=asked.version,
            dag_id=question.asker.dag_id,
            run_id=question.asker.run_id,
            number=question.number,
            asker=question.asker.by,
            by=by,
            at=at,
            approved=approved,
            asked=asked,
        )
        for asked in question.asked
    ]
    for answer in answers:
        if fault := _find_objection(answer, Holds.read(store, answer.version, settings)):
            raise Held(f"{fault}. Clear this task, and let somebody else answer")
    for answer in answers:
        answer.write(store)


def _find_objection(answer: Answer, holds: Holds) -> str | None:
    """Why this answer is none; None if it is one."""
    if not answer.approved:
        return None
    if objection := holds.objection(answer.by, answer.asker):
        return objection
    needed, asked = holds.settings.approvals, answer.asked
    people = [holds.approvers(hold, digest) for hold in asked.holds for digest in asked.digests.values()]
    if needed > 1 and all(answer.by.id in known for known in people):
        return f"{answer.by.name} approved it already, and the setting approvals wants {needed} people"
    return None


def ensure_publishable(
    request: Request,
    requests: Sequence[Request],
    *,
    now: datetime.datetime,
    store: Store,
    settings: Settings,
) -> None:
    """Return if the version of ``request`` may be published now. Raises Held if it may not; DamagedRecord.

    ``requests`` are those of all versions of the run. Only the store counts, not the states of tasks: a
    person can mark a task successful.
    """
    asked = requests if request.if_a_version_fails == HOLD_ALL else [request]
    found = find_ready(asked, store, settings)
    if fault := find_faults(asked, found).get(request.version):
        raise Held(_advice(fault))
    [ready] = [version for version in found if version.version == request.version]
    ensure_released(request.version, ready.digests, store, settings, now)


def _advice(fault: str) -> str:
    return f"{fault}. `{WrapperTask.BUILD}` leads to what failed; once that is fixed, clear the failed tasks"


def _find_package(
    request: Request, distro: str, plan: BuildPlan | None, store: Store, settings: Settings
) -> Package | None:
    """The distribution's package; None if it is not built."""
    manifest = PackageManifest.read(store, request.release, distro)
    if manifest is None or not _is_wanted(request, manifest, plan, store, settings):
        return None
    return _package(manifest)


def _package(manifest: PackageManifest) -> Package:
    files = {artifact.name: artifact.sha256 for artifact in (*manifest.packages, *manifest.sources)}
    return Package(version=manifest.package_version, directory=manifest.directory, files=files)


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
