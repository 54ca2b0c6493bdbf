"""What Airflow is to know of this project: the file that it runs as a plugin."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from hhvm_packaging.orchestration import preloading
from hhvm_packaging.orchestration.priorities import ScheduledFirst


class HhvmPackagingPlugin(AirflowPlugin):
    """Registers what DAGs name."""

    name = "hhvm_packaging"
    priority_weight_strategies = (ScheduledFirst,)
    listeners = (preloading,)
