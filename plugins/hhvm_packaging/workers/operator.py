"""The operator that runs one step of a plan as a job on a worker, holding no slot while it runs."""

from __future__ import annotations

import hashlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.amazon.aws.links.ec2 import (  # ruff: ignore[banned-module-level-imports] - takes no time
    EC2InstanceDashboardLink,
)
from airflow.sdk import BaseOperator

from hhvm_packaging import runtime
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.jobs import Job, TryAgain, new_build
from hhvm_packaging.plans import Plan
from hhvm_packaging.steps import STEPS
from hhvm_packaging.workers.trigger import JobTrigger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from hhvm_packaging.steps import Step
    from hhvm_packaging.workers.worker import Worker

_GRACE = 600
"""Seconds past its limit after which a job that its own timer did not end is ended from here."""


class JobOperator(BaseOperator):
    """Run the step named ``script`` for ``plan``, and for one ``distro`` where the step is a distribution's.

    One task launches the job, waits for it deferred, takes in its result and cleans up, so that clearing
    it, in whichever way, redoes exactly that. A try that finds its job running attaches to it; one that
    finds it done passes.
    """

    template_fields: Sequence[str] = ("plan", "distro")
    operator_extra_links = (EC2InstanceDashboardLink(),)
    ui_color = "#d9e8d2"

    def __init__(
        self, *, script: str, plan: Mapping[str, Any], distro: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.script = script
        self.plan = plan
        self.distro = distro

    def execute(self, context: Mapping[str, Any]) -> Any:
        """Start the job, or attach to it, and wait; pass at once if there is nothing left to do."""
        step = self._step()
        with runtime.failing_for_good():
            worker, name, build = self._worker(context), self._name(context), new_build()
            if done := step.done():
                worker.remove(name)  # A try that died after it recorded its result left its container.
                self.log.info("Nothing to do. %s", done)
                return done
            job = step.job(build)
            if adopted := worker.adopt(name, job):
                build, job = adopted, step.job(adopted)
                self.log.info("%s: attached to %s, which does it already", job.title, name)
            else:
                started = worker.start(name, build, job, self._labels(context, job), step.store)
                self.log.info("%s: started on %s", job.title, started)
        ticket: dict[str, Any] = {"name": name, "build": build, "job": job.model_dump(mode="json")}
        self.defer(
            trigger=JobTrigger(**ticket, deadline=time.time() + job.time_limit + _GRACE),
            method_name="take_in",
            kwargs=ticket,
        )

    def take_in(
        self, context: Mapping[str, Any], event: str, name: str, build: str, job: dict[str, Any]
    ) -> str:
        """Record the result and clean up, whether the job succeeded or not."""
        worker, step, parsed = runtime.worker(), self._step(), Job.model_validate(job)
        with runtime.failing_for_good():
            try:
                done = step.accept(parsed, worker.collect(name, build, parsed, step.store))
            except (PackagingError, TryAgain):
                worker.remove(name)
                raise
        worker.remove(name)
        self.log.info("%s", done)
        return done

    def _worker(self, context: Mapping[str, Any]) -> Worker:
        """The worker, with a way to launch what it needs."""
        return runtime.worker(partial(self._launch, context))

    def _launch(self, context: Mapping[str, Any], parameters: dict[str, Any]) -> str:
        """Launch one instance, and link to it from the task's page. Returns its id."""
        from airflow.providers.amazon.aws.operators.ec2 import EC2CreateInstanceOperator

        image = parameters.pop("ImageId")
        [instance] = EC2CreateInstanceOperator(
            task_id=f"{self.task_id}_launch",
            aws_conn_id=runtime.settings().aws_conn_id,
            region_name=runtime.settings().ec2.region,
            image_id=image,
            config=parameters,
        ).execute(cast("Context", context))
        return str(instance)

    def _step(self) -> Step:
        return STEPS[self.script](
            Plan.model_validate(self.plan), runtime.store(), runtime.settings(), self.distro
        )

    def _name(self, context: Mapping[str, Any]) -> str:
        """The same for every try of this task instance, and for no other."""
        ti = context["ti"]
        identity = hashlib.sha256("\0".join((ti.dag_id, ti.run_id, ti.task_id)).encode()).hexdigest()
        return "-".join(filter(None, ["hhvm", self.plan["version"], self.script, self.distro, identity[:12]]))

    def _labels(self, context: Mapping[str, Any], job: Job) -> dict[str, str]:
        """What tells a person, and who cleans up, whose container it is."""
        ti = context["ti"]
        return {
            "hhvm.dag": ti.dag_id,
            "hhvm.run": ti.run_id,
            "hhvm.task": ti.task_id,
            "hhvm.map_index": str(ti.map_index),
            "hhvm.try": str(ti.try_number),
            "hhvm.expires": str(int(time.time()) + job.time_limit + _GRACE),
        }
