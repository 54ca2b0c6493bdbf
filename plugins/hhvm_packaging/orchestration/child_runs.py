"""The operators with which a wrapper DAG runs other DAGs, resumes them and cancels them."""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.standard.operators.trigger_dagrun import XCOM_RUN_ID, TriggerDagRunOperator
from airflow.sdk import DagRunState
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowRescheduleException,
    DagRunTriggerException,
)
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent
from typing_extensions import override

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.orchestration import _airflow_internals, connections, noting, resuming, task_context
from hhvm_packaging.planning.request import Request
from hhvm_packaging.planning.task_ids import BuildTask, PublishTask, WrapperTask
from hhvm_packaging.reporting import run_notes
from hhvm_packaging.runs.api import ApiError
from hhvm_packaging.runs.run import (
    FAILURE_REASON,
    OVER,
    UNFINISHED,
    child_run_id,
    child_run_prefix,
    find_task_state,
    former_child_run_id,
)
from hhvm_packaging.settings import settings
from hhvm_packaging.upkeep import orphans

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol as RuntimeTaskInstance

    from hhvm_packaging.orchestration.task_context import RequestJson

_POLL_INTERVAL = 1.0
"""Seconds between two polls of a child run. Each poll makes two short queries."""
_LAST_POLL_INTERVAL = 0.1
"""The same while the child's last task is scheduled or running."""
_NOT_SCHEDULED = (None, "", "up_for_retry")
"""States of a task that will not end before the next poll."""


class ChildFailed(PackagingError):
    """A child run failed. The message says which, what its report says, and what to do."""

    def __init__(self, dag_id: str, run_id: str, report: str) -> None:
        said = f"{dag_id} run {run_id} failed. This task's link Triggered DAG leads to what failed there. "
        said += "When the cause is fixed, clear this task"
        super().__init__("\n".join([said, *run_notes.find_headlines(report)]))


