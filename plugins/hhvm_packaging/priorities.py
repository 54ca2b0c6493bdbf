"""The former path of ScheduledFirst: DAGs that were stored before it moved name it in Airflow's database.

Remove this module, and its line in plugins/hhvm_packaging_plugin.py, in the release after the one that moved
it; see CHANGELOG.md.
"""

from hhvm_packaging.orchestration import priorities


class ScheduledFirst(priorities.ScheduledFirst):
    """A class of its own, because Airflow finds a strategy by the path at which its class was defined."""
