"""The operator with which a wrapper DAG runs another DAG, and resumes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import XCOM_RUN_ID, TriggerDagRunOperator
from airflow.providers.standard.triggers.external_task import DagStateTrigger
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.utils.state import DagRunState

from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from airflow.sdk import Context

_UNFINISHED = ["queued", "running"]
_FINISHED = [DagRunState.SUCCESS, DagRunState.FAILED]


class ChildRunOperator(TriggerDagRunOperator):
    """Run ``trigger_dag_id`` under a run id that stays the same, and wait for it, deferred.

    A child that is under way is waited for: the stock operator would reset it and lose hours of builds.
    One that finished, well or not, is run again from its start; what is done in it passes at once.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            wait_for_completion=True,
            reset_dag_run=True,
            deferrable=True,
            poke_interval=settings().poll_interval,
            fail_when_dag_is_paused=True,
            openlineage_inject_parent_info=False,
            **kwargs,
        )

    def execute(self, context: Context) -> None:
        """Attach to the child if it is under way, else trigger or reset it."""
        ti, run_id = context["ti"], str(self.trigger_run_id)
        if not ti.get_dr_count(dag_id=self.trigger_dag_id, run_ids=[run_id], states=_UNFINISHED):
            super().execute(context)
            return
        self.log.info("%s run %s is under way: waiting for it", self.trigger_dag_id, run_id)
        ti.xcom_push(key=XCOM_RUN_ID, value=run_id)
        self.defer(
            trigger=DagStateTrigger(
                dag_id=self.trigger_dag_id,
                states=_FINISHED,
                run_ids=[run_id],
                poll_interval=self.poke_interval,
            ),
            method_name="execute_complete",
        )

    def execute_complete(self, context: Context, event: tuple[str, dict[str, Any]]) -> None:
        """Succeed or fail as the child did; a child that failed is not started again by a retry."""
        try:
            super().execute_complete(context, event)
        except AirflowException as error:
            raise AirflowFailException(
                f"{self.trigger_dag_id} run {self.trigger_run_id} failed. This task's link Triggered DAG "
                "leads to what failed there; once that is mended, clear this task"
            ) from error
