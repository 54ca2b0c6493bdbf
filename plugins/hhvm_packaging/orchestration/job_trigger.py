"""The trigger that waits for a job on a worker, and passes its log on while it runs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration import connections
from hhvm_packaging.orchestration.steps import STEPS
from hhvm_packaging.settings import settings
from hhvm_packaging.workers.job import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hhvm_packaging.workers.worker import Phase, Worker

PATIENCE = 60
"""How long an engine or AWS that does not answer is waited for, in seconds: it may be restarting."""
_FIRST = 60
"""How long after it was begun a job is looked at each second, in seconds."""
_SETTLED = 3.0
"""How soon a task goes on at the earliest, in seconds.

One that does before Airflow's scheduler has read that its first process ended is taken for killed: it loses
a try, and waits for the next.
"""
_LIGHT = 32 << 20
"""Bytes. More is not sent to the store by a process that many jobs wait in."""


class JobTrigger(BaseTrigger):
    """Fires once the job's worker no longer runs, or is past ``deadline`` (seconds of the epoch).

    It takes in the result of a job that succeeded, which spares the task a second process. All else, and
    many bytes, are left to that process. ``read`` is how many bytes of the job's log were passed on.
    """

    def __init__(
        self,
        name: str,
        build: str,
        job: dict[str, Any],
        deadline: float,
        plan: dict[str, Any],
        read: int = 0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self.attempt = AttemptId.parse(build)
        self.job = job
        self.deadline = deadline
        self.plan = plan
        self.read = read

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer keeps of this trigger."""
        names = ("name", "job", "deadline", "plan", "read")
        return (
            "hhvm_packaging.orchestration.job_trigger.JobTrigger",
            {name: getattr(self, name) for name in names} | {"build": str(self.attempt)},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the job again and again, in a thread, so that other triggers go on."""
        job = Job.model_validate(self.job)
        settled = time.monotonic() + _SETTLED
        answered = time.time()
        while True:
            try:
                worker, phase, new = await asyncio.to_thread(self._look, job)
                answered = time.time()
            except Exception as error:
                if time.time() - answered > PATIENCE:
                    yield TriggerEvent(f"what runs the job does not answer: {error}")
                    return
                self.log.warning("What runs the job does not answer; asking again: %s", error)
                await asyncio.sleep(self._interval)
                continue
            over = phase != "running" or time.time() > self.deadline
            self.read += self._pass_on(new, over)
            if over:
                if success := await self._taken_in(job, phase):
                    yield success
                    return
                await asyncio.sleep(settled - time.monotonic())
                yield TriggerEvent(phase)
                return
            await worker.pause(self.name, self._interval)

    async def _taken_in(self, job: Job, phase: Phase) -> TaskSuccessEvent | None:
        """The task's success if this can see to it."""
        if phase != "ended":
            return None
        try:
            done = await asyncio.to_thread(self._take_in, job)
        except Exception as error:
            self.log.info("Left to the task: %s", str(error).partition("\n")[0])
            return None
        if done is None:
            return None
        self.log.info(done)
        return TaskSuccessEvent(xcoms={"return_value": done})

    def _take_in(self, job: Job) -> str | None:
        worker = connections.shared_worker()
        if worker.to_upload(self.name, job) > _LIGHT:
            return None
        step = STEPS[job.script].load(self.plan, job.distro, connections.shared_store(), settings())
        return step.finish(worker, self.name, self.attempt, job)

    async def on_kill(self) -> None:
        """A person cleared or ended the task: end the job and whatever it started."""
        await asyncio.to_thread(lambda: connections.shared_worker().remove(self.name))

    @property
    def _interval(self) -> float:
        """Seconds until the next look, at most: many jobs are over in less than a minute."""
        longest = settings().poll_interval
        return min(1, longest) if time.time() - self.attempt.began.timestamp() < _FIRST else longest

    def _look(self, job: Job) -> tuple[Worker, Phase, bytes]:
        """The job's phase, and what came into its log after so many bytes: in this order, so all of it."""
        worker = connections.shared_worker()
        phase = worker.phase(self.name, job, self.attempt)
        return worker, phase, worker.log(self.name, job, self.attempt, self.read)

    def _pass_on(self, new: bytes, over: bool) -> int:
        """Log what is new, in whole lines until it is ``over``. Returns how many bytes that was."""
        if not over:
            new = new[: new.rfind(b"\n") + 1]
        for line in new.decode(errors="replace").splitlines():
            self.log.info(line)
        return len(new)
