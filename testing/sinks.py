"""Servers that take whatever is sent to them: a mail server and a web server."""

from __future__ import annotations

import contextlib
import email
import email.policy
import http.server
import json
import socketserver
from typing import TYPE_CHECKING, Any

from testing.serving import serving

if TYPE_CHECKING:
    from collections.abc import Generator
    from email.message import EmailMessage


class MailServer(socketserver.ThreadingTCPServer):
    """Accepts every mail, as RFC 5321 has it, and keeps it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.mails: list[EmailMessage] = []

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self.server_address[1])


class _Smtp(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 sink")
        for line in self.rfile:
            verb = line[:4].upper().strip()
            if verb == b"DATA":
                self._say("354 go on")
                content = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(email.message_from_bytes(content, policy=email.policy.default))
            self._say("221 bye" if verb == b"QUIT" else "250 ok")
            if verb == b"QUIT":
                return

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class WebServer(http.server.ThreadingHTTPServer):
    """Accepts every JSON, and keeps it with its path; refuses it with ``status``, or sends it elsewhere."""

    daemon_threads = True
    status = 200
    location = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Http)
        self.posts: list[tuple[str, dict[str, Any]]] = []

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self.server_address[1])


class _Http(http.server.BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        self.server.posts.append((self.path, {}))
        self.send_response(self.server.status)
        self.end_headers()

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, json.loads(content)))
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def mail_server() -> Generator[MailServer]:
    """One that runs for as long as the ``with`` statement takes."""
    server = MailServer()
    with serving(server):
        yield server


@contextlib.contextmanager
def web_server() -> Generator[WebServer]:
    """Likewise."""
    server = WebServer()
    with serving(server):
        yield server
