"""Every deployment setting, in one place.

Each field is overridden by the environment variable ``HHVM_PACKAGING_<FIELD>``, lists and
objects as JSON: ``HHVM_PACKAGING_DOCKER_VOLUMES='["/srv/git"]'``.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, HttpUrl, StringConstraints, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Seconds = Annotated[int, Field(gt=0)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
SuiteName = Annotated[str, StringConstraints(pattern=r"^DISTRO(-[a-z0-9.]+)*$")]
Architecture = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]+$")]

_SUITES = {"nightly": ["DISTRO"], "release": ["DISTRO", "DISTRO-x.y"]}


class TimeLimits(BaseModel):
    """How long each kind of job may run before it is ended, in seconds."""

    make_source_tarball: Seconds = 30 * 60
    make_binary_package: Seconds = 4 * 60 * 60
    publish_release_source: Seconds = 30 * 60
    verify_published: Seconds = 15 * 60


class Settings(BaseSettings):
    """The deployment. The defaults are HHVM's own."""

    model_config = SettingsConfigDict(env_prefix="HHVM_PACKAGING_", env_nested_delimiter="__", extra="forbid")

    scratch_bucket: NonEmpty = "hhvm-scratch"
    """Private: build artifacts, manifests, and release sources before they are public."""
    downloads_bucket: NonEmpty = "hhvm-downloads"
    """Public: what dl.hhvm.com serves."""
    public_url: HttpUrl = HttpUrl("https://dl.hhvm.com")
    """Where users see the downloads bucket."""

    aws_conn_id: NonEmpty = "hhvm_aws"
    """The Airflow connection for S3."""
    signing_conn_id: NonEmpty = "hhvm_signing_key"
    """The Airflow connection whose password is the armored private gpg key."""

    suites: dict[str, Annotated[list[SuiteName], Field(min_length=1)]] = _SUITES
    """The suites that packages go to: of the series ``4.172``, of any other ``release``, of a ``nightly``.
    ``DISTRO`` stands for the distribution's codename, ``x.y`` for the series; a long-term series that is
    to be in a suite of its own alone says ``["DISTRO-lts-x.y"]``. What is not set stays as it is here."""
    architectures: Annotated[list[Architecture], Field(min_length=1)] = ["amd64"]
    """Those that each suite has an index for."""
    lock_directory: Path = Path(tempfile.gettempdir())
    """For the locks that keep this machine's publishers apart where the store cannot."""
    requests_at_once: Annotated[int, Field(gt=0, le=10)] = 8
    """How many requests to S3 a publish has under way where their order does not matter."""
    snapshot_days: Annotated[int, Field(gt=0)] = 90
    """How long after it was replaced a suite's state can be put back; its by-hash files stay that long."""

    public_repository: NonEmpty = "https://github.com/facebook/hhvm.git"
    """Nightlies come from its default branch; releases are pushed to it."""
    staging_repository: NonEmpty = "git@github.com:hhvm/hhvm-staging.git"
    """Where releases are tagged before they are public."""
    packaging_root: Path = Path(__file__).resolve().parents[2]
    """The checkout that holds bin/, distros/ and jobs/."""

    workers: Literal["docker"] = "docker"
    poll_interval: Seconds = 5
    """How often a running job is looked at; a lost worker is noticed within two of these."""
    time_limits: TimeLimits = TimeLimits()

    docker_url: NonEmpty = "unix:///var/run/docker.sock"
    docker_work_directory: Path = Path("/var/lib/hhvm-packaging/work")
    """Job directories; the Docker engine must see them at the same path."""
    docker_job_image: NonEmpty = "hhvm-packaging-job"
    """The image of the jobs' own containers, built from jobs/Dockerfile."""
    docker_volumes: list[str] = []
    """More volumes for the jobs' containers, as ``docker run --volume`` takes them: git keys, mirrors."""
    docker_network: str = ""
    """The network of containers that read the published repository; empty for the engine's default."""

    @field_validator("suites")
    @classmethod
    def _complete(cls, suites: dict[str, list[str]]) -> dict[str, list[str]]:
        return _SUITES | suites

    def published(self, key: str) -> str:
        """The public URL of ``key`` in the downloads bucket."""
        return f"{str(self.public_url).rstrip('/')}/{key}"


@lru_cache
def settings() -> Settings:
    """This deployment's settings, read once per process. Raises ``pydantic.ValidationError``."""
    return Settings()
