"""What each role of an AWS account must be able to do, and what it must not: bin/check-deployment asks IAM.

This is no second copy of the policies, which are in deploy/aws/roles.yaml. It is what they are for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

from hhvm_packaging.settings import JobKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hhvm_packaging.settings import Settings

USER_ID = "AROACHECKDEPLOYMENT00:i-0123456789abcdef0"
"""The aws:userid of an instance that is asked about, see decision 38."""
_ANOTHERS = "AROACHECKDEPLOYMENT00:i-fedcba9876543210f"
_JOB = "jobs/1.0.0/hhvm-1.0.0-check-deployment/20260101T000000.000000Z-1/"


@dataclass(frozen=True)
class Account:
    """Where the roles are."""

    id: str
    partition: str
    region: str

    def arn(self, service: str, resource: str, *, region: str | None = None, owner: str | None = None) -> str:
        """An ARN in this account and region, unless others are given."""
        where = self.region if region is None else region
        whose = self.id if owner is None else owner
        return f"arn:{self.partition}:{service}:{where}:{whose}:{resource}"


@dataclass(frozen=True)
class Right:
    """A call, and whether the role must be able to make it."""

    action: str
    resource: str
    """Its ARN."""
    allowed: bool
    why: str
    """What does not work without it, or what it would allow."""
    context: Mapping[str, str] = field(default_factory=dict)
    """The values of condition keys."""


def of_airflow(settings: Settings, account: Account, profile_roles: Mapping[JobKind, str]) -> Iterator[Right]:
    """What Airflow's role must and must not do. ``profile_roles`` has the ARN of the role of each profile."""
    scratch = _bucket(settings.scratch_bucket, account)
    downloads = _bucket(settings.downloads_bucket, account)
    for bucket in (scratch, downloads):
        yield Right("s3:ListBucket", bucket, True, "a missing object is an error without it")
        yield Right(
            "s3:GetObject", f"{bucket}/debian/dists/bookworm/InRelease", True, "publishing reads both"
        )
    yield Right("s3:PutObject", f"{scratch}/1.0.0/plan.json", True, "plans are kept there")
    yield Right("s3:DeleteObject", f"{scratch}/1.0.0/plan.json", True, "hhvm_prune deletes what is old")
    for key in ("debian/dists/bookworm/InRelease", "source/hhvm-1.0.0.tar.gz", "index.html", "releases.atom"):
        yield Right("s3:PutObject", f"{downloads}/{key}", True, "a publish writes it")
    yield Right(
        "s3:DeleteObject",
        f"{downloads}/debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/0",
        True,
        "hhvm_prune deletes what is old",
    )
    yield Right("s3:PutObject", f"{downloads}/conf/hhvm.gpg.key", False, "only a person replaces that key")
    for key in ("debian/dists/bookworm/InRelease", "debian/pool/main/h/hhvm/hhvm_1.0.0-1_amd64.deb"):
        yield Right("s3:DeleteObject", f"{downloads}/{key}", False, "a release would be gone")
    if settings.cdn_distribution:
        arn = account.arn("cloudfront", f"distribution/{settings.cdn_distribution}", region="")
        yield Right("cloudfront:CreateInvalidation", arn, True, "users get old indices without it")
    if settings.workers == "ec2":
        yield from _of_launcher(settings, account, profile_roles)


