"""The tasks that run a step of a plan as a job on a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hhvm_packaging.orchestration.job_operator import ON_A_WORKER, JobOperator

if TYPE_CHECKING:
    from hhvm_packaging.planning.step import DistroStep, Step


def run_step(step: type[Step[Any]], plan: Any) -> Any:
    """The task that runs the step. ``plan`` is what the task ``plan`` returns."""
    return JobOperator(task_id=step.task_id, script=step.script, plan=plan, **ON_A_WORKER)


def run_step_for_each(step: type[DistroStep[Any]], plan: Any, distros: Any) -> Any:
    """The tasks that run the step for each distribution.

    ``distros`` is a task that returns the distributions' names. Each mapped task is labelled with one.
    """
    return JobOperator.partial(
        task_id=step.task_id,
        script=step.script,
        plan=plan,
        map_index_template="{{ task.distro }}",
        **ON_A_WORKER,
    ).expand(distro=distros)
