"""The file that Airflow loads as a plugin. It registers what the stored DAGs name."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from hhvm_packaging import priorities as former_priorities
from hhvm_packaging.orchestration import preloading, priorities


class HhvmPackagingPlugin(AirflowPlugin):
    """The priority strategies and the listener of this project."""

    name = "hhvm_packaging"
    # Lists, as the base class declares them.
    priority_weight_strategies = [priorities.ScheduledFirst, former_priorities.ScheduledFirst]  # ruff: ignore[mutable-class-default]
    listeners = [preloading]  # ruff: ignore[mutable-class-default]
