"""Reports: what a run was to do, what there is now, and of each failure all that a person needs to go on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from hhvm_packaging.building.steps import MakeBinaryPackage, MakeSourceTarball
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import target_suites
from hhvm_packaging.planning.manifests import SourceManifest
from hhvm_packaging.planning.request import PUBLISH
from hhvm_packaging.publishing.candidates import Candidate
from hhvm_packaging.publishing.steps import LookAsUser, PublishReleaseSource, VerifyCandidate, VerifyPublished
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.workers import attempts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hhvm_packaging.distros import Distro
    from hhvm_packaging.planning.plans import Plan
    from hhvm_packaging.runs.run import Run
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


class Incomplete(PackagingError):
    """Not all that was asked for is done. The message names each failure."""


def report_build(plan: Plan | None, store: Store, settings: Settings, run: Run) -> str:
    """What there is now of all that ``plan`` asked for. Raises Incomplete, with the same, if it is not all.

    The plan is None where planning itself failed.
    """
    if plan is None:
        raise Incomplete(_without_plan("nothing was built", run))
    report = _Report(plan, store, run, f"HHVM {plan.version}")
    report.faults()
    names = [distro.name for distro in plan.distros]
    if not MakeSourceTarball(plan, store, settings).done():
        report.no_source()
        report.lines += [f"waits  {name}: it is built from the signed source tarball" for name in names]
        return report.summary("all is built")
    looks = (MakeBinaryPackage(plan, store, settings, name).done for name in names)
    found = zip(names, run_all(looks, at_once=settings.requests_at_once), strict=True)
    for index, (name, done) in enumerate(found):
        if done:
            report.lines.append(f"built  {name}: {done}")
        else:
            report.job_failed("make_binary_package", MakeBinaryPackage.script, name, index)
    return report.summary("all is built")


def report_publish(plan: Plan | None, store: Store, settings: Settings, run: Run) -> str:
    """What users get now of all that ``plan`` asked for, likewise; of a dry run, what they would get."""
    if plan is None:
        raise Incomplete(_without_plan("nothing was published", run))
    title = f"HHVM {plan.version}" + (f", {plan.action}" if plan.action != PUBLISH else "")
    report = _Report(plan, store, run, title)
    report.faults()
    looks = (partial(_Look.at, plan, distro, store, settings) for distro in plan.distros)
    found = dict(zip(plan.distros, run_all(looks, at_once=settings.requests_at_once), strict=True))
    offered = [distro.name for distro, look in found.items() if look.candidate and not look.candidate.fault]
    for distro, (candidate, accepted, hidden) in found.items():
        if candidate is None:
            report.failed("candidate", "there is none", distro.name)
        elif candidate.fault:
            report.failed("candidate", candidate.fault, distro.name)
        elif not accepted:
            index = offered.index(distro.name)
            report.job_failed("verify_candidate", VerifyCandidate.script, distro.name, index)
        elif plan.dry_run:
            report.lines.append(f"would change {distro.name}:\n{candidate.difference}")
        elif hidden:
            report.held(f"{distro.name}: users do not get it from {', '.join(hidden)}")
        else:
            report.lines.append(f"public {title}, {distro.name}: {', '.join(candidate.suites)}")
            if candidate.downgrade:
                report.lines.append(
                    f"       who installed what was withdrawn goes back with: {candidate.downgrade}"
                )
    report.tasks_failed("update_repositories", "invalidate_cdn", "update_indices")
    if run.state("publish_release_source") == "failed":
        report.job_failed("publish_release_source", PublishReleaseSource.script)
    exposed = (distro.name for distro, look in found.items() if look.accepted)
    report.looks_failed("verify_published", VerifyPublished.script, exposed)
    return report.summary("this was a dry run" if plan.dry_run else "all is public")


def report_canary(plan: Plan | None, findings: Sequence[str] | None, store: Store, run: Run) -> str:
    """What a look at all that is published found. Raises Incomplete, with all of it, if anything is wrong.

    ``findings`` are those of canary.check, None where it failed; the plan is canary.plan_canary's, likewise.
    """
    if plan is None:
        raise Incomplete(_without_plan("nothing was looked at", run))
    report = _Report(plan, store, run, "What is published")
    report.faults()
    report.failures += [f"WRONG  {finding}" for finding in findings or ()]
    if findings is None:
        report.tasks_failed("check")
    distros = [distro.name for distro in plan.distros]
    report.looks_failed("look_as_user", LookAsUser.script, distros)
    report.lines.append(f"looked at as its users do: {', '.join(distros) or 'no distribution'}")
    return report.summary("all is well")


class _Look(NamedTuple):
    """What there is of one distribution."""

    candidate: Candidate | None
    accepted: bool
    hidden: list[str]
    """The suites that are not what the candidate was to make of them."""

    @classmethod
    def at(cls, plan: Plan, distro: Distro, store: Store, settings: Settings) -> _Look:
        """All that the store has of it."""
        candidate = Candidate.read(store, plan.release, distro.name)
        if candidate is None or not candidate.is_accepted(store):
            return cls(candidate, accepted=False, hidden=[])
        return cls(candidate, accepted=True, hidden=_not_exposed(candidate, distro, store, settings))


class _Report:
    """What a report on one run says, as it is put together."""

    def __init__(self, plan: Plan, store: Store, run: Run, title: str) -> None:
        self.plan, self.store, self.run, self.title = plan, store, run, title
        self.lines: list[str] = []
        """What is well."""
        self.failures: list[str] = []

    def faults(self) -> None:
        """Of the distributions that the plan could not take up."""
        for name, fault in self.plan.faults.items():
            self.failed("plan", fault, name)

    def no_source(self) -> None:
        """Of the step without which there is no signed source tarball."""
        manifest = SourceManifest.read(self.store, self.plan.release)
        made = manifest is not None and manifest.commit == self.plan.commit
        if made and self.run.state("make_source_tarball") != "failed":
            self.failed(
                "sign_source_tarball", self.run.failure_reason("sign_source_tarball") or "it is not signed"
            )
        else:
            self.job_failed("make_source_tarball", MakeSourceTarball.script)

    def tasks_failed(self, *tasks: str) -> None:
        """Of those of the tasks that failed and have no job."""
        for task in tasks:
            if self.run.state(task) == "failed":
                self.failed(task, self.run.failure_reason(task) or "its log says why")

    def looks_failed(self, task: str, script: str, distros: Iterable[str]) -> None:
        """Of those of the distributions, over which ``task`` is mapped, where it failed."""
        for index, distro in enumerate(distros):
            if self.run.state(task, index) == "failed":
                self.job_failed(task, script, distro, index)

    def held(self, words: str) -> None:
        """Of what was good and is not public."""
        self.failures.append(f"held   {self.title}, {words}")

    def failed(
        self, task: str, reason: str, distro: str = "", index: int = -1, log: Sequence[str] = ()
    ) -> None:
        """Version, distribution and step, the reason, where to look, and the end of the log."""
        what = ", ".join(filter(None, (f"HHVM {self.plan.version}", distro, task)))
        page = f"  page: {self.run.page(task, index)}"
        self.failures.append("\n".join([f"FAILED {what}: {reason}", page, *log]))

    def job_failed(self, task: str, script: str, distro: str | None = None, index: int = -1) -> None:
        """Likewise, with the class of failure and the log of the last try that this run made of the job."""
        name = self.run.job(task, self.plan.version, script, distro)
        last = next(reversed(attempts.of_job(self.store, self.plan.version, name)), None)
        known, log = (last.failed(self.store), last.log(self.store)) if last else (None, None)
        lines = []
        if last and log:
            text = self.store.scratch.get(f"{last.directory}log.txt") or b""
            ending = text.decode(errors="replace").splitlines()[-attempts.LAST_LINES :]
            lines = [f"  log: {log}", "  its last lines:", *(f"  | {line}" for line in ending)]
        reason = f"{known.failure}: {known.reason}" if known else self._without_job(task, index)
        self.failed(task, reason, distro or "", index, lines)

    def _without_job(self, task: str, index: int) -> str:
        """Why there is no failure of a job to tell of: it never ran, or what it left was not good."""
        said = self.run.failure_reason(task, index)
        # Such words may be those of a job's failure, which has its log's lines below them.
        return said.splitlines()[0] if said else f"it is {self.run.state(task, index) or 'not run'}"

    def summary(self, well: str) -> str:
        """All that is to be said. Raises Incomplete if anything failed."""
        if self.failures:
            wrong = f"{self.title}: {len(self.failures)} failed"
            raise Incomplete("\n".join([wrong, *self.failures, *self.lines]))
        return "\n".join([f"{self.title}: {well}", *self.lines])


def _without_plan(what: str, run: Run) -> str:
    why = run.failure_reason("plan") or "its log says why"
    return f"{what}, because `plan` failed: {why}\n  page: {run.page('plan')}"


def _not_exposed(candidate: Candidate, distro: Distro, store: Store, settings: Settings) -> list[str]:
    return [
        name
        for name, suite in candidate.suites.items()
        if not suite.digests.items()
        <= target_suites.open_suite(store, distro, name, settings).digests().items()
    ]
