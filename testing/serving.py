"""Servers in threads of the tests' own process."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from socketserver import BaseServer

_NOTICES = 0.02
"""Seconds after which a server notices that it shall end. By default it is half a second for each."""


@contextlib.contextmanager
def serving(server: BaseServer) -> Generator[None]:
    """Have the server answer for as long as the ``with`` statement takes."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(_NOTICES,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def serving_json(answer: Callable[[str, str, Any], tuple[object, int]]) -> Generator[str]:
    """Have a server answer in JSON on a port of 127.0.0.1. Yields its URL.

    ``answer`` gets the method, the path with its query, and the body, which is None if there is none. It
    returns the content and the status of the answer.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            sent = json.loads(self.rfile.read(size)) if size else None
            found, status = answer(self.command, self.path, sent)
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def do_PATCH(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"
