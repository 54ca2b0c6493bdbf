"""Reports: what a run did of all that it was asked for, and what a person needs to fix each failure."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from hhvm_packaging.building.steps import MakeBinaryPackage, MakeSourceTarball
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import nightly_days, status_index, target_suites
from hhvm_packaging.planning.hold_records import DamagedRecord, Holds
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.request import PUBLISH
from hhvm_packaging.planning.status_index import FailureEntry, VersionEntry
from hhvm_packaging.planning.task_ids import BuildTask, CanaryTask, PublishTask
from hhvm_packaging.publishing import nightlies
from hhvm_packaging.publishing.candidates import Candidate
from hhvm_packaging.publishing.steps import LookAsUser, PublishReleaseSource, VerifyCandidate, VerifyPublished
from hhvm_packaging.reporting import metrics
from hhvm_packaging.reporting.canary_turn import Turn
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.workers import attempts
from hhvm_packaging.workers.job import describe_gates

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from hhvm_packaging.distros import Distro
    from hhvm_packaging.planning.plans import BuildPlan, CanaryPlan, Plan, PublishPlan
    from hhvm_packaging.planning.step import DistroStep, Step
    from hhvm_packaging.runs.run import Run
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


_MARKED = ("success", "skipped")
"""States in which a task is over without a failure. A person may have marked it: then nothing is done."""


class Incomplete(PackagingError):
    """The run did not do all that it was asked for. The message is the report, which names each failure."""


def report_build(plan: BuildPlan | None, store: Store, settings: Settings, run: Run) -> str:
    """Report what is built of all that the plan asks for. Raises Incomplete if anything is missing.

    The plan is None if the task ``plan`` failed.
    """
    if plan is None:
        raise Incomplete(_describe_failed_plan("nothing was built", run))
    report = _Report(plan, store, run, plan.title)
    report.add_faults()
    if not MakeSourceTarball(plan, store, settings).done():
        _add_missing_source(report, plan)
        report.lines += [
            f"waits  {distro.name}: it is built from the signed source tarball" for distro in plan.distros
        ]
        report.record()
        return report.finish("all is built")
    checks = (MakeBinaryPackage(plan, store, settings, distro).done for distro in plan.distros)
    found = zip(plan.distros, run_all(checks, at_once=settings.requests_at_once), strict=True)
    for index, (distro, done) in enumerate(found):
        if done:
            report.lines.append(f"built  {distro.name}: {done}")
            if distro.not_published:
                report.lines.append(f"       It is kept in scratch and not published: {distro.not_published}")
            _add_left_out(report, plan, distro)
        else:
            report.add_failed_step(MakeBinaryPackage, distro, index)
    report.lines += _describe_holds(plan, store, settings)
    report.record()
    return report.finish("all is built")


def report_publish(plan: PublishPlan | None, store: Store, settings: Settings, run: Run) -> str:
    """Report what users get of all that the plan asks for; for a dry run, what would change.

    Records the time of a publish in which nothing is missing, for the metrics. Raises Incomplete if anything
    is. The plan is None if the task ``plan`` failed.
    """
    if plan is None:
        raise Incomplete(_describe_failed_plan("nothing was published", run))
    title = plan.title + (f", {plan.action}" if plan.action != PUBLISH else "")
    report = _Report(plan, store, run, title)
    report.add_faults()
    checks = (partial(_Published.check, plan, distro, store, settings) for distro in plan.distros)
    found = dict(zip(plan.distros, run_all(checks, at_once=settings.requests_at_once), strict=True))
    report.lines += [f"kept   {name}: not published: {why}" for name, why in plan.kept.items()]
    _add_published(report, plan, found)
    report.add_failed_tasks(
        PublishTask.UPDATE_REPOSITORIES, PublishTask.INVALIDATE_CDN, PublishTask.UPDATE_INDICES
    )
    _add_missing_public_source(report, plan, settings)
    # `verify_published` is mapped over the distributions that were exposed.
    report.add_failed_distro_steps(VerifyPublished, [distro for distro in found if found[distro].accepted])
    if plan.release.nightly and plan.action == PUBLISH:
        report.lines += _name_gap(plan, store, settings)
    report.lines += _describe_holds(plan, store, settings)
    if not plan.dry_run:
        report.record()
    text = report.finish("this was a dry run" if plan.dry_run else "all is public")
    if not plan.dry_run and plan.action != "undo":
        metrics.record_publish(plan.release, store, settings)
    return text


def _describe_holds(plan: BuildPlan | PublishPlan, store: Store, settings: Settings) -> list[str]:
    """What holds the version, who approved it: lines for people. They are no reason to fail a report."""
    try:
        return Holds.read(store, plan.version, settings).describe()
    except DamagedRecord as error:
        return [f"held   {error}"]


def _name_gap(plan: PublishPlan, store: Store, settings: Settings) -> list[str]:
    """The days before this nightly that have none although the schedule has them, as after an outage."""
    there: set[date] = set()
    for repository in {distro.repository for distro in plan.distros}:
        there |= nightlies.list_days(repository, store)
    gap = nightly_days.find_gap(there, plan.release.date, settings)
    if not gap:
        return []
    return [
        f"note   there is no nightly of {nightly_days.spell(gap)}, although nightly_schedule has it. "
        "To build one after all, trigger hhvm_build_and_publish with that version"
    ]


def report_canary(plan: CanaryPlan | None, findings: Sequence[str] | None, store: Store, run: Run) -> str:
    """Report what the canary found. Raises Incomplete if anything is wrong.

    Records the verdict, for the metrics, unless the task ``check`` failed.

    The plan is None if the task ``plan`` failed. ``findings`` are what the task ``check`` returned; None if
    it failed.
    """
    if plan is None:
        raise Incomplete(_describe_failed_plan("nothing was checked", run))
    report = _Report(plan, store, run, "What is published")
    report.add_faults()
    report.failures += [f"WRONG  {finding}" for finding in findings or ()]
    if findings is None:
        state = run.state(CanaryTask.CHECK)
        why = "its log says why" if state == "failed" else f"it is {state or 'not run'}: nothing was checked"
        report.add_failure(CanaryTask.CHECK, run.failure_reason(CanaryTask.CHECK) or why)
    report.add_failed_distro_steps(LookAsUser, plan.distros)
    if findings is not None:
        metrics.record_verdict(len(report.failures), store)
    names = ", ".join(distro.name for distro in plan.distros)
    report.lines.append(f"checked with the apt of: {names or 'no distribution'}")
    if findings is not None and (turn := Turn.read(store)).files:
        report.lines.append(turn.describe())
    return report.finish("all is well")


class _Published(NamedTuple):
    """How far one distribution's packages have come on their way to users."""

    candidate: Candidate | None
    accepted: bool
    outdated: list[str]
    """The published suites that are not yet what the candidate makes of them."""

    @classmethod
    def check(cls, plan: PublishPlan, distro: Distro, store: Store, settings: Settings) -> _Published:
        """Read it from the store."""
        candidate = Candidate.read(store, plan.release, distro.name)
        if candidate is None or not candidate.is_accepted(store):
            return cls(candidate, accepted=False, outdated=[])
        outdated = [
            name
            for name, suite in candidate.suites.items()
            if not suite.digests.items()
            <= target_suites.open_suite(store, distro, name, settings).digests().items()
        ]
        return cls(candidate, accepted=True, outdated=outdated)


