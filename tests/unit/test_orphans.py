"""Which runs are cancelled because the run that triggered them was."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.runs.api import DagRun
from hhvm_packaging.upkeep import orphans

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BEFORE, THEN, AFTER = (datetime.datetime(2026, 11, 25, hour, tzinfo=datetime.UTC) for hour in (1, 2, 3))


def run(run_id: str, state: str, queued_at: datetime.datetime, end: datetime.datetime | None) -> DagRun:
    return DagRun(dag_run_id=run_id, state=state, queued_at=queued_at, end_date=end)


class Api:
    """An Airflow with these runs."""

    def __init__(self, children: Iterable[DagRun], parent: DagRun | None) -> None:
        self.children, self.parent = children, parent
        self.failed: list[tuple[str, str]] = []

    def runs(self, dag_id: str, *, states: Sequence[str]) -> Iterable[DagRun]:
        assert set(states) == {"queued", "running"}
        return self.children if dag_id == "hhvm_build" else []

    def run(self, dag_id: str, run_id: str) -> DagRun | None:
        ours = self.parent and (dag_id, run_id) == ("hhvm_build_and_publish_multi", self.parent.run_id)
        return self.parent if ours else None

    def fail_run(self, dag_id: str, run_id: str) -> None:
        self.failed.append((dag_id, run_id))


def test_a_run_whose_parent_failed_while_it_was_under_way_is_cancelled_and_named() -> None:
    parent = run("manual__1", "failed", BEFORE, AFTER)
    api = Api([run("manual__1__1.0.0", "running", THEN, None)], parent)
    [line] = orphans.cancel(api)  # type: ignore[arg-type]
    assert api.failed == [("hhvm_build", "manual__1__1.0.0")]
    assert line.startswith(
        "cancelled hhvm_build run manual__1__1.0.0: hhvm_build_and_publish_multi run manual__1,"
    )


@pytest.mark.parametrize(
    "parent",
    [
        None,
        run("manual__1", "running", BEFORE, None),
        run("manual__1", "success", BEFORE, AFTER),
        run("manual__2", "failed", BEFORE, AFTER),
    ],
)
def test_a_run_goes_on_whose_parent_has_not_failed_or_that_has_none(parent: DagRun | None) -> None:
    api = Api([run("manual__1__1.0.0", "running", THEN, None)], parent)
    assert list(orphans.cancel(api)) == []  # type: ignore[arg-type]
    assert api.failed == []


def test_a_run_that_was_cleared_after_its_parent_failed_goes_on() -> None:
    parent = run("manual__1", "failed", BEFORE, THEN)
    api = Api([run("manual__1__1.0.0", "running", AFTER, None)], parent)
    assert list(orphans.cancel(api)) == []  # type: ignore[arg-type]
