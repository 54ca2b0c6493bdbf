"""Which runs are cancelled because the run that triggered them was."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.runs.api import DagRun
from hhvm_packaging.runs.run import child_run_id
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

    def runs(self, dag_id: str, *, states: Sequence[str], prefix: str = "") -> Iterable[DagRun]:
        if dag_id == "hhvm_build":
            assert set(states) == {"queued", "running"}
            return self.children
        ours = self.parent and dag_id == "hhvm_build_and_publish_multi"
        found = [self.parent] if ours and self.parent and self.parent.state in states else []
        return [one for one in found if one.run_id.startswith(prefix)]

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


@pytest.mark.parametrize("length", [10, 250])
def test_a_childs_parent_is_found_by_the_dag_in_its_id_however_long_that_is(length: int) -> None:
    wrapper, of = "hhvm_build_and_publish_multi", "m" * length
    child = child_run_id(wrapper, of, "1.0.0", {"version": "1.0.0"})
    api = Api([run(child, "running", THEN, None)], run(of, "failed", BEFORE, AFTER))
    assert len(list(orphans.cancel(api))) == 1  # type: ignore[arg-type]
    other = child_run_id("hhvm_build_and_publish", of, "1.0.0", {"version": "1.0.0"})
    api = Api([run(other, "running", THEN, None)], run(of, "failed", BEFORE, AFTER))
    assert list(orphans.cancel(api)) == []  # type: ignore[arg-type]


def test_the_child_of_a_run_whose_long_id_begins_alike_goes_on() -> None:
    wrapper = "hhvm_build_and_publish_multi"
    child = child_run_id(wrapper, "m" * 249 + "1", "1.0.0", {"version": "1.0.0"})
    api = Api([run(child, "running", THEN, None)], run("m" * 249 + "2", "failed", BEFORE, AFTER))
    assert list(orphans.cancel(api)) == []  # type: ignore[arg-type]


def test_a_run_that_was_cleared_after_its_parent_failed_goes_on() -> None:
    parent = run("manual__1", "failed", BEFORE, THEN)
    api = Api([run("manual__1__1.0.0", "running", AFTER, None)], parent)
    assert list(orphans.cancel(api)) == []  # type: ignore[arg-type]
