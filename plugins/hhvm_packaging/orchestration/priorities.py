"""Which task gets the next free slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.task.priority_strategy import PriorityWeightStrategy

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance

SCHEDULED_FIRST = "hhvm_packaging.orchestration.priorities.ScheduledFirst"
"""By name, because a mapped task does not serialise it otherwise."""


class ScheduledFirst(PriorityWeightStrategy):
    """What runs on a schedule, the nightly and its children too, goes before what people triggered."""

    def get_weight(self, ti: TaskInstance) -> int:
        """The weight of a task instance; children have their parent's run id and more."""
        return 2 if ti.run_id.startswith("scheduled__") else 1
