"""Notifications for people, about runs that failed and tasks that wait for a person.

Airflow's own notifiers send them. The settings name the channels; connections hold what is secret.
"""

from __future__ import annotations

import datetime
import html
from abc import abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from hhvm_packaging.orchestration import task_context
from hhvm_packaging.release import InvalidVersion, Release
from hhvm_packaging.settings import Email, Slack, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from hhvm_packaging.runs.run import Run
    from hhvm_packaging.settings import Channel

_LONGEST = 10_000
"""The most characters of a message. The page of the report has the whole text."""
_TIMEOUT = 30
"""The most seconds that a web server may take to answer."""


def failed() -> list[BaseNotifier]:
    """The ``on_failure_callback`` of a DAG: a notifier for each channel of the settings."""
    return [RunFailed(channel) for channel in settings().notify]


def waiting() -> list[BaseNotifier]:
    """The ``notifiers`` of a task that waits for an approval: one for each channel of the settings."""
    return [PersonNeeded(channel) for channel in settings().notify]


@dataclass(frozen=True)
class Message:
    """A message. A webhook gets these fields as JSON; other channels get subject and text."""

    event: str
    subject: str
    text: str
    """It says everything that the other fields say."""
    dag_id: str
    run_id: str
    versions: list[str]
    tasks: list[str]
    """The ids of the tasks that failed or wait."""
    url: str
    """The page in Airflow to open."""


class _Notifier(BaseNotifier):
    """Send a message to one channel. An error of the channel is logged, and affects nothing else."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.channel = channel

    def notify(self, context: Context) -> None:
        """Send the message. Nothing in it is rendered as a template."""
        how = f"{self.channel.kind}, connection {self.channel.connection}"
        try:
            make_notifier(self.channel, self.message(context)).notify(context)
        except Exception:
            # Raised again, it would fail the task that waits.
            self.log.exception("Cannot send a notification by %s", how)
        else:
            self.log.info("Sent a notification by %s", how)

    @abstractmethod
    def message(self, context: Mapping[str, Any]) -> Message:
        """Write the message."""


class RunFailed(_Notifier):
    """Say which run and which tasks failed, and quote the run's report."""

    def message(self, context: Mapping[str, Any]) -> Message:
        """Write the message from the context of a DAG's callback."""
        run, versions = task_context.read_run(context), _versions(context)
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
            _versions(context),
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
            asked.body or "",
        ]
        return _message("waiting", subject, lines, run, versions, [ti.task_id], url)


def make_notifier(channel: Channel, message: Message) -> BaseNotifier:
    """Make Airflow's notifier that sends the message to the channel."""
    if isinstance(channel, Email):
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        return SmtpNotifier(
            smtp_conn_id=channel.connection,
            to=channel.to,
            subject=message.subject,
            html_content=f"<pre>{html.escape(message.text)}</pre>",
        )
    if isinstance(channel, Slack):
        from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

        # Slack requires exactly &, < and > to be escaped.
        text = html.escape(message.text, quote=False)
        return SlackWebhookNotifier(
            slack_webhook_conn_id=channel.connection, text=text, timeout=_TIMEOUT, unfurl_links=False
        )
    from airflow.providers.http.notifications.http import HttpNotifier

    return HttpNotifier(
        http_conn_id=channel.connection,
        endpoint=channel.path,
        json=asdict(message),
        extra_options={"timeout": _TIMEOUT},
    )


def _message(
    event: str, subject: str, lines: list[str], run: Run, versions: list[str], tasks: list[str], url: str
) -> Message:
    text = "\n".join(lines).strip()
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}\n(and so on: see {url})"
    return Message(event, f"HHVM packaging: {subject}", text, run.dag_id, run.run_id, versions, tasks, url)


def _of(versions: list[str]) -> str:
    return f": HHVM {', '.join(versions)}" if versions else ""


def _versions(context: Mapping[str, Any]) -> list[str]:
    """The versions that the run works on. Empty for a DAG that has no such parameter."""
    params, run = context.get("params") or {}, context.get("dag_run")
    asked = params.get("versions") or [params.get("version")]
    today = (run.run_after if run else datetime.datetime.now(datetime.UTC)).astimezone(datetime.UTC).date()
    return [_version(version, today) for version in asked if version]


def _version(asked: object, today: datetime.date) -> str:
    try:
        return Release.parse(asked, today=today).version
    except InvalidVersion:
        return str(asked)


def _reasons(run: Run, tasks: list[str]) -> list[str]:
    """Why the tasks failed, without a reason that another one of them quotes."""
    found = [reason for task in tasks if (reason := run.failure_reason(task))]
    return [
        f"\n{reason}" for reason in found if not any(reason in other for other in found if other != reason)
    ]
