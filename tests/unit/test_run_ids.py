"""The ids of the runs that wrappers trigger."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hhvm_packaging.runs.run import (
    WRAPPERS,
    child_run_id,
    child_run_prefix,
    former_child_run_id,
    parse_parent,
)

LONGEST_COLUMN, LONGEST_FILE_NAME = 250, 255
VERSION = "4.172.1"
ASKED: dict[str, Any] = {"version": VERSION, "distros": ["debian-12-bookworm", "debian-13-trixie"]}

# What Airflow allows in an id by default.
RUN_IDS = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.~:+-", min_size=1, max_size=250
)
VERSIONS = st.sampled_from(["1.0.0", "4.172.1", "999.99999.99999", "2026.11.24"])
PARAMETERS = st.fixed_dictionaries({
    "version": VERSIONS,
    "distros": st.lists(st.sampled_from(["debian-12-bookworm", "ubuntu-24.04-noble"])),
})
PARENTS = st.tuples(st.sampled_from(WRAPPERS), RUN_IDS, VERSIONS, PARAMETERS)


def test_an_id_says_whose_run_it_is_and_of_which_version() -> None:
    found = child_run_id("hhvm_build_and_publish", "scheduled__2026-11-28T10:00:00+00:00", VERSION, ASKED)
    start = "scheduled__2026-11-28T10:00:00+00:00__hhvm_build_and_publish__4.172.1__"
    assert found.startswith(start)
    assert len(found) == len(start) + 16


def test_an_id_is_the_same_in_every_version_of_this_project() -> None:
    """Runs that are under way while it is replaced find their children by it."""
    found = child_run_id("hhvm_build_and_publish", "a-run", VERSION, ASKED)
    assert found == child_run_id("hhvm_build_and_publish", "a-run", VERSION, dict(reversed(ASKED.items())))
    assert found == "a-run__hhvm_build_and_publish__4.172.1__6d56341a58809184"


@settings(deadline=None)
@given(PARENTS)
def test_no_id_is_longer_than_airflow_and_its_logs_allow(parent: tuple[str, str, str, Any]) -> None:
    found = child_run_id(*parent)
    assert len(found) <= LONGEST_COLUMN
    assert len(f"run_id={found}") <= LONGEST_FILE_NAME


@settings(deadline=None)
@given(PARENTS, PARENTS)
def test_other_parents_versions_and_parameters_have_other_children(
    one: tuple[str, str, str, Any], other: tuple[str, str, str, Any]
) -> None:
    assert (child_run_id(*one) == child_run_id(*other)) == (one == other)


@pytest.mark.parametrize(
    "other",
    [
        ("hhvm_build_and_publish_multi", "r" * 250, VERSION, ASKED),
        ("hhvm_build_and_publish", "r" * 249, VERSION, ASKED),
        ("hhvm_build_and_publish", "r" * 249 + "s", VERSION, ASKED),
        ("hhvm_build_and_publish", "r" * 250, "4.172.2", ASKED),
        ("hhvm_build_and_publish", "r" * 250, VERSION, {**ASKED, "force": True}),
        ("hhvm_build_and_publish", "r" * 250, VERSION, {**ASKED, "distros": ["debian-13-trixie"]}),
    ],
)
def test_ids_of_long_parents_differ_in_whatever_their_parents_do(other: tuple[str, str, str, Any]) -> None:
    assert child_run_id("hhvm_build_and_publish", "r" * 250, VERSION, ASKED) != child_run_id(*other)


@settings(deadline=None)
@given(PARENTS)
def test_the_parent_is_found_from_the_id(parent: tuple[str, str, str, Any]) -> None:
    dag_id, run_id, version, _ = parent
    child = child_run_id(*parent)
    found = parse_parent(child)
    assert (found.dag_ids, found.version) == ((dag_id,), version)
    assert run_id.startswith(found.run_id) if found.cut else run_id == found.run_id
    assert child.startswith(child_run_prefix(dag_id, run_id, version))


@given(RUN_IDS, VERSIONS)
def test_the_parent_is_found_from_an_id_of_before(run_id: str, version: str) -> None:
    found = parse_parent(former_child_run_id(run_id, version))
    assert (found.dag_ids, found.run_id) == (WRAPPERS, run_id)
