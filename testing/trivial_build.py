"""A build that does nothing but leave one file: what is left is what Airflow and this project cost."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from hhvm_packaging.orchestration import queues
from hhvm_packaging.orchestration.job_operator import JobOperator
from hhvm_packaging.orchestration.steps import STEPS
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.planning.step import DistroStep
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Job

if TYPE_CHECKING:
    from hhvm_packaging.attempt_id import AttemptId


class ABuild(DistroStep[BuildPlan]):
    """A step whose job leaves one file."""

    script = "a-build"
    plan_type = BuildPlan

    def job(self, attempt: AttemptId) -> Job:
        """The script."""
        return Job(
            version=self.plan.version,
            script=self.script,
            distro=self.distro.name,
            packaging=self.plan.packaging,
            environment={"DISTRO": self.distro.name},
            outputs=keys.outputs(self.plan.release, self.distro.name, attempt),
            time_limit=1200,
        )


STEPS[ABuild.script] = ABuild


def build_each(plan: Any, distros: Any) -> None:
    """Make a task for each distribution, mapped as in hhvm_build. ``distros`` may be an XCom."""
    JobOperator.partial(
        task_id="build",
        script=ABuild.script,
        plan=plan,
        pool="workers",
        queue=queues.WORKERS,
        retries=50,
        retry_delay=datetime.timedelta(seconds=5),
        map_index_template="{{ task.distro }}",
    ).expand(distro=distros)
