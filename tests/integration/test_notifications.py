"""Who is told what, with Airflow's own notifiers and servers that really take it."""

from __future__ import annotations

import datetime
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from pydantic import ValidationError

from hhvm_packaging.orchestration import notifications
from hhvm_packaging.runs.run import FAILURE_REASON
from hhvm_packaging.settings import Settings, settings
from testing.sinks import MailServer, WebServer, mail_server, web_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

SAID = "HHVM 1.0.0: 1 of 2 failed\nFAILED HHVM 1.0.0, debian-13-trixie: <{{ 1 + 1 }}> & more"
CHANNELS = [
    {"kind": "email", "connection": "a_mail", "to": ["releases@example.org", "second@example.org"]},
    {"kind": "slack", "connection": "a_slack"},
    {"kind": "webhook", "connection": "a_hook", "path": "/hooks/hhvm"},
]
STATES = {"plan": "failed", "make_binary_package_1": "failed", "build_report": "failed"}


class Ti:
    """A task instance, as far as a notifier asks it."""

    dag_id, task_id, map_index = "hhvm_build", "build_report", -1
    planned: Any = None
    """What the task `plan` returned."""

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        return dict.fromkeys(run_ids, STATES if dag_id == self.dag_id else {})

    def xcom_pull(self, task_ids: str, map_indexes: int, key: str) -> Any:
        if (task_ids, map_indexes, key) == ("plan", -1, "return_value"):
            return self.planned
        reasons = {"build_report": SAID, "plan": SAID[:20]}
        return reasons.get(task_ids) if (map_indexes, key) == (-1, FAILURE_REASON) else None


def a_dag() -> DAG:
    """One with two tasks."""
    with DAG("hhvm_build", schedule=None) as found:
        EmptyOperator(task_id="plan") >> EmptyOperator(task_id="build_report")
    return found


def context(**params: Any) -> Context:
    """What Airflow gives a callback."""
    found = {
        "dag": a_dag(),
        "run_id": "manual__2026-11-24T00:00:00+00:00",
        "dag_run": SimpleNamespace(
            run_after=datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC), logical_date=None
        ),
        "ti": Ti(),
        "task": SimpleNamespace(subject="Publish HHVM 1.0.0?", body=r"\- 1\.0\.0\-1\~bookworm is built\."),
        "params": params,
        "reason": "task_failure",
    }
    return cast("Context", found)


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """The mail server that the connection ``a_mail`` leads to."""
    with mail_server() as server:
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.org"}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_A_MAIL", json.dumps(connection))
        yield server


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """The web server that the connections ``a_slack`` and ``a_hook`` lead to."""
    with web_server() as server:
        url = f"http://127.0.0.1:{server.port}"
        slack = {"conn_type": "slackwebhook", "host": f"{url}/services", "password": "T0/B0/secret"}
        monkeypatch.setenv("AIRFLOW_CONN_A_SLACK", json.dumps(slack))
        monkeypatch.setenv("AIRFLOW_CONN_A_HOOK", json.dumps({"conn_type": "http", "host": url}))
        yield server


