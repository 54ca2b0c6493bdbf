"""Whether a deployed AWS account, its CDN and its Airflow are as this project needs them.

The checks change nothing but the probe object of the store. Each says what was seen, and what to do.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from hhvm_packaging.runs.api import ApiError
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.upkeep import account_rights
from hhvm_packaging.upkeep.account_rights import KINDS, Account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hhvm_packaging.runs.api import AirflowApi
    from hhvm_packaging.settings import JobKind, Settings
    from hhvm_packaging.upkeep.account_rights import Right

    Check = Callable[[], Iterable["Finding"]]

TIMEOUT = 10
"""Seconds that one answer of the public URL may take."""
AT_THE_EDGE = 60
"""Seconds for which a CDN may keep the public key: a revoked one must be gone soon."""
_MARGIN = 5
_AT_ONCE = 8
ROLES = "deploy deploy/aws/roles.yaml again, with the names of your settings"
CDN = "deploy deploy/aws/storage.yaml and deploy/aws/cdn.yaml again"
_STANDARD = "acdhimrtz"
"""The families of instance types that share a quota, by their first letter."""


class Verdict(StrEnum):
    """What a check found."""

    RIGHT = "right"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """What was seen of one thing."""

    check: str
    verdict: Verdict
    seen: str
    advice: str = ""
    """What to do; empty if it is right."""

    def as_json(self) -> dict[str, str]:
        """The finding for programs."""
        return {name: str(value) for name, value in asdict(self).items()}


def _right(check: str, seen: str) -> Finding:
    return Finding(check, Verdict.RIGHT, seen)


def _wrong(check: str, seen: str, advice: str) -> Finding:
    return Finding(check, Verdict.WRONG, seen, advice)


def _unknown(check: str, seen: str, advice: str) -> Finding:
    return Finding(check, Verdict.UNKNOWN, seen, advice)


class Deployment:
    """The deployment that the settings describe.

    ``client`` makes a boto3 client of a service, with the credentials of the person who checks. ``airflow``
    is Airflow's API; None if nobody said where it is. ``airflow_role`` is the name of Airflow's role.
    """

    def __init__(
        self, settings: Settings, client: Callable[[str], Any], airflow: AirflowApi | None, airflow_role: str
    ) -> None:
        self.settings = settings
        self.client = client
        self.airflow = airflow
        self.airflow_role = airflow_role

    def check(self) -> list[Finding]:
        """Check everything, several things at a time."""
        checks: dict[str, Check] = {
            "roles": self.check_roles,
            "store": self.check_store,
            "public URL": self.check_public_url,
            "public key": self.check_public_key,
            "Airflow": self.check_airflow,
        }
        if self.settings.workers == "ec2":
            checks |= {"image": self.check_image, "quotas": self.check_quotas}
        done = run_all((partial(_guarded, name, each) for name, each in checks.items()), at_once=len(checks))
        return [finding for findings in done for finding in findings]

    # Roles

    def check_roles(self) -> Iterator[Finding]:
        """Ask IAM what each role may do."""
        caller = self.client("sts").get_caller_identity()
        account = Account(caller["Account"], caller["Arn"].split(":")[1], self.settings.ec2.region)
        iam, roles = self.client("iam"), {}
        for kind in KINDS if self.settings.workers == "ec2" else ():
            profile = self.settings.ec2.instance_profile(kind)
            try:
                found = iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"]
            except iam.exceptions.NoSuchEntityException:
                yield _wrong(f"role for {kind}", f"there is no instance profile {profile}", ROLES)
                continue
            roles[kind] = str(found[0]["Arn"])
        yield from self._check_distinct(roles)
        own = account.arn("iam", f"role/{self.airflow_role}", region="")
        wanted = {own: account_rights.of_airflow(self.settings, account, roles)}
        for kind, arn in roles.items():
            wanted[arn] = account_rights.of_worker(kind, self.settings, account)
        for arn, rights in wanted.items():
            yield self._check_role(arn, list(rights), caller["Arn"])

    def _check_distinct(self, roles: dict[JobKind, str]) -> Iterator[Finding]:
        for kind, role in roles.items():
            if others := [other for other, found in roles.items() if found == role and other != kind]:
                yield _wrong(
                    f"role for {kind}", f"{role} is also that of {', '.join(others)}", f"one each: {ROLES}"
                )

    def _check_role(self, arn: str, rights: list[Right], caller: str) -> Finding:
        """Compare what IAM's simulator says of one role with what must be.

        Where nobody may ask the simulator, and this is the caller's own role, harmless calls are tried.
        """
        role = arn.rpartition("/")[2]
        check = f"role {role}"
        try:
            answers = run_all((partial(self._simulate, arn, right) for right in rights), at_once=_AT_ONCE)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("NoSuchEntity", "NoSuchEntityException"):
                return _wrong(check, f"there is no {arn}", ROLES)
            if f":assumed-role/{role}/" not in caller:
                advice = "ask with credentials that may iam:SimulatePrincipalPolicy"
                return _unknown(check, f"IAM does not tell you what it may do: {code}", advice)
            answers = run_all((partial(self._try, right) for right in rights), at_once=_AT_ONCE)
        known = [(right, answer) for right, answer in zip(rights, answers, strict=True) if answer is not None]
        faults = [
            f"it {'may' if answer else 'may not'} {right.action} on {right.resource} ({right.why})"
            for right, answer in known
            if answer != right.allowed
        ]
        if faults:
            return _wrong(check, "; ".join(faults), ROLES)
        must = sum(right.allowed for right, _ in known)
        seen = f"it may do {must} things that it must, and none of {len(known) - must} that it must not"
        if len(known) == len(rights):
            return _right(check, seen)
        advice = "ask with credentials that may iam:SimulatePrincipalPolicy"
        return _unknown(check, f"{seen}; {len(rights) - len(known)} could not be tried", advice)

    def _try(self, right: Right) -> bool | None:
        """Whether the caller may make a call, by a call that changes nothing; None if there is none such."""
        bucket, _, key = right.resource.rpartition(":")[2].partition("/")
        s3, calls = (
            self.client("s3"),
            {
                "s3:ListBucket": lambda: s3.list_objects_v2(Bucket=bucket, MaxKeys=1),
                "s3:GetObject": lambda: s3.head_object(Bucket=bucket, Key=key),
                # On a condition that never holds.
                "s3:PutObject": lambda: s3.put_object(
                    Bucket=bucket, Key=key, Body=b"", IfMatch=f'"{"0" * 32}"'
                ),
                "ec2:DescribeInstances": lambda: self.client("ec2").describe_instances(MaxResults=5),
                # Without decryption: names, and no keys.
                "ssm:GetParametersByPath": lambda: self.client("ssm").get_parameters_by_path(
                    Path=right.resource.rpartition(":parameter")[2], WithDecryption=False
                ),
            },
        )
        if right.action not in calls:
            return None
        try:
            calls[right.action]()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            return code not in ("403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
        return True

    def _simulate(self, arn: str, right: Right) -> bool | None:
        answer = self.client("iam").simulate_principal_policy(
            PolicySourceArn=arn,
            ActionNames=[right.action],
            ResourceArns=[right.resource],
            ContextEntries=[
                {
                    "ContextKeyName": key,
                    "ContextKeyValues": [value],
                    "ContextKeyType": "numeric" if value.isdigit() else "string",
                }
                for key, value in right.context.items()
            ],
        )
        return all(result["EvalDecision"] == "allowed" for result in answer["EvaluationResults"])

    # The store

    def check_store(self) -> Iterator[Finding]:
        """Write the probe object on a condition that never holds, and look where the buckets are."""
        s3, region = self.client("s3"), self.settings.ec2.region
        name = "conditional writes"
        if Store(s3, self.settings).scratch.supports_conditional_writes():
            yield _right(name, f"s3://{self.settings.scratch_bucket} refuses a write whose condition fails")
        else:
            yield _wrong(
                name,
                f"s3://{self.settings.scratch_bucket} takes a write whose condition fails",
                "use Amazon S3, or publish from one host only (docs/operating.md)",
            )
        for bucket in (self.settings.scratch_bucket, self.settings.downloads_bucket):
            there = s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] or "us-east-1"
            name = f"region of {bucket}"
            if there == region:
                yield _right(name, there)
            else:
                seen = f"{there}, but jobs run in {region}"
                yield _wrong(name, seen, "set ec2.region, and that of hhvm_aws, to the bucket's")

    # The public side

    def check_public_url(self) -> Iterator[Finding]:
        """Ask for a key that is not there, and for the pages of directories."""
        missing = self.settings.published(f"debian/dists/{uuid.uuid4().hex}/InRelease")
        status = _get(missing).status_code
        name = "a missing key"
        if status == httpx.codes.NOT_FOUND:
            yield _right(name, "404")
        else:
            why = "apt takes a suite that is not there for an error, so the first publish of a suite fails"
            yield _wrong(name, f"{missing} answers {status}: {why}", f"the CDN needs s3:ListBucket: {CDN}")
        downloads = Store(self.client("s3"), self.settings).downloads
        for directory in ("", "debian/"):
            name = f"the page of /{directory}"
            status = _get(self.settings.published(directory)).status_code
            if downloads.head(keys.listing(directory)) is None:
                advice = "trigger hhvm_update_indices, and look again"
                yield _unknown(name, "no listing is published yet", advice)
            elif status == httpx.codes.OK:
                yield _right(name, "it answers")
            else:
                yield _wrong(
                    name,
                    f"{self.settings.published(directory)} answers {status}, though the listing is there",
                    f"the CDN maps directories to index.html: {CDN}",
                )

    def check_public_key(self) -> Iterator[Finding]:
        """Compare the key that users get with the bucket's, and look how long the CDN keeps it."""
        url, name = self.settings.published(keys.PUBLIC_KEY), "public key"
        stored = Store(self.client("s3"), self.settings).downloads.get(keys.PUBLIC_KEY)
        if stored is None:
            yield _wrong(
                name, f"s3://{self.settings.downloads_bucket} has no {keys.PUBLIC_KEY}", "see docs/signing.md"
            )
            return
        answer = _get(url)
        if answer.status_code != httpx.codes.OK:
            yield _wrong(name, f"{url} answers {answer.status_code}", CDN)
        elif answer.content != stored:
            yield _wrong(
                name,
                f"{url} is not what s3://{self.settings.downloads_bucket}/{keys.PUBLIC_KEY} is",
                "if you replaced it a minute ago, look again; else invalidate /conf/* (docs/signing.md)",
            )
        else:
            yield _right(name, f"{url} is what is stored")
        yield self._check_age(answer)

    def _check_age(self, answer: httpx.Response) -> Finding:
        name, age = "public key's age", answer.headers.get("Age", "0")
        if not age.isdigit():
            return _unknown(name, f"the CDN says Age: {age}", "look at the CDN's cache policy")
        if int(age) > AT_THE_EDGE + _MARGIN:
            seen = f"the CDN has kept it for {age} s: a revoked key would be offered as long"
            return _wrong(name, seen, f"keep conf/ for {AT_THE_EDGE} s at most: {CDN}")
        return _right(name, f"{age} s")

    # Workers

    def check_image(self) -> Iterator[Finding]:
        """Look for the image that workers of each architecture start from."""
        ssm, ec2 = self.client("ssm"), self.client("ec2")
        for architecture in self.settings.architectures:
            parameter, name = self.settings.ec2.image(architecture), f"image of {architecture} workers"
            try:
                image = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
            except ssm.exceptions.ParameterNotFound:
                advice = "deploy deploy/aws/workers.yaml, or set ec2.image_parameter or ec2.other_images"
                yield _wrong(name, f"there is no parameter {parameter} in {self.settings.ec2.region}", advice)
                continue
            if ec2.describe_images(ImageIds=[image])["Images"]:
                yield _right(name, f"{parameter} is {image}")
            else:
                yield _wrong(name, f"{parameter} is {image}, which is not there", "deploy workers.yaml again")

    def check_quotas(self) -> Iterator[Finding]:
        """Compare the account's quotas with what ``workers_at_once`` of the largest machine need."""
        machines, at_once = self.settings.ec2.machines.values(), self.settings.workers_at_once
        if not machines:
            return
        types = sorted({machine.instance_types[0] for machine in machines})
        found = self.client("ec2").describe_instance_types(InstanceTypes=types)["InstanceTypes"]
        vcpus = {one["InstanceType"]: one["VCpuInfo"]["DefaultVCpus"] for one in found}
        standard = {name: count for name, count in vcpus.items() if name[0] in _STANDARD}
        needs = []
        if standard:
            needs.append(("on-demand vCPUs", "ec2", "L-1216C47A", at_once * max(standard.values())))
            if any(machine.spot for machine in machines):
                needs.append(("spot vCPUs", "ec2", "L-34B43A08", at_once * max(standard.values())))
        disk = max(machine.disk for machine in machines)
        needs.append(("TiB of gp3 volumes", "ebs", "L-7A658B76", math.ceil(at_once * disk / 1024)))
        for name, service, code, need in needs:
            yield self._check_quota(name, service, code, need)

    def _check_quota(self, name: str, service: str, code: str, need: int) -> Finding:
        quotas, check = self.client("service-quotas"), f"quota of {name}"
        try:
            quota = quotas.get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"]
        except ClientError as error:
            seen = f"AWS does not tell it: {error.response['Error']['Code']}"
            return _unknown(check, seen, "ask with credentials that may servicequotas:GetServiceQuota")
        at_once = self.settings.workers_at_once
        if quota >= need:
            return _right(check, f"{quota:g}; {at_once} workers at once need {need} at most")
        return _wrong(
            check,
            f"{quota:g}, but workers_at_once is {at_once}, which may need {need}",
            f"ask for more (service {service}, quota {code}), or lower workers_at_once and the pool workers",
        )

    # Airflow

    def check_airflow(self) -> Iterator[Finding]:
        """Look at Airflow's pools and connections."""
        if self.airflow is None:
            yield _unknown(
                "Airflow",
                "nobody said where it is",
                "set AIRFLOW_API_URL, AIRFLOW_API_USER and AIRFLOW_API_PASSWORD",
            )
            return
        pools = {pool["name"]: pool for pool in self.airflow.call("GET", "/pools", limit=100)["pools"]}
        for name, slots in (("workers", self.settings.workers_at_once), ("publish", 1)):
            yield _check_pool(name, slots, pools.get(name))
        yield from self._check_connections(self.airflow)

    def _check_connections(self, airflow: AirflowApi) -> Iterator[Finding]:
        needed = [self.settings.aws_conn_id, self.settings.api_conn_id]
        if not self.settings.signing_key_file:
            needed.append(self.settings.signing_conn_id)
        for conn_id in needed:
            name, answer = f"connection {conn_id}", airflow.request("GET", f"/connections/{conn_id}")
            if answer.status_code == httpx.codes.NOT_FOUND:
                advice = "right if a secrets backend has it; else make it (docs/aws.md)"
                yield _unknown(name, "it is not in Airflow's database", advice)
            elif not answer.is_success:
                yield _unknown(name, f"Airflow answers {answer.status_code}", "ask as a user who may see it")
            elif conn_id == self.settings.aws_conn_id and "region_name" not in (answer.json()["extra"] or ""):
                seen = "it has no region_name: KMS does not answer, and S3 redirects"
                yield _wrong(name, seen, f'add "region_name": "{self.settings.ec2.region}" to its extra')
            else:
                yield _right(name, "it is there")


def _check_pool(name: str, slots: int, pool: dict[str, Any] | None) -> Finding:
    check, make = f"pool {name}", f'airflow pools set {name} {slots} "" --include-deferred'
    if pool is None:
        return _wrong(check, "there is none: its tasks never start", make)
    if pool["slots"] != slots or not pool["include_deferred"]:
        deferred = "" if pool["include_deferred"] else ", and leaves out tasks that are deferred"
        return _wrong(check, f"it has {pool['slots']} slots, not {slots}{deferred}", make)
    return _right(check, f"{slots} slots, deferred tasks included")


def _guarded(name: str, check: Check) -> list[Finding]:
    """The findings of a check; if it could not be made, that."""
    found: list[Finding] = []
    try:
        found.extend(check())  # What was found before it fails stays.
    except (ClientError, BotoCoreError, httpx.HTTPError, ApiError) as error:
        found.append(_unknown(name, f"it could not be checked: {error}", "mend that, and check again"))
    return found


def _get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=TIMEOUT, follow_redirects=True)