class ChildRunOperator(TriggerDagRunOperator):
    """Run another DAG for one ``request``, and wait for it deferred.

    The child's run id is always the same for a run of the wrapper, a version and what children are given. If
    the child is queued or running, the task attaches to it; the stock operator would reset it and lose hours
    of builds. If it has finished, successfully or not, it runs again from its first task, where finished work
    passes at once. If a person ends the task, the child ends too: see ChildRunTrigger.
    """

    template_fields: Sequence[str] = (*TriggerDagRunOperator.template_fields, "request")

    passed_on: ClassVar[tuple[str, ...]]
    """The fields of the request that the child gets."""
    last_task: ClassVar[str]
    """The id of the task that ends after all others in the child."""

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
        """Attach to the child if it is queued or running. Otherwise create or reset it. Then wait."""
        ti, version = context["ti"], str(self.request["version"])
        self.conf = {name: self.request[name] for name in self.passed_on}
        run_id = self._choose_run_id(ti, version)
        self.trigger_run_id = run_id
        self.note = run_notes.write([version], self.request["distros"], "queued")
        if ti.get_dr_count(dag_id=self.trigger_dag_id, run_ids=[run_id], states=list(UNFINISHED)):
            self.log.info("%s run %s is queued or running: waiting for it", self.trigger_dag_id, run_id)
        else:
            self._await_others(ti, version)
            self._start(context)
        ti.xcom_push(key=XCOM_RUN_ID, value=run_id)
        self._wait_for(run_id)

    def _wait_for(self, run_id: str) -> NoReturn:
        self.defer(
            trigger=ChildRunTrigger(self.trigger_dag_id, run_id, self.last_task),
            method_name="execute_complete",
        )

    def _choose_run_id(self, ti: RuntimeTaskInstance, version: str) -> str:
        """The child's id: the former one if there is a run that began with it."""
        former = former_child_run_id(ti.run_id, version)
        # A forced child that has ended must be the same run when it is resumed, or it would force again.
        states = None if self.request.get("force") else list(UNFINISHED)
        if ti.get_dr_count(dag_id=self.trigger_dag_id, run_ids=[former], states=states):
            return former
        return child_run_id(ti.dag_id, ti.run_id, version, _asked(self.request))

    def _await_others(self, ti: RuntimeTaskInstance, version: str) -> None:
        """Raise AirflowRescheduleException if another child is under way for this run and version.

        There is one if a person cleared all of this run, and it means something else now, such as one more
        distribution. What the other one builds needs no second build.
        """
        prefix = child_run_prefix(ti.dag_id, ti.run_id, version)
        try:
            with connections.airflow_api() as api:
                others = api.runs(self.trigger_dag_id, prefix=prefix, states=UNFINISHED)
        except (ApiError, AirflowNotFoundException) as error:
            self.log.warning("Cannot look for other runs of %s: %s", self.trigger_dag_id, error)
            return
        if others:
            names = ", ".join(other.run_id for other in others)
            self.log.info(
                "%s: %s is for the same version, with other parameters: waiting for its end. "
                "Then one runs with %s",
                self.trigger_dag_id,
                names,
                self.conf,
            )
            raise AirflowRescheduleException(_soon(self.poke_interval))

    def _start(self, context: Context) -> None:
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[ti.task_id])
        map_index = -1 if ti.map_index is None else ti.map_index
        state = find_task_state(states.get(ti.run_id, {}), ti.task_id, map_index)
        if state is None or state in OVER:
            # Airflow ends this process seconds after that. A child that it starts would be nobody's.
            raise AirflowFailException(f"This task is {state or 'deleted'}: it starts no run")
        try:
            super().execute(context)
        except DagRunTriggerException as wanted:
            # SQLite's clock has whole seconds: with a fraction, the run would wait for the next second.
            now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
            _airflow_internals.start_run(wanted, run_after=now)

    @override
    def execute_complete(self, context: Context, event: str) -> None:  # type: ignore[override]  # ours
        """Fail without a retry, because the child failed. ``event`` is the child's run id.

        If a person has cleared the child since then, wait for it again. Airflow's database names this method
        for tasks that are deferred.
        """
        if context["ti"].get_dr_count(dag_id=self.trigger_dag_id, run_ids=[event], states=list(UNFINISHED)):
            self.log.info("%s run %s failed, and was cleared: waiting for it", self.trigger_dag_id, event)
            self._wait_for(event)
        report = context["ti"].xcom_pull(
            dag_id=self.trigger_dag_id,
            run_id=event,
            task_ids=self.last_task,
            map_indexes=-1,
            key=FAILURE_REASON,
        )
        with task_context.fail_without_retry():
            raise ChildFailed(self.trigger_dag_id, event, str(report or ""))


def name_builds(requests: Iterable[Request], context: Mapping[str, Any]) -> list[RequestJson]:
    """The JSON of a wrapper's requests, each with the run of hhvm_build that this run of it triggers."""
    run, named = context["dag_run"], []
    for request in requests:
        asked = request.model_dump(mode="json")
        named.append(
            asked | {"build_run": child_run_id(run.dag_id, run.run_id, request.version, _asked(asked))}
        )
    return named


