"""Every deployment setting, in one place.

Each field is overridden by the environment variable ``HHVM_PACKAGING_<FIELD>``, lists and
objects as JSON: ``HHVM_PACKAGING_DOCKER_VOLUMES='["/srv/git"]'``. What cannot work is refused when Airflow
starts, and so is every other variable with that prefix.
"""

from __future__ import annotations

import itertools
import os
import re
import zoneinfo
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hhvm_packaging import cron, environment, package_claims, private_directory
from hhvm_packaging.release import is_same_version

Seconds = Annotated[int, Field(gt=0)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
DistroName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.-]*-[0-9][a-z0-9.-]*$")]


def _matches(pattern: str, allowed: str) -> AfterValidator:
    """Refuse a text that does not match as a whole, and say what is allowed."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not allowed. Allowed: {allowed}")
        return text

    return AfterValidator(check)


SuiteName = Annotated[str, _matches(r"DISTRO(-[a-z0-9.]+)*", "DISTRO or DISTRO-WORD, such as DISTRO-x.y")]
SuiteKind = Annotated[
    str, _matches(r"nightly|release|[0-9]+\.[0-9]+", "nightly, release or a series such as 4.172")
]
_SCRIPTS = (
    "make-source-tarball",
    "make-binary-package",
    "make-dependencies-image",
    "publish-release-source",
    "verify-candidate",
    "verify-published",
    "look-as-user",
)
Script = Annotated[str, _matches("|".join(_SCRIPTS), f"a script of jobs: {', '.join(_SCRIPTS)}")]
JobKind: TypeAlias = Literal["source", "build", "look", "push"]
"""What a job is for. On EC2 each kind has a role of its own."""
Address = Annotated[str, _matches(r"[^@\s,]+@[^@\s,]+", "one mail address, such as releases@example.org")]
Bucket = Annotated[str, _matches(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "a bucket's name, without s3://")]
Login = Annotated[str, _matches(r"[^\s,]+", "one login id, without spaces and commas")]
ConnectionId = Annotated[str, _matches(r"[A-Za-z0-9_.:/()#!-]{1,250}", "the id of an Airflow connection")]
Region = Annotated[str, _matches(r"[a-z]{2}(-[a-z]+)+-[0-9]", "an AWS region, such as us-west-2")]
# No leading dash, which git would read as an option.
Repository = Annotated[str, _matches(r"[^\s-]\S*", "the address of a git repository, or its path")]
SubmodulePlace = Annotated[
    str, _matches(r"/\S*|[a-z0-9][a-z0-9.-]*", "a host, such as github.com, or the path of a directory")
]
EngineUrl = Annotated[
    str, _matches(r"(unix|tcp|http|https|ssh)://\S+", "an engine's URL, such as unix:///var/run/docker.sock")
]
Registry = Annotated[
    str,
    _matches(
        r"|[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*",
        "a registry with a path, such as public.ecr.aws/docker/library",
    ),
]
Architecture = Annotated[
    str, _matches(r"(?!(all|any|source)$)[a-z0-9][a-z0-9-]+", "an architecture of machines, such as amd64")
]
BuildProfile = Annotated[
    str,
    _matches(r"[a-z0-9][a-z0-9+.-]*", "the name of a build profile, such as nocheck or pkg.hhvm.miniature"),
]
Claim = Annotated[
    str, _matches(package_claims.CLAIM, "a field and one value or package, such as Provides: php-cli")
]
PackagingRef = Annotated[
    str,
    _matches(
        r"HEAD|refs/(heads|tags)/[A-Za-z0-9*][A-Za-z0-9._*/-]*",
        "HEAD for the default branch, or refs/heads/… or refs/tags/… with * for any characters",
    ),
]
NetworkName = Annotated[
    str,
    _matches(
        r"(?!(bridge|default|host|none)$)[A-Za-z0-9][A-Za-z0-9_.-]+",
        "the name of a Docker network that jobs have for themselves, so neither host nor bridge",
    ),
]
Schedule = Annotated[str, AfterValidator(cron.check)]

KEYS_IN_JOB = "/root/.ssh"
"""Where the container of a job has its git keys."""
PACKAGING_REFS = ("HEAD", "refs/heads/HHVM-*", "refs/tags/*")
"""The default branch, the releases' branches, and all tags."""

