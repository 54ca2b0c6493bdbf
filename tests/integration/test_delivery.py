"""Channels that do not take a message: what that costs, what is said of it, when it is delivered."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socketserver
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook
from airflow.providers.smtp.hooks.smtp import SmtpHook
from pydantic import TypeAdapter

from hhvm_packaging.orchestration import channels
from hhvm_packaging.reporting import delivery
from hhvm_packaging.reporting.delivery import Message
from hhvm_packaging.settings import Channel, settings
from hhvm_packaging.store.buckets import Store
from testing.s3 import s3, s3_server
from testing.serving import serving
from testing.sinks import WebServer, mail_server, web_server

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

__all__ = ["HttpHook", "SlackWebhookHook", "SmtpHook", "s3", "s3_server"]
"""Fixtures; and the hooks, so that no test's time has their import in it."""

MESSAGE = Message(
    event="failed",
    subject="HHVM packaging: hhvm_build failed",
    text="It failed",
    dag_id="hhvm_build",
    run_id="a-run",
    versions=["1.0.0"],
    tasks=["plan"],
    url="http://localhost/",
)
SECRET = "T0/B0/secret"  # ruff: ignore[hardcoded-password-string]
SOON = 2.0
"""Seconds that channels have here, and the store as well."""
SPARE = 5.0
"""Seconds that a busy machine may add."""
PLENTY = 30.0
"""Seconds for what does not hang."""


@pytest.fixture
def store(s3: S3Client) -> Store:
    """A store with nothing in it."""
    return Store(s3, settings())


def channel(**fields: Any) -> Channel:
    """A channel by the connection ``it``."""
    found: Channel = TypeAdapter(Channel).validate_python({"connection": "it", **fields})
    return found


WEBHOOK, SLACK = channel(kind="webhook", path="/hook"), channel(kind="slack")
MAIL = channel(kind="email", to=["a@example.org"])


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a connection of Airflow."""

    def make(conn_id: str, **fields: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return make


def deliver(store: Store, *told: Channel, deadline: float = PLENTY) -> float:
    """Deliver the message, and return the seconds that it took."""
    began = time.monotonic()
    delivery.deliver(channels.send, told, MESSAGE, lambda: store, deadline)
    return time.monotonic() - began


class Said(logging.Handler):
    """What was logged. Pytest's handler is lost when Airflow's configuration of logging comes in between."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += f"{record.getMessage()}\n"


@pytest.fixture
def said() -> Iterator[Said]:
    """What is logged about delivery."""
    logger, handler = logging.getLogger(delivery.__name__), Said()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def kept(store: Store) -> list[dict[str, Any]]:
    """What is kept to be delivered later."""
    return [store.scratch.get_json(key) or {} for key in store.scratch.keys("undelivered/")]


# Servers that do not take messages


class _Silent(socketserver.BaseRequestHandler):
    """Accepts a connection, and never says a word."""

    def handle(self) -> None:
        while self.request.recv(4096):
            pass


class _Dripping(socketserver.BaseRequestHandler):
    """Says a little now and then, so that nothing ever times out, and never comes to an end."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.request.sendall(b"2")
                time.sleep(0.05)


class _Refusing(socketserver.StreamRequestHandler):
    """A mail server that takes no mail for anybody but ``good``."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            if line.startswith(b"data"):
                self.wfile.write(b"354 go on\r\n")
                b"".join(iter(self.rfile.readline, b".\r\n"))
            refused = line.startswith(b"rcpt") and b"good" not in line
            self.wfile.write(b"550 no such user\r\n" if refused else b"250 ok\r\n")


