"""Notifications for people, about runs that failed and tasks that wait for a person.

The settings name the channels; connections hold what is secret.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from hhvm_packaging.orchestration import channels, connections, task_context
from hhvm_packaging.reporting import delivery, markdown
from hhvm_packaging.reporting.delivery import Message
from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from hhvm_packaging.runs.run import Run

_LONGEST = 10_000
"""The most characters of a message. The page of the report has the whole text."""


def failed() -> list[BaseNotifier]:
    """The ``on_failure_callback`` of a DAG: empty if the settings have no channel."""
    return [RunFailed()] if settings().notify else []


def waiting() -> list[BaseNotifier]:
    """The ``notifiers`` of a task that waits for an approval: empty if the settings have no channel."""
    return [PersonNeeded()] if settings().notify else []


class _Notifier(BaseNotifier):
    """Deliver a message to all channels. One that does not take it in time gets it later."""

    def notify(self, context: Context) -> None:
        """Send the message. Nothing in it is rendered as a template."""
        try:
            message = self.message(context)
        except Exception:
            # Raised again, it would fail the task that waits.
            self.log.exception("Cannot write the notification")
            return
        delivery.deliver(channels.send, settings().notify, message, connections.store)

    @abstractmethod
    def message(self, context: Mapping[str, Any]) -> Message:
        """Write the message."""


class RunFailed(_Notifier):
    """Say which run and which tasks failed, and quote the run's report."""

    def message(self, context: Mapping[str, Any]) -> Message:
        """Write the message from the context of a DAG's callback."""
        run, versions = task_context.read_run(context), task_context.read_versions(context)
        tasks = sorted(task for task, state in run.states.items() if state == "failed")
        subject = f"{run.dag_id} failed{_of(versions)}"
        lines = [
            subject,
            f"Run: {run.run_id}",
            f"Failed: {', '.join(tasks) or 'no task of it (' + str(context.get('reason')) + ')'}",
            f"Its page: {run.page()}",
            *_reasons(run, [task for task in tasks if task in context["dag"].task_dict]),
        ]
        return _message("failed", subject, lines, run, versions, tasks, run.page())


class PersonNeeded(_Notifier):
    """Say which task waits for a person's answer, and where to give it."""

    def message(self, context: Mapping[str, Any]) -> Message:
        """Write the message from the context of the task that waits."""
        run, versions, ti, asked = (
            task_context.read_run(context),
            task_context.read_versions(context),
            context["ti"],
            context["task"],
        )
        url = f"{run.page(ti.task_id, ti.map_index)}/required_actions"
        subject = f"{run.dag_id} waits for a person{_of(versions)}"
        lines = [
            subject,
            f"Run: {run.run_id}",
            f"Asked: {asked.subject}",
            f"Answer at: {url}",
            markdown.unescape(asked.body or ""),
        ]
        return _message("waiting", subject, lines, run, versions, [ti.task_id], url)


def deliver_late() -> list[str]:
    """Deliver what a channel did not take at first. Returns a line for each message."""
    return delivery.deliver_late(channels.send, settings().notify, connections.store())


def _message(
    event: str, subject: str, lines: list[str], run: Run, versions: list[str], tasks: list[str], url: str
) -> Message:
    text = "\n".join(lines).strip()
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}\n(and so on: see {url})"
    return Message(
        event=event,
        subject=f"HHVM packaging: {subject}",
        text=text,
        dag_id=run.dag_id,
        run_id=run.run_id,
        versions=versions,
        tasks=tasks,
        url=url,
    )


def _of(versions: list[str]) -> str:
    return f": HHVM {', '.join(versions)}" if versions else ""


def _reasons(run: Run, tasks: list[str]) -> list[str]:
    """Why the tasks failed, without a reason that another one of them quotes."""
    found = [reason for task in tasks if (reason := run.failure_reason(task))]
    return [
        f"\n{reason}" for reason in found if not any(reason in other for other in found if other != reason)
    ]
