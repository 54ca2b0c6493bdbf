"""The former path of JobTrigger: tasks that were deferred before it moved name it in Airflow's database.

Remove this module in the release after the one that moved it; see CHANGELOG.md.
"""

from hhvm_packaging.orchestration.job_trigger import JobTrigger

__all__ = ["JobTrigger"]
