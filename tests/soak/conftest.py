"""Fixtures of the soak tests, and the table of what AWS's faults led to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testing.short_builds import deployment

if TYPE_CHECKING:
    import pytest

__all__ = ["deployment"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded as rows of a table, by the table's heading, in order."""
    reports = [each for found in terminalreporter.stats.values() for each in found]
    rows = [
        (heading, *row)
        for report in reports
        if getattr(report, "when", "") == "call"
        for heading, row in report.user_properties
    ]
    for heading in dict.fromkeys(heading for heading, *_ in rows):
        terminalreporter.write_line(f"\n{heading}")
        for row in sorted(rows):
            if row[0] == heading:
                terminalreporter.write_line(row[2])
