"""A stand-in for the process that a task or a trigger asks about Airflow's database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.execution_time import task_runner

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from pydantic import BaseModel


class Supervisor:
    """Records what the code under test asks, and gives the answers of ``answer``, until the test ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Any], BaseModel]) -> None:
        self.sent: list[Any] = []
        self._answer = answer
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", self, raising=False)

    def send(self, msg: Any) -> BaseModel:
        """Airflow's own code calls it with one message."""
        self.sent.append(msg)
        return self._answer(msg)
