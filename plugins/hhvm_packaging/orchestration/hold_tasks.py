"""The tasks of the wrapper DAGs that hold a release after it is built and before it is public."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule, TriggerRule, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from hhvm_packaging.orchestration import (
    connections,
    dag_defaults,
    notifications,
    noting,
    resuming,
    task_context,
)
from hhvm_packaging.planning import hold_records
from hhvm_packaging.planning.hold_records import Person, Question
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.planning.request import LIFT_HOLDS
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.publishing import holds
from hhvm_packaging.reporting import markdown
from hhvm_packaging.settings import settings
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import describe_gates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow.sdk import Context
    from airflow.sdk.types import Operator

    from hhvm_packaging.planning.request import Request
    from hhvm_packaging.workers.job import Gate

_HOLD_UNTIL = "hold_until"
"""The key of the XCom with the time before which nothing is published, in ISO format."""


class QuestionXCom(TypedDict):
    """One of what the task ``ready`` returns: a question, asked for one of the approvals that it needs."""

    number: int
    """The question's, in its run."""
    place: int
    """Counts the approvals of a question, from 1."""
    label: str
    """The versions, and which approval it is."""


class HoldOperator(DateTimeSensorAsync):
    """Wait for a time, deferred. Succeed at once if it has passed already."""

    def execute(self, context: Context) -> None:  # type: ignore[override]  # the stock one always defers
        """Defer only if there is something to wait for."""
        if not self.poke(context):
            super().execute(context)


class ApproveOperator(ApprovalOperator):
    """Ask a person whether builds may be public, and record the answer in the store.

    Airflow keeps the text of a question for as long as its mapped task exists, also if it is cleared and asks
    something else then. So each question has a mapped task of its own, and never changes. The answer is
    recorded by the process that gets it: what a task returns, or the state that a person gives it, approves
    nothing.
    """

    def __init__(self, *, question: QuestionXCom, **kwargs: Any) -> None:
        users = [{"id": user, "name": user} for user in settings().approvers or ()]
        super().__init__(
            subject="",
            fail_on_reject=True,
            assigned_users=users or None,
            notifiers=notifications.waiting(),
            **kwargs,
        )
        self.question = question

    def execute(self, context: Context) -> Any:
        """Ask, unless it is approved already. Skip a question that is not asked any more."""
        with task_context.fail_without_retry():
            question = self._read(context)
            outcome = holds.find_outcome(question, self.question["place"], connections.store(), settings())
        if outcome is None:
            self.subject = f"Publish {_name(question)}?"
            self.body = write_body(question, _read_gates(question))
            return super().execute(context)
        if outcome.approved:
            self.log.info("%s", outcome.reason)
            return None
        raise AirflowSkipException(outcome.reason)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record the answer. Fail if it was no, or if this person may not say yes."""
        if "error" not in event:
            self.validate_chosen_options(event["chosen_options"])
            self._record(context, event)
        try:
            return super().execute_complete(context, event)
        except HITLRejectException:
            raise HITLRejectException(
                f"{event['responded_by_user']['name']} rejected it, so nothing is published. To be asked "
                "again, clear this run's failed tasks"
            ) from None

    def _record(self, context: Context, event: Mapping[str, Any]) -> None:
        user = event.get("responded_by_user")
        if not user:
            raise AirflowFailException("Airflow does not say who answered: clear this task, and answer again")
        with task_context.fail_without_retry():
            holds.record_answer(
                self._read(context),
                Person(id=str(user["id"]), name=str(user["name"])),
                event["responded_at"],
                connections.store(),
                settings(),
                approved=event["chosen_options"] == [self.APPROVE],
            )
        self.log.info("%s answered %s", user["name"], ", ".join(event["chosen_options"]))

    def _read(self, context: Context) -> Question:
        ti = context["ti"]
        questions = Question.read_all(connections.store(), ti.dag_id, ti.run_id)
        number = self.question["number"] if isinstance(self.question, dict) else 0
        if not 0 < number <= len(questions):
            raise AirflowFailException(
                f"Nothing is to be asked: clear `{WrapperTask.READY}` and what follows"
            )
        return questions[number - 1]


def embargo(planned: Any, build: Operator) -> Operator:
    """Make the tasks between ``build`` and publishing. Returns the last one.

    ``planned`` is what the wrapper's task ``plan`` returned.
    """
    with dag_defaults.group(
        "hold", "Hold", "What is built waits here for a time or an approval, if it is held"
    ):
        held = is_held(planned)
        questions: Any = ready(planned)
        approve = ApproveOperator.partial(
            task_id=WrapperTask.APPROVE,
            map_index_template="{{ task.question['label'] }}",
            # A person who rejected the release is not asked again.
            retry_policy=ExceptionRetryPolicy(
                rules=[RetryRule(exception=HITLRejectException, action=RetryAction.FAIL)]
            ),
        ).expand(question=questions)
        hold_until = HoldOperator(
            task_id=WrapperTask.HOLD_UNTIL,
            target_time=f"{{{{ ti.xcom_pull(task_ids='{WrapperTask.READY}', key='{_HOLD_UNTIL}') }}}}",
            # `approve` is skipped if nothing is to be approved.
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        )
        # An empty task that is never skipped. It needs no process.
        may_publish = EmptyOperator(task_id=WrapperTask.MAY_PUBLISH, trigger_rule=TriggerRule.NONE_FAILED)
    held >> [questions, may_publish]
    build >> questions >> approve >> hold_until >> may_publish
    questions >> hold_until
    return may_publish


def ask_for_holds(requests: Iterable[Request], context: Mapping[str, Any]) -> None:
    """Hold the versions in the store, as the requests of the task's run ask for."""
    holds.ask_for_holds(requests, task_context.read_asker(context), connections.store())


