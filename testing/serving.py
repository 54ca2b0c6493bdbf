"""Servers in threads of the tests' own process."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
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
