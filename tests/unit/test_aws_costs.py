"""The costs in docs/aws.md."""

from __future__ import annotations

from pathlib import Path

from benchmarks.aws_costs import Load, costs, table
from hhvm_packaging.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_the_guide_is_what_the_script_computes() -> None:
    assert table(Load(), Settings()) in (ROOT / "docs/aws.md").read_text()


def test_builds_cost_by_the_hour() -> None:
    once, twice = (next(iter(costs(Load(build_hours=hours), Settings()).values())) for hours in (1, 2))
    assert twice == 2 * once