@contextlib.contextmanager
def server(handler: type[socketserver.BaseRequestHandler]) -> Generator[int]:
    """Its port."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    found = Server(("127.0.0.1", 0), handler)
    with serving(found):
        yield int(found.server_address[1])


@contextlib.contextmanager
def encrypted(directory: Path) -> Generator[int]:
    """The port of a server whose certificate nobody has signed."""
    made = (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 1 -keyout key -out certificate"
    )
    subprocess.run(made.split(), cwd=directory, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "certificate", directory / "key")

    class Encrypted(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                context.wrap_socket(self.request, server_side=True)

    with server(Encrypted) as port:
        yield port


@contextlib.contextmanager
def redirecting(status: int) -> Generator[int]:
    """The port of a web server that sends everybody to another one, which accepts everything."""
    with web_server() as other, web_server() as first:
        first.status, first.location = status, f"http://127.0.0.1:{other.port}/login?from={SECRET}"
        yield first.port  # ruff: ignore[fallible-context-manager]
        assert other.posts == []


@contextlib.contextmanager
def answering(status: int) -> Generator[int]:
    """The port of a web server that answers so."""
    with web_server() as found:
        found.status = status
        yield found.port


def http(port: int, host: str = "127.0.0.1", scheme: str = "http") -> dict[str, Any]:
    return {"conn_type": "http", "host": f"{scheme}://{host}:{port}"}


def slack(port: int, host: str = "127.0.0.1", scheme: str = "http") -> dict[str, Any]:
    return {"conn_type": "slackwebhook", "host": f"{scheme}://{host}:{port}/services", "password": SECRET}


def smtp(port: int, host: str = "127.0.0.1", **extra: Any) -> dict[str, Any]:
    plain = {"disable_ssl": True, "disable_tls": True, "from_email": "a@example.org", "retry_limit": 5}
    return {"conn_type": "smtp", "host": host, "port": port, "extra": {**plain, **extra}}


NOWHERE = "no-such-host.invalid"


@pytest.mark.parametrize(
    ("told", "connection", "start", "reason"),
    [
        (MAIL, smtp, lambda _: server(_Silent), "no answer in 2 s"),
        (WEBHOOK, http, lambda _: server(_Silent), "no answer in 2 s"),
        (SLACK, slack, lambda _: server(_Silent), "no answer in 2 s"),
        (MAIL, smtp, lambda _: server(_Dripping), "no answer in 2 s"),
        (WEBHOOK, http, lambda _: server(_Dripping), "no answer in 2 s"),
        (MAIL, smtp, lambda _: server(_Refusing), "550"),
        (WEBHOOK, http, lambda _: answering(500), "127.0.0.1 answered 500"),
        (SLACK, slack, lambda _: answering(404), "127.0.0.1 answered 404"),
        (WEBHOOK, http, lambda _: redirecting(302), "302 Found, which redirects to 127.0.0.1"),
        (WEBHOOK, http, lambda _: redirecting(308), "308 Permanent Redirect, which redirects"),
        (SLACK, slack, lambda _: redirecting(301), "301 Moved Permanently, which redirects"),
        (WEBHOOK, lambda port: http(port, scheme="https"), encrypted, "CERTIFICATE_VERIFY_FAILED"),
        (SLACK, lambda port: slack(port, scheme="https"), encrypted, "CERTIFICATE_VERIFY_FAILED"),
        (MAIL, lambda port: smtp(port, disable_ssl=False), encrypted, "CERTIFICATE_VERIFY_FAILED"),
        (WEBHOOK, lambda port: http(port, scheme="https"), lambda _: answering(200), "WRONG_VERSION_NUMBER"),
        (WEBHOOK, lambda _: http(9), lambda _: server(_Silent), "Connection refused"),
        (MAIL, lambda _: smtp(9), lambda _: server(_Silent), "Connection refused"),
        (WEBHOOK, lambda port: http(port, NOWHERE), lambda _: server(_Silent), NOWHERE),
        (SLACK, lambda port: slack(port, NOWHERE), lambda _: server(_Silent), NOWHERE),
        (MAIL, lambda port: smtp(port, from_email=None), lambda _: server(_Refusing), "no from_email"),
        (MAIL, lambda _: {"conn_type": "smtp"}, lambda _: server(_Silent), "has no host"),
    ],
)
def test_a_channel_that_does_not_take_a_message_costs_seconds_and_the_reason_is_kept(
    told: Channel,
    connection: Callable[[int], dict[str, Any]],
    start: Callable[[Path], Any],
    reason: str,
    store: Store,
    connect: Callable[..., None],
    tmp_path: Path,
    said: Said,
) -> None:
    with start(tmp_path) as port:
        connect("it", **connection(port))
        assert deliver(store, told, deadline=SOON if "no answer" in reason else PLENTY) < 2 * SOON + SPARE
    [undelivered] = kept(store)
    assert re.search(reason, undelivered["reason"])
    assert SECRET not in str(undelivered)
    assert re.search(f"Cannot deliver .* by {told.kind}.*{reason}", said.text)


def test_a_connection_that_does_not_exist_is_named(store: Store) -> None:
    deliver(store, channel(kind="slack", connection="nowhere"))
    assert "nowhere" in kept(store)[0]["reason"]


def test_channels_that_hang_keep_no_other_back(store: Store, connect: Callable[..., None]) -> None:
    with server(_Silent) as silent, web_server() as posts, mail_server() as mails:
        connect("silent_mail", **smtp(silent))
        connect("silent_hook", **http(silent))
        connect("good_hook", **http(posts.port))
        connect("good_mail", **smtp(mails.port))
        took = deliver(
            store,
            channel(kind="email", connection="silent_mail", to=["a@example.org"]),
            channel(kind="webhook", connection="silent_hook"),
            channel(kind="webhook", connection="good_hook"),
            channel(kind="email", connection="good_mail", to=["a@example.org"]),
            deadline=SOON,
        )
        assert took < 2 * SOON + SPARE
        assert [len(posts.posts), len(mails.mails)] == [1, 1]
    assert {one["channel"]["connection"] for one in kept(store)} == {
        "silent_mail",
        "silent_hook",
    }


def test_an_address_that_is_refused_keeps_no_other_back(store: Store, connect: Callable[..., None]) -> None:
    with server(_Refusing) as port:
        connect("it", **smtp(port))
        deliver(store, channel(kind="email", to=["bad@example.org", "good@example.org"]))
    assert [undelivered["channel"]["to"] for undelivered in kept(store)] == [["bad@example.org"]]


def test_all_of_it_ends_before_airflow_kills_a_callback_even_if_the_store_hangs(
    connect: Callable[..., None], said: Said
) -> None:
    def never() -> Store:
        threading.Event().wait()
        raise AssertionError

    began = time.monotonic()
    connect("it", **http(9))
    delivery.deliver(channels.send, [WEBHOOK], MESSAGE, never, SOON)
    assert time.monotonic() - began < 2 * SOON + SPARE
    assert "and not kept: no answer in 2 s" in said.text
    assert 2 * delivery.DEADLINE < 50 / 1.5


# Afterwards


@pytest.fixture
def down(connect: Callable[..., None], store: Store) -> Iterator[WebServer]:
    """A webhook that was down when a message was to be delivered."""
    with web_server() as posts:
        connect("it", **http(posts.port))
        posts.status = 503
        deliver(store, WEBHOOK)
        posts.posts.clear()
        yield posts


def deliver_late(store: Store, *known: Channel, after: timedelta = timedelta(0)) -> list[str]:
    now = datetime.now(UTC) + after
    return delivery.deliver_late(channels.send, known or [WEBHOOK], store, now=now, deadline=PLENTY)


def test_what_a_channel_did_not_take_is_told_once_when_it_is_up_again(store: Store, down: WebServer) -> None:
    assert "is not delivered yet: 127.0.0.1 answered 503" in deliver_late(store)[0]
    down.status = 200
    assert deliver_late(store)[0].endswith("is delivered")
    assert deliver_late(store) == []
    [_, (_, late)] = down.posts
    assert late["id"] == MESSAGE.id
    assert late["text"].startswith("This message is late: it is of ")
    assert late["text"].endswith("Then: 127.0.0.1 answered 503 Service Unavailable\n\nIt failed")


def test_what_every_channel_took_is_not_told_again(store: Store, connect: Callable[..., None]) -> None:
    with web_server() as posts:
        connect("it", **http(posts.port))
        deliver(store, WEBHOOK, WEBHOOK)
        assert deliver_late(store) == []
        assert len(posts.posts) == 1


def test_the_oldest_is_told_first_and_a_channel_that_is_down_is_asked_only_once(
    store: Store, down: WebServer
) -> None:
    later = MESSAGE.model_copy(update={"id": "b", "text": "later"})
    delivery.deliver(channels.send, [WEBHOOK], later, lambda: store, PLENTY)
    down.posts.clear()
    assert len(deliver_late(store)) == len(down.posts) == 1
    down.status = 200
    down.posts.clear()
    assert len(deliver_late(store)) == 2
    assert [post["text"].rpartition("\n")[2] for _, post in down.posts] == ["It failed", "later"]


def test_what_is_too_old_or_for_a_channel_that_there_is_no_more_is_told_no_more(
    store: Store, down: WebServer
) -> None:
    down.status = 200
    down.posts.clear()
    delivery.deliver(
        channels.send, [channel(kind="webhook", connection="gone")], MESSAGE, lambda: store, PLENTY
    )
    assert ["too old" in line for line in deliver_late(store, after=timedelta(days=8))] == [True, True]
    assert kept(store) == []
    assert down.posts == []


def test_an_object_that_is_no_message_is_named_and_keeps_nothing_back(
    store: Store, down: WebServer, said: Said
) -> None:
    store.scratch.put("undelivered/damaged.json", b"{")
    down.status = 200
    assert len(deliver_late(store)) == 1
    assert "undelivered/damaged.json is no message" in said.text


def test_a_store_that_dies_after_a_message_is_told_has_it_told_with_the_same_id(
    store: Store, down: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever receives it can drop the second one."""
    down.status = 200
    [key] = store.scratch.keys("undelivered/")
    content = store.scratch.get(key)
    deliver_late(store)
    store.scratch.put(key, content or b"")
    deliver_late(store)
    assert len({post["id"] for _, post in down.posts}) == 1
