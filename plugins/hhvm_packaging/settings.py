"""Every deployment setting, in one place.

Each field is overridden by the environment variable ``HHVM_PACKAGING_<FIELD>``, lists and
objects as JSON: ``HHVM_PACKAGING_DOCKER_VOLUMES='["/srv/git"]'``.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, StringConstraints, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from hhvm_packaging import private_directory
from hhvm_packaging.release import is_same_version

Seconds = Annotated[int, Field(gt=0)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
SuiteName = Annotated[str, StringConstraints(pattern=r"^DISTRO(-[a-z0-9.]+)*$")]
Address = Annotated[str, StringConstraints(pattern=r"^[^@\s,]+@[^@\s,]+$")]
Architecture = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]+$")]

_SUITES = {"nightly": ["DISTRO"], "release": ["DISTRO", "DISTRO-x.y"]}


class TimeLimits(BaseModel):
    """How long each kind of job may run before it is ended, in seconds."""

    make_source_tarball: Seconds = 30 * 60
    make_binary_package: Seconds = 4 * 60 * 60
    publish_release_source: Seconds = 30 * 60
    look_at_suites: Seconds = 15 * 60


class Machine(BaseModel):
    """What one kind of job runs on."""

    instance_types: Annotated[list[NonEmpty], Field(min_length=1)] = ["t3.small", "t3a.small"]
    """In order of preference: if EC2 has no capacity for the first, the next is tried."""
    bigger: list[NonEmpty] = ["t3.large", "t3a.large"]
    """The types for one more attempt of a job that ran out of memory or disk."""
    disk: Annotated[int, Field(ge=8)] = 16
    """GiB; the bigger machine has twice as much."""
    spot: bool = False
    """Whether a spot instance is tried first."""


_BUILDER = Machine(
    instance_types=["r6i.4xlarge", "r6a.4xlarge", "r5.4xlarge"],
    bigger=["r6i.8xlarge", "r6a.8xlarge", "r5.8xlarge"],
    disk=256,
)


class Ec2(BaseModel):
    """Where jobs run on EC2, and with which permissions."""

    region: NonEmpty = "us-west-2"
    image_parameter: NonEmpty = "/aws/service/debian/release/12/latest/amd64"
    """The SSM parameter that names the image."""
    instance_profile: NonEmpty = "hhvm-worker"
    security_groups: list[NonEmpty] = []
    """Empty for the network's default."""
    subnets: list[NonEmpty] = []
    """In order of preference; empty for the default network's."""
    keys_parameters: Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9_.-]+)*$")] = ""
    """An SSM path. Each parameter directly under it becomes a file of ``~/.ssh`` (``id_ed25519``, ``config``,
    ``known_hosts``) for the jobs that clone the staging repository or push to the public one. Empty: none."""
    machines: dict[str, Machine] = {"make-binary-package": _BUILDER}
    """By the job's script; other jobs run on the default, a small machine."""

    def machine(self, script: str) -> Machine:
        """The machine that a job's script runs on."""
        return self.machines.get(script, Machine())


class Email(BaseModel):
    """Mail to people, through an Airflow connection of the type ``smtp``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["email"]
    connection: NonEmpty = "smtp_default"
    """Its extra field ``from_email`` is the sender."""
    to: Annotated[list[Address], Field(min_length=1)]


class Slack(BaseModel):
    """Messages to a Slack channel, through a connection of the type ``slackwebhook``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["slack"]
    connection: NonEmpty = "slack_default"
    """Its password is the webhook, which belongs to one channel."""


class Webhook(BaseModel):
    """JSON by POST to a web server, through a connection of the type ``http``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["webhook"]
    connection: NonEmpty = "http_default"
    path: str = ""
    """On the connection's host. A secret belongs to the connection, not here."""


Channel: TypeAlias = Annotated[Email | Slack | Webhook, Field(discriminator="kind")]
"""A way to notify people. Passwords and tokens are in the connection, never here."""