_SUITES = {"nightly": ["DISTRO"], "release": ["DISTRO", "DISTRO-x.y"]}


def _time_zone(name: str) -> str:
    known = zoneinfo.available_timezones()
    if name not in known:
        near = get_close_matches(name, known, n=1) or ["Europe/Berlin"]
        raise ValueError(f"{name!r} is no time zone. Allowed: a name of the tz database, such as {near[0]}")
    return name


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"'{path}' is not absolute, but each service has a working directory of its own")
    return path


TimeZone = Annotated[str, AfterValidator(_time_zone)]
Directory = Annotated[Path, AfterValidator(_absolute)]


class _Part(BaseModel):
    """A part of the settings. It has no fields but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeLimits(_Part):
    """How long each kind of job may run before it is ended, in seconds."""

    make_source_tarball: Seconds = 30 * 60
    make_binary_package: Seconds = 4 * 60 * 60
    make_dependencies_image: Seconds = 60 * 60
    publish_release_source: Seconds = 30 * 60
    look_at_suites: Seconds = 15 * 60


class ContainerLimits(_Part):
    """What each container of a job may take. ``none`` is for an engine that cannot set the limit."""

    memory: Annotated[int, Field(ge=256)] | Literal["most", "none"] = "most"
    """In MiB. ``most``: seven eighths of the engine's memory."""
    processes: Annotated[int, Field(ge=64)] | Literal["none"] = 16384
    """Processes and threads at the same time."""
    log: Annotated[int, Field(gt=0)] = 256
    """In MiB. A job that prints more is ended."""

    def variables(self) -> dict[str, str]:
        """The limits as the jobs read them, by environment variable."""
        memory = {"most": "", "none": "none"}.get(str(self.memory), f"{self.memory}m")
        return {"HHVM_MEMORY": memory, "HHVM_PIDS": str(self.processes), "HHVM_LOG_SIZE": str(self.log)}


class Machine(_Part):
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


_ARM_BUILDER = Machine(
    instance_types=["r6g.4xlarge", "r7g.4xlarge", "m6g.4xlarge"],
    bigger=["r6g.8xlarge", "r7g.8xlarge"],
    disk=256,
)
_SMALL_ARM = Machine(instance_types=["t4g.small", "t4g.medium"], bigger=["t4g.large"])


