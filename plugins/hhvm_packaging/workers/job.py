"""A job: what runs on a worker, whichever kind of worker that is."""

from __future__ import annotations

import datetime
import hashlib
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hhvm_packaging.errors import PackagingError


class Input(BaseModel):
    """A file in scratch that the worker fetches before the job starts."""

    model_config = ConfigDict(frozen=True)

    key: str
    name: str
    """The file's name in the job's input directory; it may have directories of its own."""
    sha256: str


class Job(BaseModel):
    """One script of jobs/, with all that it needs to know."""

    model_config = ConfigDict(frozen=True)

    version: str
    script: str
    """The file in jobs/."""
    distro: str | None = None
    packaging: str
    """SHA-256 of the packaging files."""
    environment: dict[str, str]
    inputs: tuple[Input, ...] = ()
    outputs: str | None = None
    """Under which prefix in scratch the worker leaves the artifacts; None where there are none."""
    needs_engine: bool = False
    """Whether the script starts containers of its own."""
    needs_keys: bool = False
    """Whether it clones from, or pushes to, repositories that know it by a key."""
    time_limit: int
    """Seconds."""

    @property
    def title(self) -> str:
        """The job in words, as errors begin: version, distribution, step."""
        return ", ".join(filter(None, [f"HHVM {self.version}", self.distro, self.script]))

    @property
    def digest(self) -> str:
        """Equal for jobs that do the same work; where the artifacts go does not matter."""
        return hashlib.sha256(self.model_dump_json(exclude={"outputs"}).encode()).hexdigest()


class Artifact(BaseModel):
    """A file that a job made."""

    model_config = ConfigDict(frozen=True)

    name: str
    size: int
    """Bytes."""
    sha256: str
    md5: str
    stanza: str | None = None
    """For a .deb, its entry in a Packages index, as apt-ftparchive writes it."""


class Failure(StrEnum):
    """Why a job did not succeed, as far as it decides what is done about it."""

    JOB = "the job failed"
    TIME = "time limit"
    LOST = "worker lost"
    RECLAIMED = "spot reclaimed"
    MEMORY = "out of memory"
    DISK = "out of disk"
    CAPACITY = "no capacity"
    THROTTLED = "API throttling"
    LIMIT = "account limit"


class Result(BaseModel):
    """What a job leaves when it ends: the content of its result.json."""

    model_config = ConfigDict(frozen=True)

    exit_status: int
    timed_out: bool = False
    fault: Literal["", "memory", "disk"] = ""
    """What the worker had too little of, where the job failed for that."""
    started: datetime.datetime
    finished: datetime.datetime
    artifacts: tuple[Artifact, ...] = ()

    def failure(self, job: Job) -> tuple[Failure, str]:
        """Why ``job`` failed, as far as it said so itself: the class and the reason."""
        if self.timed_out:
            return Failure.TIME, f"it did not end within {job.time_limit} s and was ended"
        failure = Failure[self.fault.upper()] if self.fault else Failure.JOB
        return failure, f"exit status {self.exit_status}"


class JobFailed(PackagingError):
    """A job did not do its work. The message says which, why, and where its log is."""


class TryAgain(Exception):
    """A job did not do its work, but another try may: elsewhere, later, or on a bigger worker.

    ``delay`` says after how many seconds.
    """

    def __init__(self, message: str, delay: float) -> None:
        super().__init__(message)
        self.delay = delay


def job_name(version: str, script: str, distro: str | None, *task: str) -> str:
    """The name of the job that the task so identified runs: the same for each of its tries."""
    identity = hashlib.sha256("\0".join(task).encode()).hexdigest()[:12]
    return "-".join(filter(None, ["hhvm", version, script, distro, identity]))
