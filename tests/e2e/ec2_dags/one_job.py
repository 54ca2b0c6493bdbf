"""One job per run, whose script is the packaging files' own; for ``test_ec2.py``."""

from __future__ import annotations

import datetime
import os
import signal
from typing import TYPE_CHECKING, Any

from airflow.sdk import dag
from typing_extensions import override

from hhvm_packaging.orchestration.job_operator import ON_A_WORKER, JobOperator
from hhvm_packaging.orchestration.steps import STEPS
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.planning.step import Step
from hhvm_packaging.workers.job import Job

if TYPE_CHECKING:
    from hhvm_packaging.attempt_id import AttemptId


class AJob(Step[BuildPlan]):
    """A step that takes minutes at most."""

    script = "a-job"
    plan_type = BuildPlan
    time_limit = 600

    @override
    def job(self, attempt: AttemptId) -> Job:
        """The script."""
        return Job(
            version=self.plan.version,
            script=self.script,
            packaging=self.plan.packaging,
            environment={},
            time_limit=self.time_limit,
        )


class AShortJob(AJob):
    """A step that takes seconds."""

    script = "a-short-job"
    time_limit = 2


STEPS |= {step.script: step for step in (AJob, AShortJob)}


class DiesBeforeItDefers(JobOperator):
    """Its first try dies between the launch and waiting for it."""

    def _link(self, context: Any, *rest: Any) -> None:
        if context["ti"].try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._link(context, *rest)


for operator, name, script in (
    (JobOperator, "job", "a-job"),
    (JobOperator, "short_job", "a-short-job"),
    (DiesBeforeItDefers, "dying_task", "a-job"),
):

    @dag(
        dag_id=name,
        schedule=None,
        start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        render_template_as_native_obj=True,
        default_args={"retry_delay": datetime.timedelta(seconds=1)},
    )
    def with_one_job() -> None:
        operator(task_id="job", script=script, plan="{{ dag_run.conf['plan'] }}", **ON_A_WORKER)  # type: ignore[arg-type]  # ruff: ignore[function-uses-loop-variable]

    with_one_job()