class Ec2(_Part):
    """Where jobs run on EC2, and with which permissions."""

    region: Region = "us-west-2"
    image_parameter: NonEmpty = "/aws/service/debian/release/12/latest/amd64"
    """The SSM parameter that names the image."""
    other_images: dict[Architecture, NonEmpty] = {"arm64": "/aws/service/debian/release/12/latest/arm64"}
    """The same for other architectures than amd64."""
    instance_profile_prefix: NonEmpty = "hhvm-worker"
    """How the names of the instance profiles begin. Each kind of job has one of its own, such as
    ``hhvm-worker-build``, because each needs other rights."""
    instance_profiles: dict[JobKind, NonEmpty] = {}
    """The instance profiles that are called otherwise, by kind of job."""
    registry: Registry = "public.ecr.aws/docker/library"
    """Where instances pull Docker's official images from, such as ``debian:bookworm``. Empty: Docker Hub,
    which allows an address few pulls an hour."""
    dependencies_images: bool = False
    """Whether builds begin with an image that has their build dependencies. ``hhvm_renew_dependencies`` makes
    it, and scratch keeps it for ``dependencies_image_days``. Else each build installs them itself."""
    security_groups: list[NonEmpty] = []
    """Empty for the network's default."""
    subnets: list[NonEmpty] = []
    """In order of preference; empty for the default network's."""
    keys_parameters: Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9_.-]+)*$")] = ""
    """An SSM path. Each parameter directly under it becomes a file of ``~/.ssh`` (``id_ed25519``, ``config``,
    ``known_hosts``) for the jobs that clone the staging repository. Empty: none."""
    push_keys_parameters: Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9_.-]+)*$")] = ""
    """The same for the job that reads a release from the staging repository and pushes it to the public one.
    Empty: none."""
    machines: dict[Script, Machine] = {"make-binary-package": _BUILDER}
    """By the job's script; other jobs run on the default, a small machine."""
    other_machines: dict[Architecture, dict[Script | Literal["other"], Machine]] = {
        "arm64": {"make-binary-package": _ARM_BUILDER, "other": _SMALL_ARM}
    }
    """The same for other architectures than amd64; ``other`` is the small machine."""

    @model_validator(mode="after")
    def _one_profile_for_each_kind(self) -> Self:
        kinds = get_args(JobKind)
        for one, other in itertools.combinations(kinds, 2):
            if self.instance_profile(one) == self.instance_profile(other):
                raise ValueError(
                    f"instance_profiles: {one} and {other} are both {self.instance_profile(one)}: each could "
                    "read what only the other needs"
                )
        return self

    def instance_profile(self, kind: JobKind) -> str:
        """The instance profile of the instances that do this kind of job."""
        return self.instance_profiles.get(kind, f"{self.instance_profile_prefix}-{kind}")

    def keys_for(self, *, pushes: bool) -> str:
        """The SSM path of the git keys for a job that needs some."""
        return self.push_keys_parameters if pushes else self.keys_parameters

    def image(self, architecture: str) -> str:
        """The SSM parameter that names an architecture's image."""
        return self.other_images.get(architecture, self.image_parameter)

    def machine(self, script: str, architecture: str = "amd64") -> Machine:
        """The machine that a job's script runs on."""
        if architecture in self.other_machines:
            machines = self.other_machines[architecture]
            return machines.get(script, machines.get("other", _SMALL_ARM))
        return self.machines.get(script, Machine())


GateAction: TypeAlias = Literal["fail", "warn", "off"]
"""What is done about what a quality gate finds: the packages do not count as built, or people are told."""


class Gates(_Part):
    """What each quality gate does with what it finds. That packages install and upgrade is no choice."""

    service: GateAction = "fail"
    """A service of the packages does not start, or does not answer."""
    removal: GateAction = "fail"
    """The packages cannot be removed, purged, and installed again."""
    leftovers: GateAction = "warn"
    """After a purge there is more or less than before the installation."""
    downgrade: GateAction = "warn"
    """The version that is published cannot be installed over the new one."""
    autopkgtest: GateAction = "fail"
    """A test in the source package's ``debian/tests`` fails."""
    lintian: GateAction = "warn"
    """lintian has an error or a warning that it does not have for the published version."""
    files: GateAction = "warn"
    """The published version has files that the new one lacks."""
    symbols: GateAction = "warn"
    """A shared library of the published version has symbols that the new one lacks."""
    sizes: GateAction = "warn"
    """A package is so much larger or smaller than the published one as ``size_percent`` says."""
    size_percent: Annotated[int, Field(gt=0)] = 25
    base_image: GateAction = "warn"
    """The image that ``DOCKER_BASE`` names is another one than the published version was built in."""

    def action(self, gate: str) -> GateAction:
        """What is done about what the ``gate`` finds."""
        name = gate.replace("-", "_")
        found: GateAction = "fail" if name == "size_percent" else self.model_dump().get(name, "fail")
        return found

    @property
    def off(self) -> list[str]:
        """The gates that are switched off."""
        return [name for name, action in self if action == "off"]


class Email(_Part):
    """Mail to people, through an Airflow connection of the type ``smtp``."""

    kind: Literal["email"]
    connection: ConnectionId = "smtp_default"
    """Its extra field ``from_email`` is the sender."""
    to: Annotated[tuple[Address, ...], Field(min_length=1)]


