"""The trigger that waits for a job on a worker, and copies its log to the task's log meanwhile."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration import _airflow_internals, connections
from hhvm_packaging.orchestration.steps import STEPS
from hhvm_packaging.runs.run import OVER
from hhvm_packaging.settings import settings
from hhvm_packaging.workers.job import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hhvm_packaging.workers.worker import Phase, Worker

_FIRST_MINUTE = 60
"""Many jobs end in it, so that it is polled each second."""


@dataclass(frozen=True)
class Limits:
    """What a trigger waits for, and what it leaves to the task."""

    patience: float = 60
    """Seconds to wait for a Docker engine or AWS that does not answer: it may be restarting."""
    settle: float = 3
    """The least seconds from the trigger's start until the task goes on in a second process.

    Airflow's scheduler must first read that the first process has deferred. If the task goes on before that,
    the scheduler takes it for killed, and it loses a try.
    """
    upload: int = 32 << 20
    """The most bytes to upload from this process, in which many triggers run."""


class JobTrigger(BaseTrigger):
    """Wait until a job's worker has ended, or until ``deadline`` in seconds since the epoch.

    If the job has succeeded, the trigger records its result, and the task succeeds without a second process.
    Otherwise, or if there is too much to upload, the task goes on with JobOperator.finish. Its event is the
    job's phase, or, if the worker does not answer, a text that says so.

    ``name``, ``build`` (the id of the attempt), ``job`` and ``plan`` say which job it is. ``read`` is the
    number of bytes of the job's log that are in the task's log already.
    """

    def __init__(
        self,
        name: str,
        build: str,
        job: dict[str, Any],
        deadline: float,
        plan: dict[str, Any],
        read: int = 0,
        *,
        limits: Limits | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self.attempt = AttemptId.parse(build)
        self.job = job
        self.deadline = deadline
        self.plan = plan
        self.read = read
        self._limits = limits or Limits()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments, as Airflow's database stores them."""
        names = ("name", "job", "deadline", "plan", "read")
        return (
            "hhvm_packaging.orchestration.job_trigger.JobTrigger",
            {name: getattr(self, name) for name in names} | {"build": str(self.attempt)},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll the job until it is over. What may block runs in threads, so that other triggers go on."""
        job = Job.model_validate(self.job)
        started = answered = time.monotonic()
        while True:
            try:
                worker, phase, log = await asyncio.to_thread(self._poll, job)
                answered = time.monotonic()
            except Exception as error:
                if time.monotonic() - answered > self._limits.patience:
                    yield TriggerEvent(f"the Docker engine or AWS does not answer: {error}")
                    return
                self.log.warning("The Docker engine or AWS does not answer; trying again: %s", error)
                await asyncio.sleep(self._interval)
                continue
            over = phase != "running" or time.time() > self.deadline
            self.read += self._copy_log(log, is_complete=over)
            if over:
                if phase == "ended" and (done := await self._finish(job)):
                    yield TaskSuccessEvent(xcoms={"return_value": done})
                    return
                await asyncio.sleep(started + self._limits.settle - time.monotonic())
                yield TriggerEvent(phase)
                return
            await worker.pause(self.name, self._interval)

    async def _finish(self, job: Job) -> str | None:
        """Record the result. Returns the summary; None if the job failed or is left to the task."""
        try:
            done = await asyncio.to_thread(self._record, job)
        except Exception as error:
            self.log.info("The task goes on with this: %s", str(error).partition("\n")[0])
            return None
        if done is not None:
            self.log.info(done)
        return done

    def _record(self, job: Job) -> str | None:
        worker = connections.shared_worker()
        if worker.to_upload(self.name, job, self.attempt) > self._limits.upload:
            return None
        step = STEPS[job.script].load(self.plan, job.distro, connections.shared_store(), settings())
        return step.finish(worker, self.name, self.attempt, job)

    async def on_kill(self) -> None:
        """End the job's worker if nobody waits for it any more. Airflow calls this in three cases.

        - The task, or its run, was marked or deleted: the worker ends.
        - The task was cleared: its next try attaches to the worker.
        - Another triggerer has the trigger now, or has ended it: the worker is the task's.
        """
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        if (ti := self.task_instance) is None:
            return  # hhvm_reap_workers knows the task by the worker's labels.
        state = _airflow_internals.read_task_state(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        if state is None or state in OVER:
            self.log.info("%s ends: its task is %s", self.name, state or "gone")
            connections.shared_worker().remove(self.name)
        else:
            self.log.info("%s goes on: its task is %s", self.name, state or "cleared")

    @property
    def _interval(self) -> float:
        """The most seconds until the next poll."""
        longest = settings().poll_interval
        return min(1, longest) if time.time() - self.attempt.began.timestamp() < _FIRST_MINUTE else longest

    def _poll(self, job: Job) -> tuple[Worker, Phase, bytes]:
        """The worker, the job's phase, and the new bytes of its log."""
        worker = connections.shared_worker()
        return worker, *worker.look(self.name, job, self.attempt, self.read)

    def _copy_log(self, log: bytes, *, is_complete: bool) -> int:
        """Write the lines to the task's log. Returns their bytes.

        The last line is left out if it has no end yet, unless the log ``is_complete``.
        """
        if not is_complete:
            log = log[: log.rfind(b"\n") + 1]
        for line in log.decode(errors="replace").splitlines():
            self.log.info(line)
        return len(log)
