"""The operator that runs one step of a plan as a job on a worker, and the retries of such tasks."""

from __future__ import annotations

import datetime
import random
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast, get_args

from airflow.providers.amazon.aws.links.base_aws import (  # ruff: ignore[banned-module-level-imports] - takes no time
    BASE_AWS_CONSOLE_LINK,
    BaseAwsLink,
)
from airflow.providers.amazon.aws.links.ec2 import (  # ruff: ignore[banned-module-level-imports] - takes no time
    EC2InstanceLink,
)
from airflow.sdk import BaseOperator, RetryDecision, RetryPolicy
from typing_extensions import override

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.orchestration import connections, metric_sender, queues, task_context
from hhvm_packaging.orchestration.job_trigger import JobTrigger
from hhvm_packaging.orchestration.steps import STEPS
from hhvm_packaging.runs.run import name_job
from hhvm_packaging.settings import settings
from hhvm_packaging.store import keys
from hhvm_packaging.workers import attempts
from hhvm_packaging.workers.job import Job, TryAgain
from hhvm_packaging.workers.worker import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from hhvm_packaging.planning.step import Step
    from hhvm_packaging.workers.worker import Worker

RETRIES = 12
"""With the waits for a worker, they take about an hour and a half."""
_UNEXPECTED_TRIES = 4
"""The most tries of a task that fails for a reason that is not its job's or its worker's, such as S3."""
_UNEXPECTED_DELAY = 15
"""Seconds before the second of these tries. The delay doubles each time, and varies at random by half."""
_NO_ANSWER_DELAY = 60
"""Seconds before the next try if the Docker engine or AWS does not answer."""


def _first_try(max_tries: int) -> int:
    """The number of the first try since a person last cleared the task, which grants RETRIES more."""
    return max_tries - RETRIES + 1


class RetryByFailure(RetryPolicy):
    """Retry when the exception says so: see TryAgain. Retry any other exception a few times."""

    @override
    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
    ) -> RetryDecision:
        """Decide after the try ``try_number``. Airflow allows ``max_tries`` + 1 of them."""
        if isinstance(exception, TryAgain):
            reason = str(exception).partition("\n")[0]
            return RetryDecision.retry(datetime.timedelta(seconds=exception.delay), reason)
        since_cleared = try_number - _first_try(max_tries) + 1
        if since_cleared >= _UNEXPECTED_TRIES:
            return RetryDecision.fail(f"It failed {since_cleared} times")
        # At random, so that tasks that failed together are not tried again together.
        delay = _UNEXPECTED_DELAY * 2 ** (since_cleared - 1) * random.uniform(0.5, 1.5)  # ruff: ignore[suspicious-non-cryptographic-random-usage]
        return RetryDecision.retry(datetime.timedelta(seconds=delay))


ON_A_WORKER: Mapping[str, Any] = {
    "pool": "workers",
    "queue": queues.WORKERS,
    "retries": RETRIES,
    "retry_policy": RetryByFailure(),
}
"""The arguments of every task that has a worker."""


PATIENT: Mapping[str, Any] = {
    "retries": RETRIES,
    "retry_delay": datetime.timedelta(seconds=30),
    "retry_policy": RetryByFailure(),
}
"""The arguments of every other task of a release. It outlasts an API server that is down for five minutes.

While the API server is down, a task's process fails before it can ask the policy, so that it uses up a try.
"""


class LogLink(BaseAwsLink):
    """A link to the directory of an attempt in the AWS console, which has the whole log.

    While the instance runs, the log is in the instance's own directory below it.
    """

    name: ClassVar[str] = "Whole log"
    key: ClassVar[str] = "_whole_log"
    format_str: ClassVar[str] = (
        BASE_AWS_CONSOLE_LINK + "/s3/buckets/{bucket}?region={region_name}&prefix={prefix}"
    )


