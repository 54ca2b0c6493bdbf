"""The public bucket as users see it: a plain static file server, in place of dl.hhvm.com.

``python -m deploy.downloads ADDRESS PORT DIRECTORY``
"""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # apt asks for many files over one connection


class _Server(ThreadingHTTPServer):
    request_queue_size = 64


def main(address: str, port: str, directory: str) -> None:
    """Serve until killed."""
    with _Server((address, int(port)), partial(_Handler, directory=directory)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