@pytest.fixture
def all_channels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A deployment that tells people in every way."""
    monkeypatch.setenv("HHVM_PACKAGING_NOTIFY", json.dumps(CHANNELS))
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("all_channels")
def test_a_failed_run_is_told_by_mail_slack_and_webhook(mails: MailServer, posts: WebServer) -> None:
    for notifier in notifications.failed():
        notifier(context(version="1.0.0"))
    assert {mail["To"] for mail in mails.mails} == {"releases@example.org", "second@example.org"}
    mail = mails.mails[0]
    assert mail["Subject"] == "HHVM packaging: hhvm_build failed: HHVM 1.0.0"
    assert mail["From"] == "airflow@example.org"
    text = mail.get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert "debian-13-trixie: &lt;{{ 1 + 1 }}&gt; &amp; more" in text
    (hook_path, hook), (slack_path, slack) = sorted(posts.posts)
    assert slack_path == "/services/T0/B0/secret"
    assert "debian-13-trixie: &lt;{{ 1 + 1 }}&gt; &amp; more" in slack["text"]
    assert slack["mrkdwn"] is False
    assert hook_path == "/hooks/hhvm"
    assert hook["text"].endswith(f"Its page: {hook['url']}\n\n{SAID}")
    assert hook["tasks"] == ["build_report", "make_binary_package_1", "plan"]
    assert hook["url"].endswith("/dags/hhvm_build/runs/manual__2026-11-24T00%3A00%3A00%2B00%3A00")


@pytest.mark.usefixtures("all_channels")
def test_what_waits_for_a_person_is_told_with_the_place_to_answer(
    mails: MailServer, posts: WebServer
) -> None:
    for notifier in notifications.waiting():
        notifier(context(version="1.0.0"))
    assert {mail["Subject"] for mail in mails.mails} == {
        "HHVM packaging: hhvm_build waits for a person: HHVM 1.0.0"
    }
    (_, hook), _ = sorted(posts.posts)
    assert hook["event"] == "waiting"
    assert "Publish HHVM 1.0.0?" in hook["text"]
    assert hook["text"].endswith("\n- 1.0.0-1~bookworm is built.")  # Not as Markdown.
    assert hook["url"].endswith("/tasks/build_report/required_actions")


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"version": "nightly"}, ": HHVM 2026.11.24"),
        ({"versions": ["1.0.0", "1.1.0"]}, ": HHVM 1.0.0, 1.1.0"),
        ({"version": "no version"}, ": HHVM no version"),
        ({"dry_run": False}, ""),
    ],
)
@pytest.mark.usefixtures("all_channels")
def test_a_message_names_the_versions_that_the_run_was_told(params: dict[str, Any], named: str) -> None:
    told = notifications.RunFailed().message({**context(**params)})
    assert told.subject == f"HHVM packaging: hhvm_build failed{named}"


@pytest.mark.parametrize(
    "planned", [{"version": "26.09.29"}, [{"version": "26.09.29"}, {"version": "1.0.0"}]]
)
@pytest.mark.usefixtures("all_channels")
def test_a_message_has_the_one_spelling_of_a_release_once_it_is_planned(planned: Any) -> None:
    found: dict[str, Any] = {**context(version="26.9.29")}
    found["ti"].planned = planned
    versions = [one["version"] for one in (planned if isinstance(planned, list) else [planned])]
    assert notifications.RunFailed().message(found).versions == versions


@pytest.mark.usefixtures("all_channels")
def test_a_run_of_which_airflow_tells_little_is_told_all_the_same() -> None:
    known = {"dag": context()["dag"], "run_id": "a-run", "reason": "timed_out"}
    told = notifications.RunFailed().message(known)
    assert "Failed: no task of it (timed_out)" in told.text


def test_nobody_is_told_unless_settings_say_so() -> None:
    settings.cache_clear()
    assert notifications.failed() == notifications.waiting() == []


@pytest.mark.parametrize(
    ("channel", "fault"),
    [
        ({"kind": "pigeon"}, r"notify.0\n.*'email', 'slack', 'webhook'"),
        ({"kind": "email"}, r"notify.0.email.to\n.*Field required"),
        ({"kind": "email", "to": []}, r"notify.0.email.to\n.*at least 1 item"),
        ({"kind": "email", "to": ["a@example.org, b@example.org"]}, r"notify.0.email.to.0\n"),
        ({"kind": "webhook", "connection": ""}, r"notify.0.webhook.connection\n"),
        ({"kind": "slack", "password": "secret"}, r"notify.0.slack.password\n.*not permitted"),
    ],
)
def test_a_channel_that_there_is_not_is_refused_by_the_settings_by_name(
    channel: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValidationError, match=fault):
        Settings(notify=[channel])  # type: ignore[list-item]
