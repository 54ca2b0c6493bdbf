"""The EC2 worker: it runs each job on an instance of its own, which terminates after the job.

The instance's user data names the job. The instance runs it like the Docker worker, in a container of the
job image. It uploads the log while the job runs, and the result last. The job and its result are in the
store, so the job goes on while no process of Airflow watches it.

The instance has the role of the kind of its job, see deploy/aws/roles.yaml. It can write only below its own
aws:userid, which ends with its id. Airflow records the id of the instance that it launched for an attempt,
and reads nothing that another one wrote.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shlex
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from typing_extensions import override

from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Changed
from hhvm_packaging.workers import attempts, ec2_errors, outputs
from hhvm_packaging.workers.ec2_errors import Then
from hhvm_packaging.workers.job import LARGEST_RESULT, Failure, Job, JobFailed, NotAResult, Result, TryAgain
from hhvm_packaging.workers.outputs import BadOutputs
from hhvm_packaging.workers.worker import Found, Phase, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef, TagTypeDef

    from hhvm_packaging.attempt_id import AttemptId
    from hhvm_packaging.settings import Machine, Settings
    from hhvm_packaging.store.buckets import Store

MAXIMUM_USER_DATA = 16 * 1024
"""Bytes, see "Instance user data" in the EC2 User Guide."""

JOB_TAG = "hhvm.job"
ATTEMPT_TAG = "hhvm.attempt"
DIGEST_TAG = "hhvm.digest"
WORK_TAG = "hhvm.scratch"
"""Identifies the deployment: several deployments may share an account."""

_LIVE = ("pending", "running", "stopping", "stopped", "shutting-down")
_LISTED_AFTER = 300
"""Seconds after a launch until EC2 lists the instance; see "Eventual consistency in the Amazon EC2 API"."""
_STARTED_AFTER = 60
"""Seconds after a request whose answer was lost until it is certain that EC2 launched nothing."""
_SOON = 15
"""Seconds until the next try of a task that gave up on an instance too early."""

_BODY = Path(__file__).with_name("user-data.sh")


@dataclass(frozen=True)
class Option:
    """One combination of instance type, subnet and market to launch an instance with."""

    instance_type: str
    subnet: str | None
    spot: bool


@dataclass(frozen=True)
class Image:
    """A machine image."""

    id: str
    root_device: str
    """Such as ``/dev/xvda``."""


def options(machine: Machine, subnets: Sequence[str], failures: Iterable[Failure]) -> Iterator[Option]:
    """The options for a job whose earlier attempts had these failures, in order of preference."""
    known = set(failures)
    types = machine.instance_types
    if known & {Failure.MEMORY, Failure.DISK}:
        types = machine.bigger or types
    markets = [True, False] if machine.spot and Failure.RECLAIMED not in known else [False]
    for spot in markets:
        for instance_type in types:
            for subnet in subnets or (None,):
                yield Option(instance_type, subnet, spot)


def user_data(job: Job, name: str, directory: str, job_sha256: str, settings: Settings) -> str:
    """Return the script that the instance runs. ``directory`` is the attempt's, in scratch.

    Raises JobFailed if it is longer than EC2 allows.
    """
    values = {
        "AWS_DEFAULT_REGION": settings.ec2.region,
        "HHVM_BUCKET": settings.scratch_bucket,
        "HHVM_DIRECTORY": directory,
        "HHVM_JOB": name,
        "HHVM_JOB_SHA256": job_sha256,
        "HHVM_KEYS": settings.ec2.keys_for(pushes=job.pushes) if job.needs_keys else "",
        "HHVM_PACKAGING": keys.packaging(job.packaging),
        "HHVM_PACKAGING_SHA256": job.packaging,
        "HHVM_REGISTRY": settings.ec2.registry,
        **settings.container_limits.variables(),
    }
    # First, so that the instance terminates whatever fails after this line.
    minutes = -(-settings.lifetime(job.time_limit) // 60)
    lines = ["#!/bin/bash", f"shutdown -h +{minutes}"]
    lines += [f"export {variable}={shlex.quote(value)}" for variable, value in values.items()]
    script = "\n".join([*lines, _BODY.read_text()])
    if len(script.encode()) > MAXIMUM_USER_DATA:
        raise JobFailed(f"{job.title}: its user data has more than {MAXIMUM_USER_DATA} bytes")
    return script


class Ec2Worker(Worker):
    """Runs jobs on EC2 instances.

    ``launch`` launches one instance with the parameters of RunInstances and returns its id. ``image`` returns
    the id of an architecture's machine image.
    """

    def __init__(
        self,
        ec2: EC2Client,
        store: Store,
        settings: Settings,
        *,
        image: Callable[[str], str],
        launch: Callable[[dict[str, Any]], str],
    ) -> None:
        self.ec2 = ec2
        self.store = store
        self.settings = settings
        self.image = image
        self.launch = launch
        self._states: dict[tuple[str, str], tuple[str, str]] = {}
        """The ids and last known states of all instances, by job and attempt id."""
        self._asked = 0.0
        self._asking = threading.Lock()

    def phase(self, name: str, job: Job, attempt: AttemptId) -> Phase:
        """Return whether the attempt's instance runs, has left a result, or is gone without one."""
        return self._see(name, job, attempt)[0]

    @override
    def look(self, name: str, job: Job, attempt: AttemptId, since: int) -> tuple[Phase, bytes]:
        """Return the phase and the log, from one list of files: the log is stored before the result."""
        phase, found = self._see(name, job, attempt)
        return phase, self._read_log(found, since)

    def _see(self, name: str, job: Job, attempt: AttemptId) -> tuple[Phase, attempts.Attempt]:
        """The phase, and what is stored of the attempt."""
        # Look at the instance first: it uploads its result before it terminates.
        instance, state = self._look(name, attempt)
        found = self._read(name, job, attempt)
        if found.instance is None and instance:
            # EC2's answer to the launch was lost, or the task died before it could record it.
            self._record(name, job, attempt, instance)
            found = self._read(name, job, attempt)
        if keys.RESULT in found.worker_files:
            return "ended", found
        if instance is None:
            # EC2 does not list a new instance at once.
            patience = _LISTED_AFTER if found.instance else _STARTED_AFTER
            alive = time.time() < self._launched(found) + patience
        else:
            alive = state in ("pending", "running")
        return "running" if alive else "absent", found

    def launched(self, name: str, job: Job, attempt: AttemptId) -> float:
        """When the attempt's instance was launched, in seconds since the epoch; see Worker."""
        return self._launched(self._read(name, job, attempt))

    def log(self, name: str, job: Job, attempt: AttemptId, since: int) -> bytes:
        """Return the job's log from byte ``since`` on."""
        return self._read_log(self._read(name, job, attempt), since)

    @override
    async def pause(self, name: str, seconds: float) -> None:
        """Wait so many seconds: EC2 does not notify anybody of a job's end."""
        await asyncio.sleep(seconds)

    def instance(self, name: str, attempt: AttemptId) -> str | None:
        """Return the id of the attempt's instance; None if there is none."""
        return next((found["InstanceId"] for found in self._instances(name, attempt)), None)

    def adopt(self, name: str, job: Job, store: Store) -> AttemptId | None:
        """Return the last attempt if it runs this very job or has run it; see Worker."""
        known = attempts.of_job(store, job.version, name)
        if known and self._does(known[-1], job):
            return known[-1].id
        self.remove(name)
        return None

    def start(self, name: str, attempt: AttemptId, job: Job, labels: Mapping[str, str], store: Store) -> str:
        """Store the job and launch an instance for it. Return a description of the instance for people.

        Raises TryAgain if EC2 has no capacity for it now; JobFailed if EC2 refuses it; ClientError if it is
        unknown whether EC2 launched it.
        """
        content = job.model_dump_json(indent=2).encode()
        store.scratch.put(keys.job_file(job.version, name, attempt, keys.JOB), content, "application/json")
        failure, reasons, full = Failure.CAPACITY, [], set()
        for option, parameters in self._ways(name, attempt, job, labels, hashlib.sha256(content).hexdigest()):
            if option.spot in full:
                continue
            self._record_time(keys.job_file(job.version, name, attempt, keys.LAUNCHING))
            try:
                instance = self.launch(parameters)
            except ClientError as error:
                answer = ec2_errors.of_launch(error)
                if answer.then in (Then.LOOK_FIRST, Then.SIGN_IN_AGAIN):
                    raise
                failure = answer.failure
                reasons.append(_describe_refusal(option, error, answer))
                if answer.then is Then.OTHER_MARKET:
                    full.add(option.spot)
                elif answer.then is not Then.ELSEWHERE:
                    break
            else:
                self._record(name, job, attempt, instance)
                with self._asking:
                    self._asked = 0.0
                return f"instance {instance}"
        raise attempts.failed(
            store, job, name, attempt, failure, f"EC2 launched no instance: {'; '.join(reasons)}"
        )

    @override
    def to_upload(self, name: str, job: Job, attempt: AttemptId) -> int:
        """Return the size of the artifacts: the instance has uploaded them, and ``collect`` reads them."""
        made = self._read(name, job, attempt).made
        return outputs.measure_uploaded(made, job, self.store.scratch) if made else 0

    def collect(self, name: str, attempt: AttemptId, job: Job, store: Store) -> Result:
        """Copy the log, the artifacts, and last the result from the instance's directory. Return the result.

        Raises JobFailed or TryAgain if the job failed, depending on the class of the failure; TryAgain
        without a class if the job is under way.
        """
        found = self._read(name, job, attempt)
        if keys.RESULT not in found.worker_files:
            self._refuse_early(name, job, found)
        log = self._end_of_log(found) or self._console(found)
        if log is not None:
            store.scratch.put(found.key(keys.LOG), log, "text/plain; charset=utf-8")
        try:
            result = self._result(found)
            if result is None or found.made is None or result.exit_status:
                failure, reason = self._fault(name, attempt, job, result)
                raise attempts.failed(store, job, name, attempt, failure, reason, log)
            result = outputs.take(found.made, job, result, store.scratch)
        except (NotAResult, BadOutputs, Changed) as error:
            raise attempts.failed(store, job, name, attempt, Failure.JOB, str(error), log) from error
        store.scratch.put_json(found.key(keys.RESULT), result.model_dump(mode="json"))
        return result

    def remove(self, name: str) -> None:
        """Terminate the instances of all attempts at the job."""
        if ids := [instance["InstanceId"] for instance in self._instances(name)]:
            self.ec2.terminate_instances(InstanceIds=ids)

    def find(self) -> Iterator[Found]:
        """Find this deployment's instances, and the volumes whose instances are gone."""
        for instance in self._instances():
            state = instance["State"]["Name"]
            yield _found("instance", instance["InstanceId"], instance["Tags"], state)
        left: list[FilterTypeDef] = [*self._own, {"Name": "status", "Values": ["available", "error"]}]
        for page in self.ec2.get_paginator("describe_volumes").paginate(Filters=left):
            for volume in page["Volumes"]:
                yield _found("volume", volume["VolumeId"], volume["Tags"], volume["State"])

    def end(self, found: Found) -> None:
        """Terminate this instance, or delete this volume."""
        if found.kind == "instance":
            self.ec2.terminate_instances(InstanceIds=[found.id])
            return
        try:
            self.ec2.delete_volume(VolumeId=found.id)
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidVolume.NotFound":
                raise

    @override
    def tidy(self) -> Iterator[str]:
        """Do nothing: an instance keeps nothing for another one."""
        return iter(())

    def _ways(
        self, name: str, attempt: AttemptId, job: Job, labels: Mapping[str, str], job_sha256: str
    ) -> Iterator[tuple[Option, dict[str, Any]]]:
        """Each option with its parameters of RunInstances, in order of preference."""
        directory = keys.attempt(job.version, name, attempt)
        script, image = user_data(job, name, directory, job_sha256, self.settings), self._image(job)
        machine = self.settings.ec2.machine(job.script, job.architecture)
        profile = self.settings.ec2.instance_profile(job.kind)
        known = attempts.failures(self.store, attempts.of_job(self.store, job.version, name))
        tags = {
            **labels,
            "Name": name,
            JOB_TAG: name,
            ATTEMPT_TAG: str(attempt),
            DIGEST_TAG: job.digest,
            WORK_TAG: self.settings.scratch_bucket,
        }
        for option in options(machine, self.settings.ec2.subnets, known):
            disk = machine.disk * (2 if option.instance_type in machine.bigger else 1)
            yield option, self._parameters(option, image, disk, script, profile, tags)

    def _image(self, job: Job) -> Image:
        """The machine image, with the name that it has for its root device: not all have the same."""
        image = self.image(job.architecture)
        [found] = self.ec2.describe_images(ImageIds=[image])["Images"]
        return Image(image, found["RootDeviceName"])

    def _parameters(
        self, option: Option, image: Image, disk: int, script: str, profile: str, tags: Mapping[str, str]
    ) -> dict[str, Any]:
        """The parameters of RunInstances for one option."""
        token = hashlib.sha256("\0".join((*tags.values(), repr(option))).encode()).hexdigest()
        tag_list = [{"Key": key, "Value": value} for key, value in tags.items()]
        resources = ["instance", "volume", "network-interface"]
        if option.spot:
            resources.append("spot-instances-request")
        parameters: dict[str, Any] = {
            "ImageId": image.id,
            "InstanceType": option.instance_type,
            "UserData": script,
            # The same for each request of an attempt: if a response is lost, no second instance starts.
            "ClientToken": token,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 1,
                "HttpEndpoint": "enabled",
            },
            "IamInstanceProfile": {"Name": profile},
            "BlockDeviceMappings": [
                {
                    "DeviceName": image.root_device,
                    "Ebs": {
                        "VolumeSize": disk,
                        "VolumeType": "gp3",
                        "DeleteOnTermination": True,
                        "Encrypted": True,
                    },
                }
            ],
            "TagSpecifications": [{"ResourceType": resource, "Tags": tag_list} for resource in resources],
        }
        if groups := self.settings.ec2.security_groups:
            parameters["SecurityGroupIds"] = groups
        if option.subnet:
            parameters["SubnetId"] = option.subnet
        if option.spot:
            parameters["InstanceMarketOptions"] = {"MarketType": "spot"}
        return parameters

    def _look(self, name: str, attempt: AttemptId) -> tuple[str | None, str]:
        """The id and the state of the attempt's instance; None if EC2 lists none.

        All triggers of a process share one request to EC2 per poll interval.
        """
        with self._asking:
            now = time.monotonic()
            if not self._asked or now - self._asked >= self.settings.poll_interval:
                self._states = {
                    (tags.get(JOB_TAG, ""), tags.get(ATTEMPT_TAG, "")): (
                        instance["InstanceId"],
                        instance["State"]["Name"],
                    )
                    for instance in self._instances(states=(*_LIVE, "terminated"))
                    if (tags := _tags(instance.get("Tags", ())))
                }
                self._asked = now
            return self._states.get((name, str(attempt)), (None, ""))

    @property
    def _own(self) -> list[FilterTypeDef]:
        """The filters for what belongs to this deployment. Other tools may set its tag, but not the job's."""
        return [
            {"Name": f"tag:{WORK_TAG}", "Values": [self.settings.scratch_bucket]},
            {"Name": "tag-key", "Values": [JOB_TAG]},
        ]

    def _instances(
        self, name: str = "", attempt: AttemptId | None = None, states: Sequence[str] = _LIVE
    ) -> list[InstanceTypeDef]:
        filters: list[FilterTypeDef] = [
            *self._own,
            {"Name": "instance-state-name", "Values": list(states)},
        ]
        if name:
            filters.append({"Name": f"tag:{JOB_TAG}", "Values": [name]})
        if attempt:
            filters.append({"Name": f"tag:{ATTEMPT_TAG}", "Values": [str(attempt)]})
        pages = self.ec2.get_paginator("describe_instances").paginate(Filters=filters)
        return [found for page in pages for group in page["Reservations"] for found in group["Instances"]]

    def _does(self, last: attempts.Attempt, job: Job) -> bool:
        """Whether the attempt runs this very job or has run it, and no failure is recorded."""
        if keys.JOB not in last.files or last.failed(self.store):
            return False
        known = self.store.scratch.read_model(Job, last.key(keys.JOB))
        if known is None or known.digest != job.digest:
            return False
        return self.phase(last.job, job, last.id) != "absent"

    def _record(self, name: str, job: Job, attempt: AttemptId, instance: str) -> None:
        """Record which instance's files count for the attempt, and when it was launched."""
        self._record_time(keys.launched(job.version, name, attempt, instance))

    def _record_time(self, key: str) -> None:
        self.store.scratch.put_json(key, {"at": datetime.now(UTC).isoformat(timespec="milliseconds")})

    def _launched(self, attempt: attempts.Attempt) -> float:
        """When its instance was launched, in seconds since the epoch, as it was recorded.

        Without an instance, when EC2 was asked for one last. An older revision recorded no times.
        """
        key = attempt.key(keys.LAUNCHING)
        if attempt.instance:
            key = keys.launched(attempt.subject, attempt.job, attempt.id, attempt.instance)
        try:
            content = json.loads(self.store.scratch.get(key) or b"null")
            return datetime.fromisoformat(content["at"]).timestamp()
        except (ValueError, TypeError, LookupError):
            return attempt.id.began.timestamp()

    def _refuse_early(self, name: str, job: Job, found: attempts.Attempt) -> None:
        """Raise TryAgain if the job's instance is alive, and its time is not over."""
        self._asked = 0.0
        instance, state = self._look(name, found.id)
        deadline = self._launched(found) + job.time_limit + self.settings.grace
        if state in ("pending", "running") and time.time() < deadline:
            raise TryAgain(f"{job.title}: {instance} is {state}: its time is not over", _SOON)

    def _read(self, name: str, job: Job, attempt: AttemptId) -> attempts.Attempt:
        """What is stored of an attempt."""
        return attempts.read(self.store, job.version, name, attempt)

    def _result(self, attempt: attempts.Attempt) -> Result | None:
        """The result that the instance left; None if there is none. Raises NotAResult."""
        key = attempt.worker_key(keys.RESULT)
        return Result.parse(self.store.scratch.get_from(key, 0, LARGEST_RESULT + 1)) if key else None

    def _read_log(self, attempt: attempts.Attempt, since: int) -> bytes:
        """The log from byte ``since`` on, as far as its instance has uploaded it."""
        if key := attempt.worker_key(keys.LOG):
            return self.store.scratch.get_from(key, since, attempts.MOST_OF_A_LOG)
        log = b""
        for part in attempt.log_parts:
            at = since + len(log)
            if part.start <= at < part.end and len(log) < attempts.MOST_OF_A_LOG:
                log += self.store.scratch.get_from(part.key, at - part.start)
        return log

    def _end_of_log(self, attempt: attempts.Attempt) -> bytes | None:
        """The last bytes of the instance's log; None if there is none."""
        size = attempt.log_parts[-1].end if attempt.log_parts else 0
        if key := attempt.worker_key(keys.LOG):
            head = self.store.scratch.head(key)
            size = head.size if head else 0
        elif not size:
            return None
        return self._read_log(attempt, max(0, size - attempts.MOST_OF_A_LOG))

    def _console(self, attempt: attempts.Attempt) -> bytes | None:
        """What the instance of the attempt printed on its console; None if EC2 does not say."""
        if attempt.instance is None or keys.RESULT in attempt.worker_files:
            return None
        # Only machines of the Nitro System have the latest output; others have that of the boot.
        for latest in (True, False):
            try:
                answer = self.ec2.get_console_output(InstanceId=attempt.instance, Latest=latest)
            except ClientError:
                continue
            if printed := answer.get("Output"):
                return f"The console of {attempt.instance}:\n{printed}".encode()
        return None

    def _fault(self, name: str, attempt: AttemptId, job: Job, result: Result | None) -> tuple[Failure, str]:
        if result is not None:
            return result.failure(job)
        for instance in self._instances(name, attempt, (*_LIVE, "terminated")):
            id_, reason = instance["InstanceId"], instance.get("StateReason", {})
            if instance["State"]["Name"] in ("pending", "running"):
                return (
                    Failure.TIME,
                    f"{id_} did not end within {job.time_limit} s, nor by its own timer",
                )
            why = reason.get("Message", "no reason given")
            if end := ec2_errors.of_end(reason.get("Code", "")):
                failure, words = end
                return failure, f"{id_} {words} ({why})"
            return Failure.LOST, f"{id_} ended without a result ({why})"
        return Failure.LOST, "its instance is gone, without a result"


def _found(kind: str, name: str, tags: Iterable[TagTypeDef], state: str) -> Found:
    labels = _tags(tags)
    return Found(labels.get(JOB_TAG, ""), kind, name, labels, state)


def _tags(tags: Iterable[TagTypeDef]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def _describe_refusal(option: Option, error: ClientError, answer: ec2_errors.Answer) -> str:
    """Where EC2 refused to launch, and why; in its own words if somebody has to change something."""
    market = ", spot" if option.spot else ""
    where = f"{option.instance_type} in {option.subnet or 'any subnet'}{market}"
    said = str(error) if answer.then is Then.FAIL else error.response["Error"]["Code"]
    return f"{where}: {said}" + (f" ({answer.advice})" if answer.advice else "")
