"""The operators with which a wrapper DAG runs other DAGs, and resumes and cancels them."""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.standard.operators.trigger_dagrun import XCOM_RUN_ID, TriggerDagRunOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    DagRunTriggerException,
)
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent
from airflow.utils.state import DagRunState
from typing_extensions import override

from hhvm_packaging.orchestration import connections, task_context
from hhvm_packaging.planning.request import Request
from hhvm_packaging.planning.task_ids import BuildTask, PublishTask, WrapperTask
from hhvm_packaging.runs.run import UNDER_WAY, child_of
from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from airflow.sdk import Context

_LOOK = 1.0
"""Seconds between looks at a child run, each of which is two short queries."""
_LOOK_CLOSELY = 0.1
"""Likewise, once nothing but its last task is left."""
_NOT_AT_IT = (None, "up_for_retry")
"""States of a task that will not end before the next look."""
_OVER = ("success", "failed", "upstream_failed", "skipped", "removed")
"""States of a task instance that nothing but a person changes."""


class ChildRunOperator(TriggerDagRunOperator):
    """Run another DAG for one ``request`` under a run id that stays the same, and wait for it, deferred.

    A child that is under way is waited for: the stock operator would reset it and lose hours of builds.
    One that finished, well or not, is run again from its start; what is done in it passes at once.
    A child ends with its parent: see ChildRunTrigger.
    """

    template_fields: Sequence[str] = (*TriggerDagRunOperator.template_fields, "request")

    passed_on: ClassVar[tuple[str, ...]]
    """What the child is told of the request."""
    last_task: ClassVar[str]
    """The child's one task that ends after all the others."""

    def __init__(self, *, request: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(
            wait_for_completion=True,
            reset_dag_run=True,
            deferrable=True,
            poke_interval=settings().poll_interval,
            fail_when_dag_is_paused=True,
            openlineage_inject_parent_info=False,
            **kwargs,
        )
        self.request = request

    def execute(self, context: Context) -> None:
        """Attach to the child if it is under way, else trigger or reset it."""
        ti, run_id = context["ti"], child_of(str(context["run_id"]), self.request["version"])
        self.trigger_run_id, self.conf = run_id, {name: self.request[name] for name in self.passed_on}
        if ti.get_dr_count(dag_id=self.trigger_dag_id, run_ids=[run_id], states=list(UNDER_WAY)):
            self.log.info("%s run %s is under way: waiting for it", self.trigger_dag_id, run_id)
        else:
            self._start(context)
        ti.xcom_push(key=XCOM_RUN_ID, value=run_id)
        self.defer(
            trigger=ChildRunTrigger(self.trigger_dag_id, run_id, self.last_task),
            method_name="execute_complete",
        )

    def _start(self, context: Context) -> None:
        """Do what Airflow does for the stock operator, which would then wait with the stock trigger."""
        from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        try:
            super().execute(context)
        except DagRunTriggerException as wanted:
            answer = SUPERVISOR_COMMS.send(
                TriggerDagRun(
                    dag_id=wanted.trigger_dag_id,
                    run_id=wanted.dag_run_id,
                    conf=wanted.conf,
                    logical_date=wanted.logical_date,
                    # SQLite's clock has whole seconds: with a fraction it would wait for the next one.
                    run_after=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
                    reset_dag_run=wanted.reset_dag_run,
                )
            )
            if isinstance(answer, ErrorResponse):
                raise AirflowException(f"{self.trigger_dag_id} run {wanted.dag_run_id}: {answer}") from wanted

    @override
    def execute_complete(self, context: Context, event: str) -> None:  # type: ignore[override]  # ours
        """Fail as the child did, whose run id is the ``event``; no retry starts that child again."""
        raise AirflowFailException(
            f"{self.trigger_dag_id} run {event} failed. This task's link Triggered DAG leads to what failed "
            "there; once that is mended, clear this task"
        )


class BuildOperator(ChildRunOperator):
    """Build one version."""

    passed_on = ("version", "distros", "packaging_ref", "force")
    last_task = BuildTask.REPORT.value

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id="hhvm_build", **kwargs)


class PublishOperator(ChildRunOperator):
    """Publish one version, unless it is not built or is held, and not before those before it.

    It asks the store, not the tasks before it, whether the version may be published. Mapped with
    ``max_active_tis_per_dagrun=1``, each runs after the one before; the scheduler alone would let the
    next one pass one that waits for a retry.
    """

    passed_on = ("version", "distros", "if_one_fails")
    last_task = PublishTask.REPORT.value

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id="hhvm_publish_release", **kwargs)

    def execute(self, context: Context) -> None:
        """Fail at once, saying why, if the version may not be published."""
        from hhvm_packaging.publishing import holds

        self.await_turn(context)
        ti = context["ti"]
        with task_context.fail_without_retry():
            holds.ensure_publishable(
                Request.model_validate(self.request),
                task_context.parse_requests(ti.xcom_pull(task_ids=WrapperTask.PLAN)),
                ti.dag_id,
                ti.run_id,
                now=datetime.datetime.now(datetime.UTC),
                store=connections.store(),
                settings=settings(),
            )
        super().execute(context)

    def await_turn(self, context: Context) -> None:
        """Return if all before this one are over. Raises AirflowRescheduleException."""
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[ti.task_id])
        earlier = [f"{ti.task_id}_{index}" for index in range(ti.map_index or 0)]
        if waiting := [name for name in earlier if states[ti.run_id].get(name) not in _OVER]:
            self.log.info("%s comes first", ", ".join(waiting))
            again = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.poke_interval)
            raise AirflowRescheduleException(again)


class ChildRunTrigger(BaseTrigger):
    """Waits for the child run, and cancels it where a person ended the task that waits.

    ``last_task`` is the child's one task that ends after all the others.
    """

    def __init__(self, dag_id: str, run_id: str, last_task: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dag_id = dag_id
        self.run_id = run_id
        self.last_task = last_task

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer keeps of this trigger."""
        names = ("dag_id", "run_id", "last_task")
        return "hhvm_packaging.orchestration.child_runs.ChildRunTrigger", {
            name: getattr(self, name) for name in names
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait; where the child succeeded so does the task, without a process of its own for that."""
        while True:
            state, pause = await asyncio.to_thread(self._look)
            if state == DagRunState.SUCCESS:
                yield TaskSuccessEvent()
                return
            if state == DagRunState.FAILED:
                yield TriggerEvent(self.run_id)
                return
            await asyncio.sleep(pause)

    def _look(self) -> tuple[str, float]:
        """The child's state, and how many seconds to wait until the next look."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        of_child: Any = {"dag_id": self.dag_id, "task_ids": [self.last_task], "run_ids": [self.run_id]}
        last = RuntimeTaskInstance.get_task_states(**of_child).get(self.run_id, {}).get(self.last_task)
        pause = _LOOK if last in _NOT_AT_IT else _LOOK_CLOSELY
        return RuntimeTaskInstance.get_dagrun_state(self.dag_id, self.run_id), pause

    async def on_kill(self) -> None:
        """Mark the child failed, which ends its workers, if the task was; a cleared task attaches again."""
        await asyncio.to_thread(self._cancel)

    def _cancel(self) -> None:
        ti, run_id = self.task_instance, self.run_id
        if ti is None:
            return
        with connections.airflow_api() as api:
            state = api.task_state(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
            if state != "failed":
                self.log.info("%s run %s goes on: its parent task is %s", self.dag_id, run_id, state)
                return
            api.fail_run(self.dag_id, run_id)
        self.log.warning("%s run %s is marked failed, because its parent task was", self.dag_id, run_id)