def lift_holds(request: Request, version: str) -> None:
    """Lift the holds of the version if the current run was asked to."""
    if request.action == LIFT_HOLDS:
        asker = task_context.read_asker(get_current_context())
        store = connections.store()
        task_context.log_warnings(hold_records.lift(version, asker, request.reason or "", store, settings()))


@task.branch(task_id=WrapperTask.IS_HELD)
@task_context.fail_without_retry()
def is_held(planned: Any) -> str:
    """Skip the other tasks here if no version waits for a time or for an approval, whoever asked for that."""
    found = holds.read_holds(task_context.parse_requests(planned), connections.store(), settings())
    wait = any(version.until or version.needing_approval for version in found.values())
    return str(WrapperTask.READY if wait else WrapperTask.MAY_PUBLISH)


# ALL_DONE: some builds may fail. The request says whether the others are published.
@task(task_id=WrapperTask.READY, trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)
@task_context.fail_without_retry()
@resuming.skip_after_failure()
def ready(planned: Any) -> list[QuestionXCom]:
    """Find out which versions are built and may be published, and what must be approved before.

    Fail if no version may be published; skip this if that is because a build failed.
    """
    context, store = get_current_context(), connections.store()
    requests = task_context.parse_requests(planned)
    found = holds.find_ready(requests, store, settings())
    for fault in holds.find_faults(requests, found).values():
        task_context.log.error("%s. This run will fail at its end.", fault)
    publishable = holds.select_publishable(requests, found)
    for version in publishable:
        task_context.log.info("%s", version)
    times = [held.until for held in holds.read_holds(requests, store, settings()).values() if held.until]
    until = max(times, default=datetime.datetime.now(datetime.UTC))
    context["ti"].xcom_push(key=_HOLD_UNTIL, value=until.isoformat())
    questions = holds.ask(requests, publishable, task_context.read_asker(context), store, settings())
    waits = "an approval" if questions else f"{until:%Y-%m-%d %H:%M} UTC"
    noting.note_state(requests, f"built, waits for {waits}", context)
    return [
        {"number": question.number, "place": place, "label": _label(question, place)}
        for question in questions
        for place in range(1, question.approvals + 1)
    ]


def _read_gates(question: Question) -> dict[str, tuple[Gate, ...]]:
    """What the quality gates found in each build that is asked about, by its directory."""
    gates = {}
    for directory in (package.directory for asked in question.asked for package in asked.packages.values()):
        key = keys.attempt_manifest(directory)
        manifest = connections.store().scratch.read_model(PackageManifest, key)
        gates[directory] = manifest.gates if manifest else ()
    return gates


def write_body(question: Question, gates: Mapping[str, Iterable[Gate]]) -> str:
    """What is to be approved, in Markdown: an item for each version, with an item for each build.

    ``gates`` is what the quality gates found in each build, by its directory.
    """
    lines = []
    for asked in question.asked:
        lines.append(f"- HHVM {asked.version}, source {asked.source[:12]}")
        for distro, package in asked.packages.items():
            build = package.directory.split("/")[-2]
            lines.append(f"  - {distro} {package.version}, build {build}, {package.digest[:12]}")
            for line in describe_gates(gates[package.directory]):
                text = line.lstrip()
                lines.append(f"    {line.removesuffix(text)}- {text}")
    return "\n".join(_escape_item(line) for line in lines)


def _escape_item(line: str) -> str:
    indent, _, text = line.partition("- ")
    return f"{indent}- {markdown.escape(text)}"


def _name(question: Question) -> str:
    return ", ".join(f"HHVM {asked.version}" for asked in question.asked)


def _label(question: Question, place: int) -> str:
    versions = ", ".join(asked.version for asked in question.asked)
    return f"{question.number}: {versions}" + (
        f" ({place} of {question.approvals})" if question.approvals > 1 else ""
    )