class _Report:
    """A report while it is put together."""

    def __init__(self, plan: Plan, store: Store, run: Run, title: str) -> None:
        self.plan, self.store, self.run, self.title = plan, store, run, title
        self.lines: list[str] = []
        """What is done."""
        self.failures: list[str] = []
        self.entries: dict[str, FailureEntry] = {}
        """What the index has of the failures, by distribution; of those of none, by an empty name."""

    def add_faults(self) -> None:
        """Add the distributions that the plan leaves out."""
        for name, fault in self.plan.faults.items():
            self.add_failure(BuildTask.PLAN, fault, name)

    def add_failed_tasks(self, *task_ids: str) -> None:
        """Add those of the tasks that failed. For tasks that run no job."""
        for task_id in task_ids:
            if self.run.state(task_id) == "failed":
                self.add_failure(task_id, self.run.failure_reason(task_id) or "its log says why")

    def add_failed_distro_steps(self, step: type[DistroStep[Any]], distros: Iterable[Distro]) -> None:
        """Add the distributions, of those that the step's task is mapped over, for which it failed."""
        for index, distro in enumerate(distros):
            if self.run.state(step.task_id, index) == "failed":
                self.add_failed_step(step, distro, index)

    def add_failed_step(self, step: type[Step[Any]], distro: Distro | None = None, index: int = -1) -> None:
        """Add a step that failed, with the failure and the log of the last attempt of this run's job.

        ``index`` is the map index of its task, -1 if it is not mapped.
        """
        distro_name = distro.name if distro else None
        job = self.run.job_name(step.task_id, self.plan.subject, step.script, distro_name)
        last = next(reversed(attempts.of_job(self.store, self.plan.subject, job)), None)
        known, log = (last.failed(self.store), last.log(self.store)) if last else (None, None)
        lines = []
        if last and log:
            text = self.store.scratch.get(last.log_key or "") or b""
            ending = text.decode(errors="replace").splitlines()[-attempts.LAST_LINES :]
            lines = [f"  log: {log}", "  its last lines:", *(f"  | {line}" for line in ending)]
        reason = f"{known.failure}: {known.reason}" if known else self._explain_state(step.task_id, index)
        self.add_failure(step.task_id, reason, distro_name or "", index, lines)
        if last and last.log_key and (entry := self.entries.get(distro_name or "")):
            self.entries[distro_name or ""] = entry.model_copy(update={"log": last.log_key})

    def _explain_state(self, task_id: str, index: int) -> str:
        """Why a task failed whose job has no recorded failure: its reason, else its state."""
        reason = self.run.failure_reason(task_id, index)
        # If it is a job's failure, the lines after the first are the end of the log.
        return reason.splitlines()[0] if reason else f"it is {self.run.state(task_id, index) or 'not run'}"

    def add_failure(
        self, task_id: str, reason: str, distro: str = "", index: int = -1, log: Sequence[str] = ()
    ) -> None:
        """Add a failure: version, distribution, task, reason, the task's page, and lines about its log."""
        what = ", ".join(filter(None, (self.plan.title, distro, task_id)))
        page = f"  page: {self.run.page(task_id, index)}"
        self.failures.append("\n".join([f"FAILED {what}: {reason}", page, *log]))
        self.entries[distro] = FailureEntry(
            step=task_id,
            reason=reason,
            dag_id=self.run.dag_id,
            run_id=self.run.run_id,
            map_index=index,
            at=datetime.now(UTC),
        )

    def record(self) -> None:
        """Record the failures in the index."""
        if self.entries:
            status_index.record_version(self.store, self.plan.subject, VersionEntry(failures=self.entries))

    def finish(self, well: str) -> str:
        """The report, which begins with ``well``. Raises Incomplete if anything failed."""
        lines = [*self.failures, *self.lines]
        if self.run.deployed:
            lines.append(f"deployed revision: {self.run.deployed}")
        if self.failures:
            raise Incomplete("\n".join([f"{self.title}: {len(self.failures)} failed", *lines]))
        return "\n".join([f"{self.title}: {well}", *lines])


