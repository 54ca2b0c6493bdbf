"""The arithmetic of the benchmark of orchestration."""

from __future__ import annotations

import pytest

from benchmarks.orchestration import FOR_BUILDS, FOR_SOURCE, HHVM, Span, StepFunctions, idle


def job(began: float, ended: float) -> Span:
    return Span("run", "task", -1, began, ended)


@pytest.mark.parametrize(
    ("jobs", "dead"),
    [
        ([], 10),
        ([job(0, 10)], 0),
        ([job(2, 4)], 8),
        ([job(2, 4), job(6, 7)], 7),
        # Those that overlap, or lie within one another, do not count twice.
        ([job(2, 6), job(4, 8)], 4),
        ([job(2, 8), job(3, 4), job(9, 10)], 3),
        # Nor does what is outside.
        ([job(-5, -1), job(-1, 2), job(9, 20), job(30, 40)], 7),
    ],
)
def test_dead_is_the_time_in_which_no_job_runs(jobs: list[Span], dead: float) -> None:
    assert idle(0, 10, jobs) == dead


@pytest.mark.parametrize(
    ("duration", "lost"),
    [
        # In minutes 2, 4, 6: the source tarball's four and a half are seen at six.
        (4 * 60 + 38, (82, 0, 120)),
        (240, (0, 0, 120)),
        # Whatever is shorter than the first wait takes that long.
        (20, (100, 100, 100)),
        (None, (60, 0, 120)),
    ],
)
def test_a_step_function_sees_the_end_at_its_next_look(
    duration: float | None, lost: tuple[float, float, float]
) -> None:
    assert FOR_SOURCE.lost(duration) == lost


def test_a_build_of_seconds_is_seen_after_half_an_hour() -> None:
    assert FOR_BUILDS.lost(30)[0] == 1770


def test_the_published_durations_leave_the_step_functions_three_minutes_with_nothing_running() -> None:
    dead = StepFunctions(HHVM).dead()
    assert (dead.before, dead.between, dead.after, dead.total) == (0, 82, 35 + 30 + 30, 177)
