"""The order in which tasks get free slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.task.priority_strategy import PriorityWeightStrategy

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance

SCHEDULED_FIRST = "hhvm_packaging.orchestration.priorities.ScheduledFirst"
"""The class path. Airflow cannot serialize the class itself for a mapped task."""


class ScheduledFirst(PriorityWeightStrategy):
    """Tasks of scheduled runs, and of their child runs, come before tasks of runs that people triggered."""

    def get_weight(self, ti: TaskInstance) -> int:
        """The weight of a task instance. A child's run id begins with its parent's."""
        return 2 if ti.run_id.startswith("scheduled__") else 1