def _add_left_out(report: _Report, plan: BuildPlan | PublishPlan, distro: Distro) -> None:
    """Add what the distribution's build left and no publish takes, by name."""
    manifest = PackageManifest.read(report.store, plan.release, distro.name)
    if manifest and (facts := manifest.facts.describe(manifest.docker_base)):
        report.lines.append(f"       built {facts}")
    report.lines += [f"       {line}" for line in describe_gates(manifest.gates if manifest else ())]
    for name, reason in (manifest.not_published if manifest else {}).items():
        report.lines.append(f"       left out: {name}, because {distro.not_published or reason}")


def _add_missing_source(report: _Report, plan: BuildPlan) -> None:
    """Add the failed task without which there is no signed source tarball."""
    manifest, run = SourceManifest.read(report.store, plan.release), report.run
    made = manifest is not None and manifest.commit == plan.commit
    if made and run.state(MakeSourceTarball.task_id) != "failed":
        sign = BuildTask.SIGN_SOURCE_TARBALL
        report.add_failure(sign, run.failure_reason(sign) or "it is not signed")
    else:
        report.add_failed_step(MakeSourceTarball)


def _add_missing_public_source(report: _Report, plan: PublishPlan, settings: Settings) -> None:
    """Add the task that publishes the source if it failed, or if it is over and the source is not public."""
    step = PublishReleaseSource(plan, report.store, settings)
    state = report.run.state(step.task_id)
    if state == "failed":
        report.add_failed_step(PublishReleaseSource)
    elif state in _MARKED and not plan.dry_run and not step.done():
        report.add_failure(step.task_id, f"it is {state}, but the source is not public. Clear it")


def _add_published(report: _Report, plan: PublishPlan, found: dict[Distro, _Published]) -> None:
    """Add a line or a failure for each distribution."""
    # `verify_candidate` is mapped over the distributions that have a candidate.
    mapped = [distro for distro, (candidate, *_) in found.items() if candidate and not candidate.fault]
    for distro, (candidate, accepted, outdated) in found.items():
        if candidate is None:
            report.add_failure(PublishTask.CANDIDATE, "there is none", distro.name)
        elif candidate.fault:
            report.add_failure(PublishTask.CANDIDATE, candidate.fault, distro.name)
        elif not accepted:
            report.add_failed_step(VerifyCandidate, distro, mapped.index(distro))
        elif plan.dry_run:
            report.lines.append(f"would change {distro.name}:\n{candidate.difference}")
        elif outdated:
            suites = ", ".join(outdated)
            report.failures.append(f"held   {report.title}, {distro.name}: users do not get it from {suites}")
        else:
            report.lines.append(f"public {report.title}, {distro.name}: {', '.join(candidate.suites)}")
            _add_left_out(report, plan, distro)
            if candidate.downgrade:
                report.lines.append(
                    f"       who installed what was withdrawn goes back with: {candidate.downgrade}"
                )


def _describe_failed_plan(consequence: str, run: Run) -> str:
    state = run.state(BuildTask.PLAN)
    if state in _MARKED:
        why = f"`plan` is {state}, but it has not run. Clear it and what follows"
    else:
        why = f"`plan` failed: {run.failure_reason(BuildTask.PLAN) or 'its log says why'}"
    return f"{consequence}, because {why}\n  page: {run.page(BuildTask.PLAN)}"
