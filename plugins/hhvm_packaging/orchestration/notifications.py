"""Telling people, through Airflow's own notifiers, of runs that fail and of what waits for them.

The settings say who is told, and how; the connections that they name have whatever is secret.
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
"""Characters of a message; the report's page has all of it."""
_TIMEOUT = 30
"""Seconds for a web server to answer."""


def failed() -> list[BaseNotifier]:
    """What tells of a run that failed: a DAG's ``on_failure_callback``. Empty where nobody is to be told."""
    return [RunFailed(channel) for channel in settings().notify]


def waiting() -> list[BaseNotifier]:
    """What tells of a task that waits for a person: for the ``notifiers`` of an approval. Empty likewise."""
    return [PersonNeeded(channel) for channel in settings().notify]


@dataclass(frozen=True)
class Message:
    """What people are told. A webhook gets it as it is here."""

    event: str
    subject: str
    text: str
    """With all that the other fields say."""
    dag_id: str
    run_id: str
    versions: list[str]
    tasks: list[str]
    """Those that failed, or wait."""
    url: str
    """Where to go."""


class _Notifier(BaseNotifier):
    """Tells one channel. A channel that fails is logged, and keeps neither the others nor the task back."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.channel = channel

    def notify(self, context: Context) -> None:
        """Send the message, which is not a template, whatever is in it."""
        how = f"{self.channel.kind}, connection {self.channel.connection}"
        try:
            through(self.channel, self.message(context)).notify(context)
        except Exception:
            # Airflow would fail the task that waits, which has done nothing wrong.
            self.log.exception("Nobody was told by %s", how)
        else:
            self.log.info("Told by %s", how)

    @abstractmethod
    def message(self, context: Mapping[str, Any]) -> Message:
        """What to say."""


class RunFailed(_Notifier):
    """Tells which run failed, where, and all that its report says."""

    def message(self, context: Mapping[str, Any]) -> Message:
        """From what Airflow gives the callback of a DAG."""
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
    """Tells what waits for a person's answer, and where to give it."""

    def message(self, context: Mapping[str, Any]) -> Message:
        """From the context of the task that waits."""
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


def through(channel: Channel, message: Message) -> BaseNotifier:
    """Airflow's notifier that sends the message to the channel."""
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

        # Slack has these very three characters escaped.
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
    """What the run works on; none for a DAG that is told no version."""
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
    """What the failed tasks left, but for what a report among them says too."""
    found = [reason for task in tasks if (reason := run.failure_reason(task))]
    return [
        f"\n{reason}" for reason in found if not any(reason in other for other in found if other != reason)
    ]
