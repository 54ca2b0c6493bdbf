"""One trivial build for each of many distributions; for ``room.py``."""

from __future__ import annotations

import datetime
import json
import os

from airflow.sdk import dag

from hhvm_packaging.jobs import Job
from hhvm_packaging.steps import STEPS, Step
from hhvm_packaging.store import Store
from hhvm_packaging.workers.operator import JobOperator


class ABuild(Step):
    """A step whose job leaves one file."""

    script = "a-build"

    def job(self, build: str) -> Job:
        """The script."""
        return Job(
            version=self.plan.version,
            script=self.script,
            distro=self.distro,
            packaging=self.plan.packaging,
            environment={"DISTRO": str(self.distro)},
            outputs=Store.build(self.plan.release, str(self.distro), build),
            time_limit=1200,
        )


STEPS[ABuild.script] = ABuild


@dag(schedule=None, start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
def builds() -> None:
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