def _asked(request: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a child another one: all that children are given, without what says what happened before."""
    given = sorted({*BuildOperator.passed_on, *PublishOperator.passed_on})
    defaults = {name: field.default for name, field in Request.model_fields.items()}
    return {name: request[name] for name in given if name in request and request[name] != defaults[name]}


def _soon(seconds: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)


class BuildOperator(ChildRunOperator):
    """Build one version."""

    passed_on = ("version", "distros", "packaging_ref", "force")
    last_task = BuildTask.REPORT.value

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id="hhvm_build", **kwargs)


class PublishOperator(ChildRunOperator):
    """Publish one version, after the mapped instances before it have ended.

    If the version is not built or is held, it fails; or is skipped, if a task before it failed. What is built
    and held it reads from the store, not from those tasks. ``max_active_tis_per_dagrun=1`` alone does not
    keep the order: the scheduler starts the next instance while one waits for a retry.
    """

    passed_on = ("version", "distros", "packaging_ref", "if_one_fails")
    last_task = PublishTask.REPORT.value

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id="hhvm_publish_release", **kwargs)

    def execute(self, context: Context) -> None:
        """Check the order and whether the version may be published. Then run the child."""
        from hhvm_packaging.publishing import holds

        self.await_turn(context)
        ti = context["ti"]
        with task_context.fail_without_retry():
            requests = task_context.parse_requests(ti.xcom_pull(task_ids=WrapperTask.PLAN))
            # Not every run has it from `plan`: an older revision may have begun this one.
            holds.ask_for_holds(requests, task_context.read_asker(context), connections.store())
        with task_context.fail_without_retry(), resuming.skip_after_failure():
            holds.ensure_publishable(
                Request.model_validate(self.request),
                requests,
                now=datetime.datetime.now(datetime.UTC),
                store=connections.store(),
                settings=settings(),
            )
        noting.note_state(requests, f"publishing {self.request['version']}", context)
        super().execute(context)

    def await_turn(self, context: Context) -> None:
        """Return if all instances before this one have ended; otherwise raise AirflowRescheduleException."""
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[ti.task_id])
        earlier = [f"{ti.task_id}_{index}" for index in range(ti.map_index or 0)]
        if waiting := [name for name in earlier if states[ti.run_id].get(name) not in OVER]:
            self.log.info("Waiting for %s", ", ".join(waiting))
            raise AirflowRescheduleException(_soon(self.poke_interval))


class ChildRunTrigger(BaseTrigger):
    """Wait until the child run ends. If a person fails or deletes the task that waits, fail the child too.

    ``last_task`` is the id of the task that ends after all others in the child.
    """

    def __init__(self, dag_id: str, run_id: str, last_task: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dag_id = dag_id
        self.run_id = run_id
        self.last_task = last_task

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments, as Airflow's database stores them."""
        names = ("dag_id", "run_id", "last_task")
        return "hhvm_packaging.orchestration.child_runs.ChildRunTrigger", {
            name: getattr(self, name) for name in names
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll the child. If it succeeds, the task succeeds without another process of it."""
        while True:
            state, pause = await asyncio.to_thread(self._poll)
            if state == DagRunState.SUCCESS:
                yield TaskSuccessEvent()
                return
            if state == DagRunState.FAILED:
                yield TriggerEvent(self.run_id)
                return
            await asyncio.sleep(pause)

    def _poll(self) -> tuple[str, float]:
        """The child's state, and the seconds until the next poll."""
        last = _airflow_internals.read_task_state(self.dag_id, self.run_id, self.last_task)
        pause = _POLL_INTERVAL if last in _NOT_SCHEDULED else _LAST_POLL_INTERVAL
        return _airflow_internals.read_run_state(self.dag_id, self.run_id), pause

    async def on_kill(self) -> None:
        """Fail the child if it is an orphan now, which ends its workers.

        A cleared task attaches again. A child whose task was marked successful goes on by itself.
        """
        await asyncio.to_thread(self._cancel)

    def _cancel(self) -> None:
        ti, run_id = self.task_instance, self.run_id
        if ti is None:
            return
        state = _airflow_internals.read_task_state(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        cancelled = ""
        if state in ("failed", None):
            waiting = orphans.Waiting(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
            with connections.airflow_api() as api:
                if child := api.run(self.dag_id, run_id):
                    cancelled = orphans.cancel_child(api, self.dag_id, child, waiting)
        if cancelled:
            self.log.warning("%s", cancelled)
        else:
            self.log.info("%s run %s goes on: its parent task is %s", self.dag_id, run_id, state or "cleared")