def _of_launcher(
    settings: Settings, account: Account, profile_roles: Mapping[JobKind, str]
) -> Iterator[Right]:
    """What Airflow's role must and must not do with instances."""
    tag = settings.scratch_bucket
    good = {
        "aws:RequestTag/hhvm.scratch": tag,
        "ec2:MetadataHttpTokens": "required",
        "ec2:MetadataHttpPutResponseHopLimit": "1",
    }
    instance, volume = account.arn("ec2", "instance/*"), account.arn("ec2", "volume/*")
    yield Right("ec2:DescribeInstances", "*", True, "workers cannot be found")
    yield Right("ec2:RunInstances", instance, True, "no worker starts", good)
    yield Right("ec2:RunInstances", volume, True, "no worker starts", good)
    weak = {**good, "ec2:MetadataHttpTokens": "optional"}
    yield Right("ec2:RunInstances", instance, False, "a container could use an instance's role", weak)
    far = {**good, "ec2:MetadataHttpPutResponseHopLimit": "2"}
    yield Right("ec2:RunInstances", instance, False, "a container could use an instance's role", far)
    ours, others = {"aws:ResourceTag/hhvm.scratch": tag}, {"aws:ResourceTag/hhvm.scratch": "another"}
    yield Right("ec2:TerminateInstances", instance, True, "workers are not ended", ours)
    yield Right("ec2:TerminateInstances", instance, False, "it could end what is not ours", others)
    to_ec2 = {"iam:PassedToService": "ec2.amazonaws.com"}
    for kind, role in profile_roles.items():
        yield Right("iam:PassRole", role, True, f"no job of the kind {kind} starts", to_ec2)
    administrator = account.arn("iam", "role/check-deployment-another-role", region="")
    yield Right("iam:PassRole", administrator, False, "an instance could be given any role", to_ec2)
    yield Right("ec2:GetConsoleOutput", instance, True, "an instance that fails at boot says nothing", ours)
    for architecture in settings.architectures:
        image = settings.ec2.image(architecture)
        # Those that AWS publishes are nobody's.
        owner = "" if image.startswith("/aws/") else None
        arn = account.arn("ssm", f"parameter{image}", owner=owner)
        yield Right("ssm:GetParameter", arn, True, f"no image for {architecture}")
    for path in _key_paths(settings).values():
        yield Right("ssm:GetParametersByPath", _parameter(path, account), False, "it would have git keys")


def of_worker(kind: JobKind, settings: Settings, account: Account) -> Iterator[Right]:
    """What the role of the instances for one kind of job must and must not do."""
    scratch, context = _bucket(settings.scratch_bucket, account), {"aws:userid": USER_ID}
    downloads = _bucket(settings.downloads_bucket, account)
    for key in ("packaging/0.tar.gz", f"{_JOB}job.json"):
        yield Right("s3:GetObject", f"{scratch}/{key}", True, "no job starts without it", context)
    inputs = {"build": "hhvm-1.0.0.tar.gz", "look": "candidate/1.0.0/debian-12-bookworm/1/InRelease"}
    for other, key in inputs.items():
        yield Right("s3:GetObject", f"{scratch}/{key}", other == kind, f"it is for {other}", context)
    caches = {
        "ccache/debian-12-bookworm/0.tar": settings.ccache_size > 0,
        "dependencies/debian-12-bookworm/1/dependencies.tar.gz": settings.ec2.dependencies_images,
    }
    for key in (key for key, used in caches.items() if used):
        yield Right("s3:GetObject", f"{scratch}/{key}", kind == "build", "builds begin with it", context)
    yield Right("s3:PutObject", f"{scratch}/{_JOB}{USER_ID}/result.json", True, "no result", context)
    for key in (f"{_JOB}{_ANOTHERS}/result.json", "1.0.0/source.json", "holds/1.0.0/0.json"):
        yield Right("s3:PutObject", f"{scratch}/{key}", False, "it could write for others", context)
    yield Right("s3:PutObject", f"{downloads}/index.html", False, "it could publish", context)
    yield Right("s3:ListBucket", scratch, False, "it could see what others make", context)
    yield Right(
        "ec2:RunInstances", account.arn("ec2", "instance/*"), False, "it could start machines", context
    )
    for owner, path in _key_paths(settings).items():
        why = f"the git key is for {owner}"
        yield Right("ssm:GetParametersByPath", _parameter(path, account), owner == kind, why, context)


def _key_paths(settings: Settings) -> dict[JobKind, str]:
    """The SSM paths of git keys, by the kind of job that needs them."""
    paths: dict[JobKind, str] = {
        "source": settings.ec2.keys_parameters,
        "push": settings.ec2.push_keys_parameters,
    }
    return {kind: path for kind, path in paths.items() if path}


def _bucket(name: str, account: Account) -> str:
    return account.arn("s3", name, region="", owner="")


def _parameter(path: str, account: Account) -> str:
    return account.arn("ssm", f"parameter{path}")


KINDS: tuple[JobKind, ...] = get_args(JobKind)
