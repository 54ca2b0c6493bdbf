"""One task, one job: started once, attached to, finished and removed, whatever dies in between."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.sdk.execution_time.comms import TaskStatesResult
from airflow.triggers.base import TaskSuccessEvent
from typing_extensions import override

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration import connections
from hhvm_packaging.orchestration.job_operator import RETRIES, JobOperator
from hhvm_packaging.orchestration.job_trigger import JobTrigger, Limits
from hhvm_packaging.orchestration.steps import STEPS
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.planning.step import Step
from hhvm_packaging.settings import settings
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers.docker import JOB_LABEL, DockerWorker
from hhvm_packaging.workers.job import Job, Result, TryAgain
from testing.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.triggers.base import TriggerEvent
    from mypy_boto3_s3 import S3Client

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = "1.0.0/debian-12-bookworm/20261128T072619.123456Z-1/"
# A run of its own: the engine is shared, and containers are named for the run.
CONTEXT: Any = {
    "ti": SimpleNamespace(
        dag_id="dag", run_id=str(uuid.uuid4()), task_id="task", map_index=-1, try_number=1, max_tries=RETRIES
    ),
}


AT_ONCE = Limits(settle=0)
"""No scheduler runs these tasks, so that there is none to wait for."""
NO_UPLOAD = Limits(settle=0, upload=-1)
"""The trigger leaves each job to its task."""


class AJob(Step[BuildPlan]):
    """A step whose job is the script of the test, and which is done once its result is accepted."""

    script = "a-job"
    plan_type = BuildPlan
    outputs: ClassVar[str | None] = OUTPUTS

    def done(self) -> str | None:
        return "it is done" if self.store.scratch.get("done") else None

    @override
    def job(self, attempt: AttemptId) -> Job:
        return Job(
            version="1.0.0",
            script=self.script,
            packaging=self.plan.packaging,
            environment={},
            outputs=self.outputs,
            time_limit=60,
        )

    def accept(self, job: Job, result: Result) -> str:
        self.store.scratch.put("done", b"yes")
        return super().accept(job, result)


class Bench:
    """The operator's task, with what Airflow would give it."""

    def __init__(self, root: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.store = store
        self._monkeypatch = monkeypatch
        self.worker = connections.docker_worker()

    def task(self, script: str) -> JobOperator:
        """The task whose job runs ``script``."""
        file = self.root / "jobs/a-job"
        file.write_text(f"#!/usr/bin/env bash\n{script}\n")
        file.chmod(0o755)
        plan = BuildPlan(
            version="1.0.0",
            nightly=False,
            commit="",
            packaging=packaging_files.upload(self.store, self.root),
            packaging_revision="",
            distros=(),
        )
        return JobOperator(task_id="task", script="a-job", plan=plan.model_dump(mode="json"))

    def containers(self) -> list[str]:
        """The job's containers, whatever became of them."""
        found = self.worker.engine.containers(all=True, filters={"label": JOB_LABEL})
        return [entry["Id"] for entry in found if entry["Labels"].get("hhvm.work") == str(self.root / "work")]

    def deferred(self, task: JobOperator) -> TaskDeferred:
        """What the task waits for."""
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(CONTEXT)
        return deferred.value

    def wait(self, deferred: TaskDeferred, limits: Limits = AT_ONCE) -> TriggerEvent:
        """Run the trigger to its event, as the triggerer does: made again from what is stored of it."""
        _, arguments = deferred.trigger.serialize()
        event: TriggerEvent = asyncio.run(anext(JobTrigger(**arguments, limits=limits).run()))  # type: ignore[arg-type]
        return event

    def kill(self, deferred: TaskDeferred, state: str | None) -> None:
        """End the trigger as the triggerer does after a person put the task into this state."""
        Supervisor(self._monkeypatch, lambda _: TaskStatesResult(task_states={"run": {"task": state}}))
        deferred.trigger.task_instance = SimpleNamespace(
            dag_id="dag", run_id="run", task_id="task", map_index=-1
        )
        asyncio.run(deferred.trigger.on_kill())

    def resume(self, task: JobOperator, deferred: TaskDeferred, event: TriggerEvent) -> str:
        """Go on with the task in a second process, as Airflow does. Returns what the task returns."""
        arguments = (deferred.kwargs or {}) | {"event": event.payload}
        return str(task.resume_execution(deferred.method_name, arguments, CONTEXT))

    def directory(self, deferred: TaskDeferred) -> Path:
        """The work directory of the job that the task waits for."""
        assert deferred.kwargs
        return self.worker.directory(deferred.kwargs["name"])

    def finish(self, task: JobOperator, deferred: TaskDeferred) -> str:
        """Wait, and go on with the task if the trigger left it to that. Returns what the task returns."""
        event = self.wait(deferred)
        if isinstance(event, TaskSuccessEvent):
            return str((event.xcoms or {})["return_value"])
        return self.resume(task, deferred, event)


@pytest.fixture
def bench(tmp_path: Path, s3: S3Client, job_image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A deployment of the test's own, of which nothing is left."""
    for part in ("bin", "jobs", "distros"):
        shutil.copytree(ROOT / part, tmp_path / part, symlinks=True)
    monkeypatch.setenv("HHVM_PACKAGING_PACKAGING_ROOT", str(tmp_path))
    monkeypatch.setenv("HHVM_PACKAGING_DOCKER_WORK_DIRECTORY", str(tmp_path / "work"))
    monkeypatch.setenv("HHVM_PACKAGING_POLL_INTERVAL", "1")
    settings.cache_clear()
    monkeypatch.setattr(connections, "store", lambda: Store(s3, settings()))
    monkeypatch.setitem(STEPS, "a-job", AJob)
    bench = Bench(tmp_path, connections.store(), monkeypatch)
    yield bench
    for container in bench.containers():
        bench.worker.engine.remove_container(container, force=True)
    settings.cache_clear()


def test_a_job_is_started_waited_for_recorded_and_removed(bench: Bench) -> None:
    task = bench.task("echo working")
    assert bench.finish(task, bench.deferred(task)) == "HHVM 1.0.0, a-job: done"
    assert bench.containers() == []
    assert list((bench.root / "work").iterdir()) == []


def test_a_task_that_died_between_starting_its_job_and_waiting_attaches_to_it(bench: Bench) -> None:
    task = bench.task("sleep 600")
    bench.deferred(task)
    before = bench.containers()
    bench.deferred(task)
    assert bench.containers() == before


def test_a_task_that_died_before_it_recorded_the_result_records_it_without_a_second_job(
    bench: Bench,
) -> None:
    task = bench.task('date +%N >>"$OUT/../ran"')
    bench.wait(bench.deferred(task), NO_UPLOAD)
    deferred = bench.deferred(task)
    bench.wait(deferred, NO_UPLOAD)
    assert len((bench.directory(deferred) / "ran").read_text().split()) == 1
    assert bench.finish(task, deferred) == "HHVM 1.0.0, a-job: done"


def test_a_task_that_died_before_it_recorded_a_failure_fails_for_good_without_a_second_job(
    bench: Bench,
) -> None:
    task = bench.task("exit 2")
    bench.wait(bench.deferred(task), NO_UPLOAD)
    before = bench.containers()
    deferred = bench.deferred(task)
    assert bench.containers() == before
    with pytest.raises(AirflowFailException, match="the job failed: exit status 2"):
        bench.finish(task, deferred)


def test_a_failed_job_fails_its_task_without_a_retry_also_if_it_cannot_be_removed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(worker: DockerWorker, name: str) -> None:
        raise OSError("the engine is busy")

    task = bench.task("exit 2")
    deferred = bench.deferred(task)
    monkeypatch.setattr(DockerWorker, "remove", refuse)
    with pytest.raises(AirflowFailException, match="the job failed: exit status 2"):
        bench.finish(task, deferred)


def test_a_task_that_died_after_it_recorded_the_result_leaves_nothing_when_it_passes(bench: Bench) -> None:
    task = bench.task("true")
    bench.deferred(task)
    bench.store.scratch.put("done", b"yes")
    assert task.execute(CONTEXT) == "it is done"
    assert bench.containers() == []


def test_a_run_of_the_same_name_in_another_deployment_leaves_the_job_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = bench.task("sleep 600")
    bench.deferred(task)
    before = bench.containers()
    monkeypatch.setenv("HHVM_PACKAGING_DOCKER_WORK_DIRECTORY", str(bench.root / "work/of-another"))
    settings.cache_clear()
    other = bench.deferred(task)
    bench.kill(other, "failed")
    assert bench.containers() == before


def test_a_failed_job_fails_its_task_without_a_retry_and_is_removed(bench: Bench) -> None:
    task = bench.task("echo the compiler is unhappy; exit 2")
    with pytest.raises(AirflowFailException, match=r"HHVM 1\.0\.0, a-job: the job failed: exit status 2"):
        bench.finish(task, bench.deferred(task))
    assert bench.containers() == []


def test_a_failed_job_is_not_run_again_by_a_retry_of_a_task_that_could_not_tell_airflow_so(
    bench: Bench,
) -> None:
    task = bench.task("exit 2")
    with pytest.raises(AirflowFailException):
        bench.finish(task, bench.deferred(task))
    retry = {"ti": SimpleNamespace(**vars(CONTEXT["ti"]) | {"try_number": 2})}
    with pytest.raises(AirflowFailException, match=r"the job failed: exit status 2\. The whole log: s3://"):
        task.execute(retry)
    assert bench.containers() == []
    cleared = SimpleNamespace(**vars(CONTEXT["ti"]) | {"try_number": 3, "max_tries": RETRIES + 2})
    with pytest.raises(TaskDeferred):
        task.execute({"ti": cleared})


def test_what_failed_before_a_person_cleared_the_task_does_not_count_for_the_retries_after_that(
    bench: Bench,
) -> None:
    task = bench.task("exit 2")
    with pytest.raises(AirflowFailException):
        bench.finish(task, bench.deferred(task))
    retry = SimpleNamespace(**vars(CONTEXT["ti"]) | {"try_number": 3, "max_tries": RETRIES + 1})
    with pytest.raises(TaskDeferred):
        task.execute({"ti": retry})


def test_a_failed_job_is_run_again_when_its_task_is_cleared(bench: Bench) -> None:
    task = bench.task("exit 2")
    with pytest.raises(AirflowFailException):
        bench.finish(task, bench.deferred(task))
    task = bench.task("exit 0")
    assert bench.finish(task, bench.deferred(task)) == "HHVM 1.0.0, a-job: done"


def test_the_jobs_log_is_the_tasks_log(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(JobTrigger, "log", SimpleNamespace(info=lines.append, warning=print))
    task = bench.task("echo one; echo two; printf 'and no newline'")
    bench.finish(task, bench.deferred(task))
    assert lines == ["one", "two", "and no newline", "HHVM 1.0.0, a-job: done"]


@pytest.mark.parametrize("outputs", [None, OUTPUTS])
def test_a_job_that_succeeded_is_recorded_without_another_process_of_the_task(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, outputs: str | None
) -> None:
    monkeypatch.setattr(AJob, "outputs", outputs)
    event = bench.wait(bench.deferred(bench.task('echo working; echo made >"$OUT/a-file"')))
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms == {"return_value": "HHVM 1.0.0, a-job: done"}
    assert bench.store.scratch.get("done")
    assert bench.store.scratch.get(f"{OUTPUTS}a-file") == (b"made\n" if outputs else None)
    assert bench.containers() == []
    assert list((bench.root / "work").iterdir()) == []


def test_a_large_upload_is_left_to_the_task(bench: Bench) -> None:
    task = bench.task('echo made >"$OUT/a-file"')
    deferred = bench.deferred(task)
    event = bench.wait(deferred, Limits(settle=0, upload=4))
    assert event.payload == "ended"
    assert bench.store.scratch.get(f"{OUTPUTS}a-file") is None
    assert bench.resume(task, deferred, event) == "HHVM 1.0.0, a-job: done"
    assert bench.store.scratch.get(f"{OUTPUTS}a-file") == b"made\n"


@pytest.mark.parametrize(("script", "outcome"), [("true", "done"), ("exit 2", "the job failed")])
def test_what_the_trigger_cannot_record_is_left_to_the_task(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, script: str, outcome: str
) -> None:
    task = bench.task(script)
    deferred = bench.deferred(task)
    with monkeypatch.context() as broken:
        broken.setattr(AJob, "accept", lambda *_: 1 / 0)
        event = bench.wait(deferred)
    try:
        said = bench.resume(task, deferred, event)
    except AirflowFailException as error:
        said = str(error)
    assert said.startswith(f"HHVM 1.0.0, a-job: {outcome}")
    assert bench.containers() == []


def test_the_log_goes_on_from_the_byte_up_to_which_it_was_copied(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(JobTrigger, "log", SimpleNamespace(info=lines.append, warning=print))
    deferred = bench.deferred(bench.task("echo one; echo two"))
    deferred.trigger.read = len("one\n")
    bench.wait(deferred)
    assert lines == ["two", "HHVM 1.0.0, a-job: done"]


def test_the_trigger_is_made_again_from_what_the_triggerer_keeps_of_it() -> None:
    a_job, a_plan = {"version": "1.0.0"}, {"commit": "c"}
    made = JobTrigger("hhvm-1.0.0-a-job", str(AttemptId.new()), a_job, deadline=1.5, plan=a_plan, read=7)
    path, arguments = made.serialize()
    assert path == f"{JobTrigger.__module__}.{JobTrigger.__name__}"
    assert JobTrigger(**arguments).serialize() == (path, arguments)


def test_a_task_goes_on_only_when_airflows_scheduler_can_know_that_it_deferred(bench: Bench) -> None:
    deferred = bench.deferred(bench.task("exit 2"))
    started = time.monotonic()
    assert bench.wait(deferred, Limits(settle=2)).payload == "ended"
    assert time.monotonic() - started >= 2


def test_a_job_past_its_deadline_is_told_and_ended(bench: Bench) -> None:
    task = bench.task("sleep 600")
    deferred = bench.deferred(task)
    deferred.trigger.deadline = time.time() - 1
    with pytest.raises(AirflowFailException, match="and its own timer did not end it"):
        bench.finish(task, deferred)
    assert bench.containers() == []


def test_a_task_that_is_marked_failed_ends_its_job(bench: Bench) -> None:
    deferred = bench.deferred(bench.task("sleep 600"))
    bench.kill(deferred, "failed")
    assert bench.containers() == []


def test_a_task_that_is_cleared_goes_on_with_its_job(bench: Bench) -> None:
    task = bench.task('date +%N >>"$OUT/../ran"; until [ -e "$OUT/../end" ]; do sleep 0.1; done')
    deferred = bench.deferred(task)
    before = bench.containers()
    bench.kill(deferred, None)
    again = bench.deferred(task)
    assert bench.containers() == before
    (bench.directory(again) / "end").touch()
    bench.wait(again, NO_UPLOAD)
    assert len((bench.directory(again) / "ran").read_text().split()) == 1
    assert bench.finish(task, again) == "HHVM 1.0.0, a-job: done"


def test_a_job_that_another_triggerer_recorded_and_removed_is_done_and_not_lost(bench: Bench) -> None:
    task = bench.task("true")
    deferred = bench.deferred(task)
    assert isinstance(bench.wait(deferred), TaskSuccessEvent)
    late = bench.wait(deferred)
    assert late.payload == "absent"
    assert bench.resume(task, deferred, late) == "it is done"


def test_an_engine_that_does_not_answer_is_waited_for_then_told_and_its_job_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "worker", lambda _launch=None: bench.worker)
    task = bench.task("sleep 600")
    deferred = bench.deferred(task)
    before = bench.containers()
    with monkeypatch.context() as broken:
        broken.setattr(bench.worker.engine, "inspect_container", lambda _: 1 / 0)
        event = bench.wait(deferred, Limits(patience=2))
    with pytest.raises(TryAgain, match=r"HHVM 1\.0\.0, a-job: the Docker engine or AWS does not answer"):
        bench.resume(task, deferred, event)
    bench.deferred(task)
    assert bench.containers() == before


def stored_before_the_modules_moved(
    deferred: TaskDeferred,
) -> tuple[tuple[str, dict[str, Any]], dict[str, Any]]:
    """The trigger of a task, and the arguments with which it goes on, as that revision stored them."""
    kwargs = deferred.kwargs or {}
    ticket = {
        "name": kwargs["name"],
        "build": kwargs["build"],
        "job": {
            "version": "1.0.0",
            "script": "a-job",
            "distro": None,
            "packaging": kwargs["job"]["packaging"],
            "environment": {},
            "inputs": [],
            "outputs": OUTPUTS,
            "needs_engine": False,
            "needs_keys": False,
            "time_limit": 60,
        },
    }
    plan = {
        "version": "1.0.0",
        "nightly": False,
        "commit": "",
        "packaging": kwargs["job"]["packaging"],
        "packaging_revision": "",
        "packaging_ref": "worktree",
        "known": [],
        "distros": [],
        "faults": {},
        "not_before": "",
        "action": "publish",
        "undo_to": None,
        "dry_run": False,
        "hold_all": True,
    }
    arguments = ticket | {"deadline": time.time() + 60, "plan": plan, "read": 0}
    return ("hhvm_packaging.workers.trigger.JobTrigger", arguments), ticket


@pytest.mark.parametrize(("script", "outcome"), [("true", "done"), ("exit 2", "the job failed")])
def test_a_task_that_was_deferred_before_the_modules_moved_is_finished(
    bench: Bench, script: str, outcome: str
) -> None:
    task = bench.task(script)
    (path, arguments), ticket = stored_before_the_modules_moved(bench.deferred(task))
    event = asyncio.run(anext(resolve_name(path)(**arguments).run()))
    if isinstance(event, TaskSuccessEvent):
        said = str((event.xcoms or {})["return_value"])
    else:
        with pytest.raises(AirflowFailException) as failure:
            task.resume_execution("take_in", ticket | {"event": event.payload}, CONTEXT)
        said = str(failure.value)
    assert said.startswith(f"HHVM 1.0.0, a-job: {outcome}")
    assert bench.containers() == []
