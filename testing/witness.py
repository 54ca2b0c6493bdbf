"""What comes and goes while tests run: the containers of a demo, and the command lines of this machine."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Generator

    from docker import APIClient

_PROCESSES, _COMMAND = Path("/proc"), "[0-9]*/cmdline"
_EVERY = 0.5
"""Seconds between two looks at the processes."""


class Witness:
    """Remembers what it sees until it is stopped."""

    def __init__(self) -> None:
        self.containers: dict[str, str] = {}
        """The engine's description of each container, environment included, as JSON by its name."""
        self.commands: set[bytes] = set()
        """Each command line, its words ended by NUL, as in proc(5)."""

    def see_containers(self, engine: APIClient, events: Any) -> None:
        """Remember the containers that the events tell of, until these end."""
        for event in events:
            with contextlib.suppress(NotFound):  # It is gone already.
                container = engine.inspect_container(event["id"])
                self.containers[container["Name"]] = json.dumps(container)

    def see_commands(self, stopped: threading.Event) -> None:
        """Remember the command lines of the processes that begin after this, time and again."""
        before = set(_PROCESSES.glob(_COMMAND))
        while not stopped.wait(_EVERY):
            for file in set(_PROCESSES.glob(_COMMAND)) - before:
                with contextlib.suppress(OSError):  # Its process has ended.
                    self.commands.add(file.read_bytes())


@contextlib.contextmanager
def watching(engine: APIClient, label: str) -> Generator[Witness]:
    """Watch this machine's processes, and the containers that are made with a label."""
    witness, stopped = Witness(), threading.Event()
    events = engine.events(filters={"event": ["create"], "label": [label]}, decode=True)
    threads = [
        threading.Thread(target=witness.see_containers, args=(engine, events), daemon=True),
        threading.Thread(target=witness.see_commands, args=(stopped,), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield witness
    finally:
        stopped.set()
        events.close()
        for thread in threads:
            thread.join()
