"""The trigger that waits for a job on a Docker worker, and passes its log on while it runs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from hhvm_packaging import runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hhvm_packaging.workers.docker import DockerWorker

ENGINE_PATIENCE = 60
"""How long an engine that does not answer is waited for, in seconds: it may be restarting."""


class JobTrigger(BaseTrigger):
    """Fires once the job's container no longer runs, or is past ``deadline`` (seconds of the epoch)."""

    def __init__(self, name: str, deadline: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer keeps of this trigger."""
        return (
            "hhvm_packaging.workers.trigger.JobTrigger",
            {"name": self.name, "deadline": self.deadline},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the job every poll interval, in a thread, so that other triggers go on."""
        interval = runtime.settings().poll_interval
        worker = await asyncio.to_thread(runtime.worker)
        read, answered = 0, time.time()
        while True:
            try:
                state = await asyncio.to_thread(worker.state, self.name)
                answered = time.time()
            except Exception as error:
                if time.time() - answered > ENGINE_PATIENCE:
                    yield TriggerEvent(f"the Docker engine does not answer: {error}")
                    return
                self.log.warning("The Docker engine does not answer; asking again: %s", error)
                await asyncio.sleep(interval)
                continue
            over = state.phase != "running" or time.time() > self.deadline
            read = await asyncio.to_thread(self._pass_on_log, worker, read, over)
            if over:
                yield TriggerEvent(state.phase)
                return
            await asyncio.sleep(interval)

    async def on_kill(self) -> None:
        """A person cleared or ended the task: end the job and whatever it started."""
        await asyncio.to_thread(lambda: runtime.worker().remove(self.name))

    def _pass_on_log(self, worker: DockerWorker, read: int, over: bool) -> int:
        """Log what came since ``read`` bytes, in whole lines until it is ``over``. Returns the new count."""
        try:
            with worker.log_file(self.name).open("rb") as file:
                file.seek(read)
                new = file.read()
        except FileNotFoundError:
            return read
        if not over:
            new = new[: new.rfind(b"\n") + 1]
        for line in new.decode(errors="replace").splitlines():
            self.log.info(line)
        return read + len(new)
