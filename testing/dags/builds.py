"""One trivial build for each of many distributions; for ``room.py``."""

from __future__ import annotations

import datetime
import json
import os
from typing import TYPE_CHECKING

from airflow.sdk import dag

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


@dag(schedule=None, start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
def builds() -> None:
    """Run one build for each distribution that the environment names."""
    JobOperator.partial(
        task_id="build",
        script=ABuild.script,
        plan=json.loads(os.environ["HHVM_TEST_PLAN"]),
        pool="workers",
        retries=50,
        retry_delay=datetime.timedelta(seconds=5),
        map_index_template="{{ task.distro }}",
    ).expand(distro=json.loads(os.environ["HHVM_TEST_DISTROS"]))


builds()
