"""The demo's output: each part with its seconds as it ends, and a table of all parts at the end."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_STYLES = {"success": "green", "failed": "bold red", "upstream_failed": "red", "up_for_retry": "yellow"}


class Progress:
    """Plain lines, with colour on a terminal. Parts may run side by side."""

    def __init__(self, started: float | None = None) -> None:
        # In a pipe or a file, lines must not be wrapped.
        self.console = Console(highlight=False, soft_wrap=True)
        self.started = started or time.time()
        self._parts: list[tuple[str, float]] = []

    @classmethod
    def since_make(cls) -> Progress:
        """The progress of ``make``: its first part is what make did before Python started."""
        began = float(os.environ.get("DEMO_STARTED") or time.time())
        progress = cls(began)
        progress._parts.append(("virtual environment", time.time() - began))
        return progress

    @contextmanager
    def part(self, title: str) -> Generator[Callable[[str], None]]:
        """Time a part. Yields a function that prints one line of it."""
        began = time.time()

        def say(line: str) -> None:
            self.line(title, escape(line))

        try:
            yield say
        except BaseException:
            self.line(title, f"[bold red]failed after {time.time() - began:.1f} s[/]")
            raise
        seconds = time.time() - began
        self._parts.append((title, seconds))
        self.line(title, f"[green]done in {seconds:.1f} s[/]")

    def line(self, title: str, text: str) -> None:
        """Print a line with the time since the start and its part."""
        self.console.print(f"[dim]{time.time() - self.started:6.1f} s[/]  [bold]{title:<26}[/]  {text}")

    def task(self, title: str, name: str, state: str, seconds: float) -> None:
        """Print a line for a task whose state changed."""
        took = f" ({seconds:.1f} s)" if state != "running" else ""
        style = _STYLES.get(state, "default")
        self.line(title, f"{escape(name):<44} [{style}]{state.replace('_', ' ')}[/]{took}")

    def block(self, text: str) -> None:
        """Print lines as they are."""
        self.console.print(escape(text))

    def table(self) -> None:
        """Print every part with its seconds. Parts overlap, so the total is less than their sum."""
        table = Table("part", "seconds", title="Where the time went", title_justify="left")
        table.columns[1].justify = "right"
        for title, seconds in self._parts:
            table.add_row(title, f"{seconds:.1f}")
        table.add_section()
        table.add_row("total (parts overlap)", f"{time.time() - self.started:.1f}")
        self.console.print(table)
