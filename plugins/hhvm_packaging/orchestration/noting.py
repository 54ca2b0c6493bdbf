"""Noting: tasks write into their run's note what it is for and what became of it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowNotFoundException

from hhvm_packaging.errors import PackagingError
from hhvm_packaging.orchestration import connections, task_context
from hhvm_packaging.reporting import run_notes
from hhvm_packaging.runs.api import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hhvm_packaging.planning.request import Request

P = ParamSpec("P")

_PATIENCE = 60
"""Seconds for which a note is tried again: nothing else writes it later if Airflow was busy."""


def note_state(requests: Sequence[Request], state: str, context: Mapping[str, Any]) -> None:
    """Note what the task's run does now for the requests, such as ``building``."""
    distros = dict.fromkeys(distro for request in requests for distro in request.distros)
    _put(run_notes.write([request.version for request in requests], distros, state), context)


def note_outcome(report: Callable[P, str]) -> Callable[P, str]:
    """Decorate the function of a task that reports: the headlines of its report become the run's note."""

    @functools.wraps(report)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> str:
        context = get_current_context()
        try:
            text = report(*args, **kwargs)
        except PackagingError as error:
            note_end(str(error), context)
            raise
        note_end(text, context)
        return text

    return reporting


def note_end(report: str, context: Mapping[str, Any]) -> None:
    """Note how the run ended: the headlines of a report."""
    _put(run_notes.write_outcome(task_context.read_versions(context), report), context)


def note_failure(context: Mapping[str, Any]) -> None:
    """Note which tasks failed, and why. The ``on_failure_callback`` of a DAG.

    For a DAG whose last task does not run if another one has failed.
    """
    run = task_context.read_run(context)
    failed = run.failed(context["dag"].task_ids)
    names = ", ".join(dict.fromkeys(task_id for task_id, _ in failed))
    reasons = [run.failure_reason(*task) or "" for task in failed]
    note_end("\n".join([f"{names or 'no task'} failed", *reasons]), context)


def _put(ours: str, context: Mapping[str, Any]) -> None:
    """Put our paragraph into the run's note. An error is only logged: no release fails for a note."""
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    try:
        with connections.airflow_api(patience=_PATIENCE) as api:
            if run := api.run(dag_id, run_id):
                note = run_notes.put(run.note, ours)
                if note != run.note:
                    api.write_note(dag_id, run_id, note)
    except (ApiError, AirflowNotFoundException) as error:
        task_context.log.warning("Cannot write the run's note: %s", error)
