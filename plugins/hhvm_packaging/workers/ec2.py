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
import shlex
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from typing_extensions import override

from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Changed
from hhvm_packaging.workers import attempts, outputs
from hhvm_packaging.workers.job import LARGEST_RESULT, Failure, Job, JobFailed, NotAResult, Result
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
_SERVER_ERROR = 500
_SEEN_AFTER = 60
"""Seconds after a launch until EC2 certainly lists the instance."""

_REFUSALS = {
    **dict.fromkeys(
        (
            "InsufficientCapacity",
            "InsufficientFreeAddressesInSubnet",
            "InsufficientHostCapacity",
            "InsufficientInstanceCapacity",
            "SpotMaxPriceTooLow",
            "Unsupported",
        ),
        Failure.CAPACITY,
    ),
    **dict.fromkeys(("EC2ThrottledException", "RequestLimitExceeded", "Throttling"), Failure.THROTTLED),
    **dict.fromkeys(
        (
            "InstanceLimitExceeded",
            "MaxSpotInstanceCountExceeded",
            "PendingVerification",
            "VcpuLimitExceeded",
            "VolumeLimitExceeded",
        ),
        Failure.LIMIT,
    ),
}
"""The class of each EC2 error code. After CAPACITY another type or subnet is tried at once."""

_BODY = Path(__file__).with_name("user-data.sh")