class Slack(_Part):
    """Messages to a Slack channel, through a connection of the type ``slackwebhook``."""

    kind: Literal["slack"]
    connection: ConnectionId = "slack_default"
    """Its password is the webhook, which belongs to one channel."""


class Webhook(_Part):
    """JSON by POST to a web server, through a connection of the type ``http``."""

    kind: Literal["webhook"]
    connection: ConnectionId = "http_default"
    path: str = ""
    """On the connection's host. A secret belongs to the connection, not here."""


Channel: TypeAlias = Annotated[Email | Slack | Webhook, Field(discriminator="kind")]
"""A way to notify people. Passwords and tokens are in the connection, never here."""


class Settings(BaseSettings):
    """The deployment. The defaults are HHVM's own."""

    model_config = SettingsConfigDict(
        env_prefix=environment.PREFIX, env_nested_delimiter=environment.NESTED, extra="forbid"
    )

    scratch_bucket: Bucket = "hhvm-scratch"
    """Private: build artifacts, manifests, and release sources before they are public."""
    downloads_bucket: Bucket = "hhvm-downloads"
    """Public: what dl.hhvm.com serves."""
    public_url: HttpUrl = HttpUrl("https://dl.hhvm.com")
    """Where users see the downloads bucket."""
    cdn_distribution: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]*$")] = ""
    """The id of the CloudFront distribution in front of it. Each publish invalidates its copies of the
    indices. Empty: none."""

    aws_conn_id: ConnectionId = "hhvm_aws"
    """The Airflow connection for S3, and for KMS."""
    signing_conn_id: ConnectionId = "hhvm_signing_key"
    """The Airflow connection whose password is the armored private gpg key."""
    signing_key_file: Path | None = None
    """Instead of that connection: a file, relative to ``packaging_root``, which only tasks that sign open. It
    has the key encrypted by KMS, or armored as it is; then only its owner and group may read it."""
    source_keys_file: Path | None = None
    """A file, relative to ``packaging_root``, with armored public keys that signed source tarballs before and
    do not sign any more. What they signed counts as source, like what the published keys signed."""

    suites: dict[SuiteKind, Annotated[list[SuiteName], Field(min_length=1)]] = _SUITES
    """The suites that packages go to, by kind: a series such as ``4.172``, any other ``release``, a
    ``nightly``. ``DISTRO`` stands for the distribution's codename, ``x.y`` for the series. For example, a
    long-term series that goes only to a suite of its own has ``["DISTRO-lts-x.y"]``. Kinds that are not set
    keep their defaults."""
    architectures: Annotated[list[Architecture], Field(min_length=1)] = ["amd64"]
    """What each distribution is built and checked for; each suite has an index of each. amd64 is one of them:
    its builds make the source packages, and the packages for all architectures. Workers ``docker`` can run
    their engine's own architecture only."""
    allowed_claims: list[Claim] = []
    """What packages may claim over others, such as ``Provides: php-cli`` or ``Essential: yes``, if
    ``debian/control`` of their distribution claims it as well. See docs/operating.md, What a package may
    claim."""
    lock_directory: Directory = private_directory.PATH
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

    public_repository: Repository = "https://github.com/facebook/hhvm.git"
    """Nightlies are built from its default branch. Releases are pushed to it."""
    staging_repository: Repository = "git@github.com:hhvm/hhvm-staging.git"
    """Where releases are tagged before they are public."""
    submodule_hosts: list[SubmodulePlace] = []
    """The hosts that submodules of the source may come from, beside that of the source itself. A directory
    stands for the local repositories in it. Empty: the hosts of the two repositories above."""
    packaging_root: Directory = Path(__file__).resolve().parents[2]
    """The checkout that holds bin/, distros/ and jobs/."""

    packaging_refs: Annotated[list[PackagingRef], Field(min_length=1)] = list(PACKAGING_REFS)
    """The branches and tags of this project whose commits a run may use as packaging files: ``HEAD`` for the
    default branch and what is checked out, full names with ``*`` for any characters. What none of them
    contains is refused, whoever asks for it, because it runs in the build containers."""
    packaging_signers_file: Path | None = None
    """A file, relative to ``packaging_root``, with armored public keys. If it is set, a commit is used only
    if it is signed with one of them, or found by the name of a tag that is. The worktree needs no
    signature."""

    build_profiles: list[BuildProfile] = []
    """Debian's build profiles that packages are built with, besides those of the distribution, see
    https://wiki.debian.org/BuildProfileSpec. They are inputs of a build."""
    current_targets: list[DistroName] = []
    """The distributions that a run works on if nobody says which. Empty: those that the packaging revision's
    ``distros/CURRENT_TARGETS`` lists; without that file, all that are not retired."""

    nightly_schedule: Schedule = "0 10 * * *"
    """When nightlies are built and published: a cron expression. Empty: never."""
    nightly_time_zone: TimeZone = "UTC"
    """The time zone of ``nightly_schedule``. Whatever it is, a nightly has its run's date in UTC."""
    parallel_runs: Annotated[int, Field(gt=1)] = 32
    """How many runs of a DAG that builds may be active, held ones included. Further runs are queued."""
    approvers: list[Login] | None = None
    """The users who may approve a release, by their login ids. Not set: everybody who can log in."""
    approvals: Annotated[int, Field(ge=1)] = 1
    """How many people must approve a release that requires an approval."""
    approve_own: bool = True
    """Whether people may approve a release that they triggered themselves."""
    api_conn_id: ConnectionId = "hhvm_airflow_api"
    """The Airflow connection for Airflow's own API: host with scheme and port, login, password. A cancelled
    run uses it to cancel its child runs."""

    workers: Literal["docker", "ec2"] = "docker"
    poll_interval: Seconds = 5
    """How often a job is polled after its first minute. A lost worker is noticed within two intervals."""
    workers_at_once: Annotated[int, Field(gt=0)] = 10
    """Slots of Airflow's pool ``workers``: how many jobs may have a worker at the same time."""
    time_limits: TimeLimits = TimeLimits()
    container_limits: ContainerLimits = ContainerLimits()
    grace: Seconds = 10 * 60
    """A job that its own timer did not end is ended by its task after its time limit and this grace period,
    and by the reaper and the instance's own timer after one more grace period."""

    ec2: Ec2 = Ec2()

    docker_url: EngineUrl = "unix:///var/run/docker.sock"
    docker_work_directory: Directory = Path("/var/lib/hhvm-packaging/work")
    """Job directories; the Docker engine must see them at the same path."""
    docker_job_image: NonEmpty = "hhvm-packaging-job"
    """The image of the jobs' own containers, built from jobs/Dockerfile."""
    dependencies_image_days: Annotated[int, Field(ge=0)] = 7
    """How many days an image with a distribution's build dependencies is used on a Docker engine. Then it is
    made again, with the packages that the distribution has by then. 0: each build installs them itself."""
    ccache_size: Annotated[int, Field(ge=0)] = 4096
    """In MiB: how large a distribution's compiler cache may become. 0: builds compile everything."""
    ccache_days: Annotated[int, Field(gt=0)] = 30
    """How old the build may be whose compiler cache is used."""
    gates: Gates = Gates()
    """What the quality gates do with what they find in packages that were built."""
    docker_volumes: list[NonEmpty] = []
    """Further volumes of the containers of all jobs, in the form of ``docker run --volume``: mirrors, local
    repositories. Git keys do not belong here."""
    docker_read_keys: Directory | None = None
    """A directory of the engine's machine that is ``~/.ssh`` of the jobs that clone the staging repository:
    ``id_ed25519``, ``config``, ``known_hosts``. No other job gets it, nor does any container of a build."""
    docker_push_keys: Directory | None = None
    """The same for the job that reads a release from the staging repository and pushes it to the public
    one."""
    docker_network: NetworkName = "hhvm-jobs"
    """The network of all containers of a job. If the engine does not have it, it is made: a bridge whose
    containers do not reach each other."""

    notify: list[Channel] = []
    """Who is notified of failed runs, of missing nightlies and of releases that wait for approval."""

    canary_schedule: Schedule = "@hourly"
    """When ``hhvm_canary`` checks what is published: a cron expression. Empty: only when triggered."""
    canary_patience: Annotated[int, Field(ge=0)] = 90
    """After how many seconds the canary checks its findings again. By then a publish has ended, and caches
    have expired."""
    nightly_max_age_hours: Annotated[int, Field(gt=24)] = 48
    """How many hours after the beginning of the day before its own (UTC) a nightly is missing. Only if
    ``nightly_schedule`` has one for that day."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # ruff: ignore[unused-class-method-argument]
        dotenv_settings: PydanticBaseSettingsSource,  # ruff: ignore[unused-class-method-argument]
        file_secret_settings: PydanticBaseSettingsSource,  # ruff: ignore[unused-class-method-argument]
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment."""
        return init_settings, environment.Environment(settings_cls)

    @field_validator("suites")
    @classmethod
    def _complete(cls, suites: dict[str, list[str]]) -> dict[str, list[str]]:
        for one, other in itertools.combinations(sorted(suites), 2):
            if is_same_version(one, other):
                raise ValueError(f"{one} and {other} are one series: name it once")
        return _SUITES | suites

    @field_validator("approvers")
    @classmethod
    def _somebody(cls, approvers: list[str] | None) -> list[str] | None:
        if approvers == []:
            raise ValueError("an empty list is not allowed. Leave it out, and everybody may approve")
        return approvers

    @field_validator("public_url")
    @classmethod
    def _no_query(cls, url: HttpUrl) -> HttpUrl:
        if url.query is not None or url.fragment is not None or url.username is not None:
            raise ValueError(f"'{url}' is not allowed. Allowed: https://HOST or https://HOST/PATH")
        return url

    @field_validator("docker_volumes")
    @classmethod
    def _no_keys(cls, volumes: list[str]) -> list[str]:
        for volume in volumes:
            if f"{volume.split(':')[1] if ':' in volume else volume}/".startswith(f"{KEYS_IN_JOB}/"):
                raise ValueError(
                    f"{volume!r} would give git keys to every job. Name their directories in "
                    "docker_read_keys and docker_push_keys"
                )
        return volumes

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Refuse settings that contradict each other."""
        if "amd64" not in self.architectures:
            raise ValueError(
                f"architectures is {self.architectures}, but amd64 must be among them: its builds make the "
                "source packages, and the packages for all architectures"
            )
        if self.workers == "ec2":
            for name in self.architectures:
                known = name in self.ec2.other_images and name in self.ec2.other_machines
                if name != "amd64" and not known:
                    raise ValueError(
                        f"architectures has {name}, but ec2.other_images and ec2.other_machines do not: "
                        "which image and which machines does it have?"
                    )
        if self.scratch_bucket == self.downloads_bucket:
            raise ValueError(
                f"scratch_bucket and downloads_bucket are both {self.scratch_bucket}: "
                "what is not public yet would be public"
            )
        if self.public_repository == self.staging_repository:
            raise ValueError(
                f"public_repository and staging_repository are both {self.public_repository}: "
                "what is not public yet would be public"
            )
        if self.signing_key_file and "signing_conn_id" in self.model_fields_set:
            raise ValueError("signing_key_file and signing_conn_id are both set: which key signs?")
        if self.approvers is not None and len(set(self.approvers)) < self.approvals:
            raise ValueError(
                f"approvals is {self.approvals}, but approvers names {len(set(self.approvers))}: no release "
                "could be approved"
            )
        if self.grace < 2 * self.poll_interval:
            raise ValueError(
                f"grace is {self.grace} and poll_interval {self.poll_interval}: grace must be at least "
                "twice as long, or the reaper ends jobs before their tasks notice that they are late"
            )
        return self

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
    """This deployment's settings, read once per process. Raises InvalidSettings."""
    environment.refuse_doubles(os.environ)
    try:
        return Settings()
    except ValidationError as error:
        raise environment.explain(error, Settings) from None
