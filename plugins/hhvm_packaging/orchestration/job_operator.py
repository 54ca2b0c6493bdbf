"""The operator that runs one step of a plan as a job on a worker, holding no slot while it runs."""

from __future__ import annotations

import asyncio
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
from airflow.triggers.base import TaskSuccessEvent
from typing_extensions import override

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.orchestration import connections, task_context
from hhvm_packaging.orchestration.job_trigger import PATIENCE, JobTrigger
from hhvm_packaging.orchestration.steps import STEPS
from hhvm_packaging.runs.run import Run
from hhvm_packaging.settings import settings
from hhvm_packaging.store import keys
from hhvm_packaging.workers import attempts
from hhvm_packaging.workers.job import Job, TryAgain
from hhvm_packaging.workers.worker import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context
    from airflow.triggers.base import TriggerEvent

    from hhvm_packaging.planning.step import Step
    from hhvm_packaging.workers.worker import Worker

RETRIES = 12
"""With the waits for a worker, these are about an hour and a half."""
_OTHER_TRIES = 4
"""How often a task is tried that fails for another reason than its job or its worker: S3 does not answer."""
_OTHER_DELAY = 15
"""Seconds until the second of these, then twice as long each time, up to half more or less."""
_BRIEFLY = 30.0
"""How long a task itself waits for a job that is expected to be over by then, in seconds."""


def _first_try(max_tries: int) -> int:
    """The number of the first try since a person last cleared the task, which grants as many tries again."""
    return max_tries - RETRIES + 1


class RetryByFailure(RetryPolicy):
    """Tries a task again when what it raised says; what nobody foresaw, a few times."""

    @override
    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
    ) -> RetryDecision:
        """Decide on the ``try_number``-th try of at most ``max_tries`` + 1."""
        if isinstance(exception, TryAgain):
            reason = str(exception).partition("\n")[0]
            return RetryDecision.retry(datetime.timedelta(seconds=exception.delay), reason)
        since_cleared = try_number - _first_try(max_tries) + 1
        if since_cleared >= _OTHER_TRIES:
            return RetryDecision.fail(f"It failed {since_cleared} times")
        # By chance, so that tasks that failed together do not come back together.
        delay = _OTHER_DELAY * 2 ** (since_cleared - 1) * random.uniform(0.5, 1.5)  # ruff: ignore[suspicious-non-cryptographic-random-usage]
        return RetryDecision.retry(datetime.timedelta(seconds=delay))


ON_A_WORKER: Mapping[str, Any] = {"pool": "workers", "retries": RETRIES, "retry_policy": RetryByFailure()}
"""What every task that has a worker is given: its place among them, and tries as its failures ask for."""


PATIENT: Mapping[str, Any] = {
    "retries": RETRIES,
    "retry_delay": datetime.timedelta(seconds=30),
    "retry_policy": RetryByFailure(),
}
"""What every other task of a release is given: it outlasts an API server that is away for five minutes.

Without that server no task gets as far as failing by itself, so no policy is asked, and every try is lost.
"""


class LogLink(BaseAwsLink):
    """To the whole log of a job, in the console."""

    name: ClassVar[str] = "Whole log"
    key: ClassVar[str] = "_whole_log"
    format_str: ClassVar[str] = (
        BASE_AWS_CONSOLE_LINK + "/s3/object/{bucket}?region={region_name}&prefix={prefix}"
    )


