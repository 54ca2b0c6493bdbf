"""The last task of the wrapper DAGs: it decides the colour of the run."""

from __future__ import annotations

from typing import Any

from airflow.sdk import TriggerRule, task

from hhvm_packaging.orchestration import connections, noting, task_context
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.publishing import completeness
from hhvm_packaging.settings import settings


# NONE_FAILED: the run fails if anything failed. If nothing did, that says little: tasks may be skipped.
@task(task_id=WrapperTask.ALL_PUBLISHED, trigger_rule=TriggerRule.NONE_FAILED)
@task_context.fail_without_retry()
@noting.note_outcome
def all_published(planned: Any) -> str:
    """Look in the store. Fail if anything that was asked for is not public.

    ``planned`` is what the wrapper's task ``plan`` returned.
    """
    requests = task_context.parse_requests(planned)
    return completeness.ensure_public(requests, connections.store(), settings())