class Settings(BaseSettings):
    """The deployment. The defaults are HHVM's own."""

    model_config = SettingsConfigDict(env_prefix="HHVM_PACKAGING_", env_nested_delimiter="__", extra="forbid")

    scratch_bucket: NonEmpty = "hhvm-scratch"
    """Private: build artifacts, manifests, and release sources before they are public."""
    downloads_bucket: NonEmpty = "hhvm-downloads"
    """Public: what dl.hhvm.com serves."""
    public_url: HttpUrl = HttpUrl("https://dl.hhvm.com")
    """Where users see the downloads bucket."""
    cdn_distribution: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]*$")] = ""
    """The id of the CloudFront distribution in front of it. Each publish invalidates its copies of the
    indices. Empty: none."""

    aws_conn_id: NonEmpty = "hhvm_aws"
    """The Airflow connection for S3, and for KMS."""
    signing_conn_id: NonEmpty = "hhvm_signing_key"
    """The Airflow connection whose password is the armored private gpg key."""
    signing_key_file: Path | None = None
    """Instead of that connection: a file, relative to ``packaging_root``, with the key encrypted by KMS."""

    suites: dict[str, Annotated[list[SuiteName], Field(min_length=1)]] = _SUITES
    """The suites that packages go to, by kind: a series such as ``4.172``, any other ``release``, a
    ``nightly``. ``DISTRO`` stands for the distribution's codename, ``x.y`` for the series. For example, a
    long-term series that goes only to a suite of its own has ``["DISTRO-lts-x.y"]``. Kinds that are not set
    keep their defaults."""
    architectures: Annotated[list[Architecture], Field(min_length=1)] = ["amd64"]
    """The architectures that each suite has an index for."""
    lock_directory: Path = private_directory.PATH
    """For the locks that keep the publishers of this machine apart where the store cannot."""
    several_hosts: bool = False
    """Whether publishers may run on several machines, which such locks do not keep apart. Then nothing is
    published to a store that does not support conditional writes."""
    requests_at_once: Annotated[int, Field(gt=0, le=10)] = 8
    """How many S3 requests a task sends at the same time if their order does not matter."""
    snapshot_days: Annotated[int, Field(gt=0)] = 90
    """How many days a replaced state of a suite can be restored. All files that it names are kept as long."""
    nightly_days: Annotated[int, Field(gt=0)] = 30
    """How many days nightlies are offered. The newest one of a suite is offered longer."""
    scratch_days: Annotated[int, Field(gt=0)] = 90
    """How many days build artifacts, job logs and candidates are kept after their version's last change."""

    public_repository: NonEmpty = "https://github.com/facebook/hhvm.git"
    """Nightlies are built from its default branch. Releases are pushed to it."""
    staging_repository: NonEmpty = "git@github.com:hhvm/hhvm-staging.git"
    """Where releases are tagged before they are public."""
    packaging_root: Path = Path(__file__).resolve().parents[2]
    """The checkout that holds bin/, distros/ and jobs/."""

    nightly_schedule: str = "0 10 * * *"
    """When nightlies are built and published: a cron expression, UTC. Empty: never."""
    parallel_runs: Annotated[int, Field(gt=1)] = 32
    """How many runs of a DAG that builds may be active, held ones included. Further runs are queued."""
    approvers: list[NonEmpty] = []
    """The users who may approve a release, by their login ids. Empty: everybody who can log in."""
    api_conn_id: NonEmpty = "hhvm_airflow_api"
    """The Airflow connection for Airflow's own API: host with scheme and port, login, password. A cancelled
    run uses it to cancel its child runs."""

    workers: Literal["docker", "ec2"] = "docker"
    poll_interval: Seconds = 5
    """How often a job is polled after its first minute. A lost worker is noticed within two intervals."""
    workers_at_once: Annotated[int, Field(gt=0)] = 10
    """Slots of Airflow's pool ``workers``: how many jobs may have a worker at the same time."""
    time_limits: TimeLimits = TimeLimits()
    grace: Seconds = 10 * 60
    """A job that its own timer did not end is ended by its task after its time limit and this grace period,
    and by the reaper and the instance's own timer after one more grace period."""

    ec2: Ec2 = Ec2()

    docker_url: NonEmpty = "unix:///var/run/docker.sock"
    docker_work_directory: Path = Path("/var/lib/hhvm-packaging/work")
    """Job directories; the Docker engine must see them at the same path."""
    docker_job_image: NonEmpty = "hhvm-packaging-job"
    """The image of the jobs' own containers, built from jobs/Dockerfile."""
    docker_volumes: list[str] = []
    """Further volumes of the jobs' containers, in the form of ``docker run --volume``: git keys, mirrors."""
    docker_network: str = ""
    """The network of all containers of a job. Empty: the engine's default."""

    notify: list[Channel] = []
    """Who is notified of failed runs, of missing nightlies and of releases that wait for approval."""

    canary_schedule: str = "@hourly"
    """When ``hhvm_canary`` checks what is published: a cron expression. Empty: only when triggered."""
    canary_patience: Annotated[int, Field(ge=0)] = 90
    """After how many seconds the canary checks its findings again. By then a publish has ended, and caches
    have expired."""
    nightly_max_age_hours: Annotated[int, Field(gt=24)] = 48
    """The next nightly is missing this many hours after the start of the newest nightly's day (UTC). Only if
    ``nightly_schedule`` is set."""

    @field_validator("suites")
    @classmethod
    def _complete(cls, suites: dict[str, list[str]]) -> dict[str, list[str]]:
        for one, other in itertools.combinations(sorted(suites), 2):
            if is_same_version(one, other):
                raise ValueError(f"{one} and {other} are one series: name it once")
        return _SUITES | suites

    def lifetime(self, time_limit: int) -> int:
        """Seconds from its start after which no worker of a job with that time limit may exist."""
        return time_limit + 2 * self.grace

    def shared_by(self, count: int) -> Settings:
        """These settings for one of ``count`` activities that share ``requests_at_once``."""
        return self.model_copy(update={"requests_at_once": max(1, self.requests_at_once // max(1, count))})

    def published(self, key: str) -> str:
        """The public URL of ``key`` in the downloads bucket."""
        return f"{str(self.public_url).rstrip('/')}/{key}"


@lru_cache
def settings() -> Settings:
    """This deployment's settings, read once per process. Raises ``pydantic.ValidationError``."""
    return Settings()