@dataclass(frozen=True)
class Option:
    """One combination of instance type, subnet and market to launch an instance with."""

    instance_type: str
    subnet: str | None
    spot: bool


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
    the id of the machine image.
    """

    def __init__(
        self,
        ec2: EC2Client,
        store: Store,
        settings: Settings,
        *,
        image: Callable[[], str],
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
        # Look at the instance first: it uploads its result before it terminates.
        instance, alive = self._look(name, attempt)
        found = self._read(name, job, attempt)
        if found.instance is None and instance:
            # EC2's answer to the launch was lost, or the task died before it could record it.
            self._record(name, job, attempt, instance)
            found = self._read(name, job, attempt)
        if keys.RESULT in found.worker_files:
            return "ended"
        return "running" if alive else "absent"

    def log(self, name: str, job: Job, attempt: AttemptId, since: int) -> bytes:
        """Return the job's log from byte ``since`` on."""
        key = self._read(name, job, attempt).worker_key(keys.LOG)
        return self.store.scratch.get_from(key, since, attempts.MOST_OF_A_LOG) if key else b""

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
        failure, reasons = Failure.CAPACITY, []
        for parameters in self._ways(name, attempt, job, labels, hashlib.sha256(content).hexdigest()):
            try:
                instance = self.launch(parameters)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code not in _REFUSALS and _status(error) >= _SERVER_ERROR:
                    raise  # It may have launched: the next attempt looks for it first.
                failure = _REFUSALS.get(code, Failure.JOB)
                where = f"{parameters['InstanceType']} in {parameters.get('SubnetId', 'any subnet')}"
                reasons.append(f"{where}: {code if code in _REFUSALS else error}")
                if failure is not Failure.CAPACITY:
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

        Raises JobFailed or TryAgain if the job failed, depending on the class of the failure.
        """
        found = self._read(name, job, attempt)
        log = self._end_of_log(found)
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
            yield _found("instance", instance["InstanceId"], instance["Tags"])
        left: list[FilterTypeDef] = [self._own, {"Name": "status", "Values": ["available", "error"]}]
        for page in self.ec2.get_paginator("describe_volumes").paginate(Filters=left):
            for volume in page["Volumes"]:
                yield _found("volume", volume["VolumeId"], volume["Tags"])

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
    ) -> Iterator[dict[str, Any]]:
        """The parameters of RunInstances for each option, in order of preference."""
        directory = keys.attempt(job.version, name, attempt)
        script, image = user_data(job, name, directory, job_sha256, self.settings), self.image()
        machine, profile = self.settings.ec2.machine(job.script), self.settings.ec2.instance_profile(job.kind)
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
            yield self._parameters(option, image, disk, script, profile, tags)

    def _parameters(
        self, option: Option, image: str, disk: int, script: str, profile: str, tags: Mapping[str, str]
    ) -> dict[str, Any]:
        """The parameters of RunInstances for one option."""
        token = hashlib.sha256("\0".join((*tags.values(), repr(option))).encode()).hexdigest()
        tag_list = [{"Key": key, "Value": value} for key, value in tags.items()]
        resources = ["instance", "volume", "network-interface"]
        if option.spot:
            resources.append("spot-instances-request")
        parameters: dict[str, Any] = {
            "ImageId": image,
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
                    "DeviceName": "/dev/xvda",
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

    def _look(self, name: str, attempt: AttemptId) -> tuple[str | None, bool]:
        """The id of the attempt's instance, and whether it is pending or running.

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
                    if (tags := _tags(instance["Tags"]))
                }
                self._asked = now
            instance, state = self._states.get((name, str(attempt)), (None, ""))
        if instance is None:
            # EC2 does not list a new instance at once.
            return None, time.time() < attempt.began.timestamp() + _SEEN_AFTER
        return instance, state in ("pending", "running")

    @property
    def _own(self) -> FilterTypeDef:
        """The filter for what belongs to this deployment."""
        return {"Name": f"tag:{WORK_TAG}", "Values": [self.settings.scratch_bucket]}

    def _instances(
        self, name: str = "", attempt: AttemptId | None = None, states: Sequence[str] = _LIVE
    ) -> list[InstanceTypeDef]:
        filters: list[FilterTypeDef] = [
            self._own,
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
        """Record which instance's files count for the attempt."""
        self.store.scratch.put(keys.launched(job.version, name, attempt, instance), b"", "text/plain")

    def _read(self, name: str, job: Job, attempt: AttemptId) -> attempts.Attempt:
        """What is stored of an attempt."""
        return attempts.read(self.store, job.version, name, attempt)

    def _result(self, attempt: attempts.Attempt) -> Result | None:
        """The result that the instance left; None if there is none. Raises NotAResult."""
        key = attempt.worker_key(keys.RESULT)
        return Result.parse(self.store.scratch.get_from(key, 0, LARGEST_RESULT + 1)) if key else None

    def _end_of_log(self, attempt: attempts.Attempt) -> bytes | None:
        """The last bytes of the instance's log; None if there is none."""
        key = attempt.worker_key(keys.LOG)
        if key is None or (head := self.store.scratch.head(key)) is None:
            return None
        return self.store.scratch.get_from(
            key, max(0, head.size - attempts.MOST_OF_A_LOG), attempts.MOST_OF_A_LOG
        )

    def _fault(self, name: str, attempt: AttemptId, job: Job, result: Result | None) -> tuple[Failure, str]:
        if result is not None:
            return result.failure(job)
        for instance in self._instances(name, attempt, (*_LIVE, "terminated")):
            reason = instance.get("StateReason", {})
            if reason.get("Code") == "Server.SpotInstanceTermination":
                return Failure.RECLAIMED, f"{instance['InstanceId']} was reclaimed"
            if instance["State"]["Name"] in ("pending", "running"):
                return (
                    Failure.TIME,
                    f"{instance['InstanceId']} did not end within {job.time_limit} s, nor by its own timer",
                )
            why = reason.get("Message", "no reason given")
            return Failure.LOST, f"{instance['InstanceId']} ended without a result ({why})"
        return Failure.LOST, "its instance is gone, without a result"


def _found(kind: str, name: str, tags: Iterable[TagTypeDef]) -> Found:
    labels = _tags(tags)
    return Found(labels.get(JOB_TAG, ""), kind, name, labels)


def _tags(tags: Iterable[TagTypeDef]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]