class JobOperator(BaseOperator):
    """Run the step named ``script`` for ``plan``, and for one ``distro`` where the step is a distribution's.

    One task launches the job, waits for it deferred, takes in its result and cleans up, so that clearing
    it, in whichever way, redoes exactly that. A try that finds its job running attaches to it; one that
    finds it done passes. A job of seconds is waited for at once: the triggerer would take it longer.
    """

    template_fields: Sequence[str] = ("plan", "distro")
    # Each costs a call of Airflow's API whenever a process of the task ends, also where it leads nowhere.
    operator_extra_links = (EC2InstanceLink(), LogLink()) if settings().workers == "ec2" else ()
    ui_color = "#d9e8d2"
    _launched: str | None = None
    _awaited: str | None = None
    """The job that this very process waits for."""

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
        with task_context.fail_without_retry():
            number, first = context["ti"].try_number, _first_try(context["ti"].max_tries)
            worker, name, attempt = self._worker(context), self._name(context, step), AttemptId.new(number)
            if done := step.done():
                worker.remove(name)  # A try that died after it recorded its result left its container.
                self.log.info("Nothing to do. %s", done)
                return done
            job = step.job(attempt)
            if adopted := worker.adopt(name, job, step.store):
                attempt, job = adopted, step.job(adopted)
                self.log.info("%s: attached to %s, which does it already", job.title, name)
            # Airflow tries a task again that could not tell it how it ended.
            elif number > first and (failed := attempts.final_failure(step.store, job, name, since=first)):
                raise failed
            else:
                started = worker.start(name, attempt, job, self._labels(context, job, attempt), step.store)
                self.log.info("%s: started on %s", job.title, started)
            self._link(context, worker, name, attempt, step)
        ticket: dict[str, Any] = {"name": name, "build": str(attempt), "job": job.model_dump(mode="json")}
        trigger = JobTrigger(
            **ticket,
            deadline=attempt.began.timestamp() + job.time_limit + step.settings.grace,
            plan=step.plan.model_dump(mode="json"),
        )
        if step.brief and worker.at_once and (event := self._event(trigger)):
            if isinstance(event, TaskSuccessEvent) and event.xcoms:
                return event.xcoms["return_value"]
            return self.take_in(context, event.payload, **ticket)
        self.defer(trigger=trigger, method_name="take_in", kwargs=ticket)

    def take_in(
        self, _context: Mapping[str, Any], event: str, name: str, build: str, job: dict[str, Any]
    ) -> str:
        """Record the result and clean up, whether the job succeeded or not, unless the trigger did.

        Raises TryAgain where what runs the job did not answer; the next try finds out what became of it.
        """
        worker, step, parsed = connections.worker(), self._step(), Job.model_validate(job)
        if event not in get_args(Phase):
            raise TryAgain(f"{parsed.title}: {event}", PATIENCE)
        with task_context.fail_without_retry():
            try:
                done = step.finish(worker, name, AttemptId.parse(build), parsed)
            except (PackagingError, TryAgain):
                self._remove(worker, name)
                raise
        self.log.info("%s", done)
        return done

    def on_kill(self) -> None:
        """End the job that this process waits for; its trigger ends one that is waited for deferred."""
        if self._awaited:
            connections.worker().remove(self._awaited)

    def _event(self, trigger: JobTrigger) -> TriggerEvent | None:
        """What the trigger tells before long, if anything."""
        self._awaited = trigger.name
        try:
            return asyncio.run(asyncio.wait_for(anext(trigger.run()), _BRIEFLY))
        except TimeoutError:
            return None
        finally:
            self._awaited = None

    def _remove(self, worker: Worker, name: str) -> None:
        """Remove a job that failed; that this fails must not hide why the job did, nor have it done again."""
        try:
            worker.remove(name)
        except Exception as error:
            self.log.warning("Cannot remove %s, which is left to hhvm_reap_workers: %s", name, error)

    def _worker(self, context: Mapping[str, Any]) -> Worker:
        """The worker, with a way to launch what it needs."""
        return connections.worker(partial(self._launch, context))

    def _launch(self, context: Mapping[str, Any], parameters: dict[str, Any]) -> str:
        """Launch one instance. Returns its id."""
        from airflow.providers.amazon.aws.operators.ec2 import EC2CreateInstanceOperator

        image = parameters.pop("ImageId")
        [instance] = EC2CreateInstanceOperator(
            task_id=f"{self.task_id}_launch",
            aws_conn_id=settings().aws_conn_id,
            region_name=settings().ec2.region,
            botocore_config=connections.BOTO,
            image_id=image,
            config=parameters,
        ).execute(cast("Context", context))
        self._launched = str(instance)
        return self._launched

    def _step(self) -> Step[Any]:
        return STEPS[self.script].load(self.plan, self.distro, connections.store(), settings())

    def _name(self, context: Mapping[str, Any], step: Step[Any]) -> str:
        """The same for every try of this task instance, and for no other."""
        ti = context["ti"]
        return Run("", ti.dag_id, ti.run_id).job(ti.task_id, step.plan.subject, self.script, self.distro)

    def _link(
        self, context: Mapping[str, Any], worker: Worker, name: str, attempt: AttemptId, step: Step[Any]
    ) -> None:
        """Link from the task's page to the instance and to the whole log, where the worker is at AWS."""
        if not self.operator_extra_links:
            return
        s3, region = step.store.scratch.s3, step.settings.ec2.region
        common: Any = {
            "context": context,
            "operator": self,
            "region_name": region,
            "aws_partition": s3.meta.partition,
        }
        log = keys.job_file(step.plan.subject, name, attempt, keys.LOG)
        LogLink.persist(**common, bucket=step.store.scratch.name, prefix=log)
        if instance := self._launched or worker.instance(name, attempt):
            EC2InstanceLink.persist(**common, instance_id=instance)

    def _labels(self, context: Mapping[str, Any], job: Job, attempt: AttemptId) -> dict[str, str]:
        """What tells a person, and who cleans up, whose worker it is."""
        ti = context["ti"]
        return {
            "hhvm.dag": ti.dag_id,
            "hhvm.run": ti.run_id,
            "hhvm.task": ti.task_id,
            "hhvm.map_index": str(ti.map_index),
            "hhvm.try": str(ti.try_number),
            "hhvm.expires": str(int(attempt.began.timestamp()) + settings().lifetime(job.time_limit)),
        }
