"""Every deployment setting, in one place.

Each field is overridden by the environment variable ``HHVM_PACKAGING_<FIELD>``, lists and
objects as JSON: ``HHVM_PACKAGING_DOCKER_VOLUMES='["/srv/git"]'``.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, StringConstraints, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from hhvm_packaging import private_directory

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
    """In order of preference: where there is no room for the first, the next is asked for."""
    bigger: list[NonEmpty] = ["t3.large", "t3a.large"]
    """Those for the one more try of a job that ran out of memory or disk."""
    disk: Annotated[int, Field(ge=8)] = 16
    """GiB; the bigger machine has twice as much."""
    spot: bool = False
    """Whether it is asked for on the spot market first."""


_BUILDER = Machine(
    instance_types=["r6i.4xlarge", "r6a.4xlarge", "r5.4xlarge"],
    bigger=["r6i.8xlarge", "r6a.8xlarge", "r5.8xlarge"],
    disk=256,
)


class Ec2(BaseModel):
    """Where and as whom jobs run on EC2."""

    region: NonEmpty = "us-west-2"
    image_parameter: NonEmpty = "/aws/service/debian/release/12/latest/amd64"
    """The SSM parameter that names the image."""
    instance_profile: NonEmpty = "hhvm-worker"
    security_groups: list[NonEmpty] = []
    """Empty for the network's default."""
    subnets: list[NonEmpty] = []
    """In order of preference; empty for the default network's."""
    keys_parameters: Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9_.-]+)*$")] = ""
    """An SSM path. Each parameter right below it is a file of ``~/.ssh`` for the jobs that clone the staging
    repository or push to the public one: ``id_ed25519``, ``config``, ``known_hosts``. Empty for none."""
    machines: dict[str, Machine] = {"make-binary-package": _BUILDER}
    """By the job's script; the others have a small one."""

    def machine(self, script: str) -> Machine:
        """What a job's script runs on."""
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
    """On the connection's host; what is secret of it belongs to the connection."""


Channel: TypeAlias = Annotated[Email | Slack | Webhook, Field(discriminator="kind")]
"""A way to tell people. Passwords and tokens are in the connection, never here."""


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
    """The id of the CloudFront distribution before it, whose copies of indices each publish has it forget;
    empty for none."""

    aws_conn_id: NonEmpty = "hhvm_aws"
    """The Airflow connection for S3, and for KMS."""
    signing_conn_id: NonEmpty = "hhvm_signing_key"
    """The Airflow connection whose password is the armored private gpg key."""
    signing_key_file: Path | None = None
    """In place of that connection: a file, relative to ``packaging_root``, that KMS decrypts to the key."""

    suites: dict[str, Annotated[list[SuiteName], Field(min_length=1)]] = _SUITES
    """The suites that packages go to: of the series ``4.172``, of any other ``release``, of a ``nightly``.
    ``DISTRO`` stands for the distribution's codename, ``x.y`` for the series; a long-term series that is
    to be in a suite of its own alone says ``["DISTRO-lts-x.y"]``. What is not set stays as it is here."""
    architectures: Annotated[list[Architecture], Field(min_length=1)] = ["amd64"]
    """Those that each suite has an index for."""
    lock_directory: Path = private_directory.PATH
    """For the locks that keep the publishers of this machine apart where the store cannot."""
    requests_at_once: Annotated[int, Field(gt=0, le=10)] = 8
    """How many requests to S3 a task has under way where their order does not matter."""
    snapshot_days: Annotated[int, Field(gt=0)] = 90
    """How long after it was replaced a suite's state can be put back; all that it names stays that long."""
    nightly_days: Annotated[int, Field(gt=0)] = 30
    """How long nightlies are offered; a suite's newest one is for longer."""
    scratch_days: Annotated[int, Field(gt=0)] = 90
    """How long after a version was last worked on its build artifacts, job logs and candidates stay."""

    public_repository: NonEmpty = "https://github.com/facebook/hhvm.git"
    """Nightlies come from its default branch; releases are pushed to it."""
    staging_repository: NonEmpty = "git@github.com:hhvm/hhvm-staging.git"
    """Where releases are tagged before they are public."""
    packaging_root: Path = Path(__file__).resolve().parents[2]
    """The checkout that holds bin/, distros/ and jobs/."""

    nightly_schedule: str = "0 10 * * *"
    """When nightlies are built and published, as cron has it, UTC; empty for never."""
    parallel_runs: Annotated[int, Field(gt=1)] = 32
    """How many runs of a DAG that builds may be under way, those that are held included; more are queued."""
    approvers: list[NonEmpty] = []
    """The users, by the id that they log in with, who may approve a release; empty for all who may use it."""
    api_conn_id: NonEmpty = "hhvm_airflow_api"
    """The Airflow connection for Airflow's own API, with which a run that is cancelled cancels its children:
    host, with scheme and port; login; password."""

    workers: Literal["docker", "ec2"] = "docker"
    poll_interval: Seconds = 5
    """How often a job is looked at after its first minute; a lost worker is noticed within two of these."""
    workers_at_once: Annotated[int, Field(gt=0)] = 10
    """Slots of Airflow's pool ``workers``: how many jobs may have a worker at the same time."""
    time_limits: TimeLimits = TimeLimits()
    grace: Seconds = 10 * 60
    """How long past its limit a job that its own timer did not end is ended from outside; as long again,
    and the reaper and the instance's own timer do so."""

    ec2: Ec2 = Ec2()

    docker_url: NonEmpty = "unix:///var/run/docker.sock"
    docker_work_directory: Path = Path("/var/lib/hhvm-packaging/work")
    """Job directories; the Docker engine must see them at the same path."""
    docker_job_image: NonEmpty = "hhvm-packaging-job"
    """The image of the jobs' own containers, built from jobs/Dockerfile."""
    docker_volumes: list[str] = []
    """More volumes for the jobs' containers, as ``docker run --volume`` takes them: git keys, mirrors."""
    docker_network: str = ""
    """The network of all containers of a job; empty for the engine's default."""

    notify: list[Channel] = []
    """Who is told of a run that failed, of nightlies that are missing and of what waits for approval."""

    canary_schedule: str = "@hourly"
    """When ``hhvm_canary`` looks at what is published, as cron says it; empty for never by itself."""
    canary_patience: Annotated[int, Field(ge=0)] = 90
    """Seconds after which it looks again at what is wrong: a publish is over by then, and what caches keep of
    it has expired."""
    nightly_max_age_hours: Annotated[int, Field(gt=24)] = 48
    """How long after the day of the newest nightly began, UTC, the next one is missing. Only where
    ``nightly_schedule`` is set."""

    @field_validator("suites")
    @classmethod
    def _complete(cls, suites: dict[str, list[str]]) -> dict[str, list[str]]:
        return _SUITES | suites

    def lifetime(self, time_limit: int) -> int:
        """Seconds from its start after which no worker of a job with that limit may be there."""
        return time_limit + 2 * self.grace

    def shared_by(self, count: int) -> Settings:
        """These, for each of ``count`` that go on at the same time and share the requests at once."""
        return self.model_copy(update={"requests_at_once": max(1, self.requests_at_once // max(1, count))})

    def published(self, key: str) -> str:
        """The public URL of ``key`` in the downloads bucket."""
        return f"{str(self.public_url).rstrip('/')}/{key}"


@lru_cache
def settings() -> Settings:
    """This deployment's settings, read once per process. Raises ``pydantic.ValidationError``."""
    return Settings()
