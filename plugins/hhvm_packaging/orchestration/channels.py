"""Sends a message to one channel, through the hook of its Airflow connection.

A channel has taken a message only if its server says so: a redirect or an error page is no answer.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hhvm_packaging.settings import Email, Slack

if TYPE_CHECKING:
    from requests import Response, Session

    from hhvm_packaging.reporting.delivery import Message
    from hhvm_packaging.settings import Channel, Webhook

_TIMEOUT = 8
"""Seconds that a server may be silent."""


class NotTaken(Exception):
    """The channel did not take the message. The text says why, and has no secret."""


def send(channel: Channel, message: Message) -> None:
    """Send the message. Raises an exception that says why, if the channel does not take it."""
    if isinstance(channel, Email):
        _mail(channel, message)
    elif isinstance(channel, Slack):
        _post_to_slack(channel, message)
    else:
        _post(channel, message)


def _mail(channel: Email, message: Message) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    class Once(SmtpHook):
        """One try, which ends in time. The connection may say otherwise, but Airflow waits here."""

        timeout = _TIMEOUT
        smtp_retry_limit = 0

    if not SmtpHook.get_connection(channel.connection).host:
        raise NotTaken(f"the connection {channel.connection} has no host")
    with Once(smtp_conn_id=channel.connection) as smtp:
        if not smtp.from_email:
            raise NotTaken(f"the connection {channel.connection} has no from_email in its extra fields")
        smtp.send_email_smtp(
            to=list(channel.to),
            from_email=smtp.from_email,
            subject=message.subject,
            html_content=f"<pre>{html.escape(message.text)}</pre>",
            custom_headers={"Message-ID": f"<{message.id}@hhvm-packaging>"},
        )


def _post_to_slack(channel: Slack, message: Message) -> None:
    import requests
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    client = SlackWebhookHook(slack_webhook_conn_id=channel.connection).client
    # Slack requires exactly &, < and > to be escaped. Its Markdown would strike through between tildes.
    body = {"text": html.escape(message.text, quote=False), "mrkdwn": False, "unfurl_links": False}
    with requests.Session() as session:
        if client.proxy:
            session.proxies = {"http": client.proxy, "https": client.proxy}
        _send(session, client.url, body)


def _post(channel: Webhook, message: Message) -> None:
    from airflow.providers.http.hooks.http import HttpHook

    hook = HttpHook(method="POST", http_conn_id=channel.connection)
    with hook.get_conn() as session:
        _send(session, hook.url_from_endpoint(channel.path), message.model_dump())


def _send(session: Session, url: str, body: object) -> None:
    """Post JSON. Raises NotTaken, whose text does not have the URL: part of it may be a secret."""
    from requests import RequestException

    try:
        # Followed, a redirect would become a GET without the message.
        answer = session.post(url, json=body, timeout=_TIMEOUT, allow_redirects=False)
    except RequestException as error:
        raise NotTaken(f"{urlsplit(url).hostname}: {_innermost(error)}") from None
    if answer.status_code // 100 != 2:
        raise NotTaken(f"{urlsplit(url).hostname} answered {_say(answer)}")


def _say(answer: Response) -> str:
    to = f", which redirects to {urlsplit(answer.headers['Location']).hostname}" if answer.is_redirect else ""
    return f"{answer.status_code} {answer.reason}{to}"


def _innermost(error: BaseException) -> str:
    """The reason, without what the outer errors say about the request."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__