class JobOperator(BaseOperator):
    """Run the step named ``script`` for ``plan``; a DistroStep for one ``distro``.

    One task starts the job, waits for it deferred, records its result and ends the worker. So any way of
    clearing the task repeats exactly this job. A try that finds its job running attaches to it. A try that
    finds it done succeeds at once.
    """

    template_fields: Sequence[str] = ("plan", "distro")
    # Each link costs a call of Airflow's API when a process of the task ends, even if it leads nowhere.
    operator_extra_links = (EC2InstanceLink(), LogLink()) if settings().workers == "ec2" else ()
    ui_color = "#d9e8d2"
    _launched: str | None = None

    def __init__(
        self, *, script: str, plan: Mapping[str, Any], distro: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.script = script
        self.plan = plan
        self.distro = distro

    def execute(self, context: Mapping[str, Any]) -> Any:
        """Start the job or attach to it, and wait. If the step is done already, return why."""
        step = self._step()
        with task_context.fail_without_retry():
            number, first = context["ti"].try_number, _first_try(context["ti"].max_tries)
            worker, name, attempt = self._worker(context), self._name(context, step), AttemptId.new(number)
            if done := step.done():
                worker.remove(name)  # A try that died after it recorded the result left its container.
                self.log.info("Nothing to do. %s", done)
                return done
            job = step.job(attempt)
            if adopted := worker.adopt(name, job, step.store):
                attempt, job = adopted, step.job(adopted)
                self.log.info("%s: attached to %s, which runs it already or has run it", job.title, name)
            # Airflow tries a task again if its process could not report that it failed for good.
            elif number > first and (failed := attempts.final_failure(step.store, job, name, since=first)):
                raise failed
            else:
                with metric_sender.count_failure():
                    labels = self._labels(context, job, attempt)
                    started = worker.start(name, attempt, job, labels, step.store)
                self.log.info("%s: started on %s", job.title, started)
            self._link(context, worker, name, attempt, step)
        which: dict[str, Any] = {"name": name, "build": str(attempt), "job": job.model_dump(mode="json")}
        trigger = JobTrigger(
            **which,
            deadline=worker.launched(name, job, attempt) + job.time_limit + step.settings.grace,
            plan=step.plan.model_dump(mode="json"),
        )
        self.defer(trigger=trigger, method_name="finish", kwargs=which)

    def finish(
        self, _context: Mapping[str, Any], event: str, name: str, build: str, job: dict[str, Any]
    ) -> str:
        """Record the result of a job that the trigger left to the task. Remove the job in any case.

        Airflow calls it with the trigger's ``event`` and the arguments that ``execute`` deferred with:
        ``build`` is the id of the attempt. Raises AirflowFailException or TryAgain if the job did not
        succeed, and TryAgain if the worker does not answer; the next try attaches to the job.
        """
        worker, step, parsed = connections.worker(), self._step(), Job.model_validate(job)
        if event not in get_args(Phase):
            raise TryAgain(f"{parsed.title}: {event}", _NO_ANSWER_DELAY)
        with task_context.fail_without_retry():
            # Another triggerer, or the try before, may have recorded the result and removed the job.
            if event == "absent" and (done := step.done()):
                self.log.info("%s", done)
                return done
            try:
                with metric_sender.count_failure():
                    done = step.finish(worker, name, AttemptId.parse(build), parsed)
            except (PackagingError, TryAgain) as error:
                # Without a class of failures, this attempt may still succeed: the next try attaches to it.
                if not isinstance(error, TryAgain) or error.failure:
                    self._remove(worker, name)
                raise
        self.log.info("%s", done)
        return done

    take_in = finish
    """The former name, which Airflow's database has for tasks that are deferred. Remove it together with
    hhvm_packaging/workers/trigger.py."""

    def _remove(self, worker: Worker, name: str) -> None:
        """Remove a job that failed. An error is only logged: it must not replace the job's own failure."""
        try:
            worker.remove(name)
        except Exception as error:
            self.log.warning("Cannot remove %s; hhvm_reap_workers will remove it: %s", name, error)

    def _worker(self, context: Mapping[str, Any]) -> Worker:
        """The worker, which launches instances for this task."""
        return connections.worker(partial(self._launch, context))

    def _launch(self, context: Mapping[str, Any], parameters: dict[str, Any]) -> str:
        """Launch one instance. Returns its id."""
        from airflow.providers.amazon.aws.operators.ec2 import EC2CreateInstanceOperator

        from hhvm_packaging.orchestration import aws

        image = parameters.pop("ImageId")
        [instance] = EC2CreateInstanceOperator(
            task_id=f"{self.task_id}_launch",
            aws_conn_id=settings().aws_conn_id,
            region_name=settings().ec2.region,
            botocore_config=aws.CLIENTS,
            image_id=image,
            config=parameters,
        ).execute(cast("Context", context))
        self._launched = str(instance)
        return self._launched

    def _step(self) -> Step[Any]:
        return STEPS[self.script].load(self.plan, self.distro, connections.store(), settings())

    def _name(self, context: Mapping[str, Any], step: Step[Any]) -> str:
        """The name of the job: the same for every try of this task instance, and different for all others."""
        ti = context["ti"]
        return name_job(ti.dag_id, ti.run_id, ti.task_id, step.plan.subject, self.script, self.distro)

    def _link(
        self, context: Mapping[str, Any], worker: Worker, name: str, attempt: AttemptId, step: Step[Any]
    ) -> None:
        """Link from the task's page to the instance and to the whole log if the worker is at AWS."""
        if not self.operator_extra_links:
            return
        s3, region = step.store.scratch.s3, step.settings.ec2.region
        common: Any = {
            "context": context,
            "operator": self,
            "region_name": region,
            "aws_partition": s3.meta.partition,
        }
        directory = keys.attempt(step.plan.subject, name, attempt)
        LogLink.persist(**common, bucket=step.store.scratch.name, prefix=directory)
        if instance := self._launched or worker.instance(name, attempt):
            EC2InstanceLink.persist(**common, instance_id=instance)

    def _labels(self, context: Mapping[str, Any], job: Job, attempt: AttemptId) -> dict[str, str]:
        """The labels or tags that tell people and hhvm_reap_workers which task the worker belongs to."""
        ti = context["ti"]
        return {
            "hhvm.dag": ti.dag_id,
            "hhvm.run": ti.run_id,
            "hhvm.task": ti.task_id,
            "hhvm.map_index": str(ti.map_index),
            **({"hhvm.distro": job.distro} if job.distro else {}),
            "hhvm.try": str(ti.try_number),
            "hhvm.expires": str(int(attempt.began.timestamp()) + settings().lifetime(job.time_limit)),
        }
