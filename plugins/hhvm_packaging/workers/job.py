"""A job, its result and its failures: the same for every kind of worker."""

from __future__ import annotations

import datetime
import hashlib
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.settings import JobKind

NO_RESULT = 28
"""The exit status of jobs/run if there was no room even for its result; see jobs/runner.py."""

RESULT_FILE = "result.json"
Word = Annotated[str, Field(max_length=200, pattern=r"^[ -~]*$")]
GateWords = Annotated[str, Field(max_length=400, pattern=r"^[ -~]+$")]
MOST_WORDS = 30
"""Lines of a gate. The job says how many it leaves out."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}")
LARGEST_RESULT = 16 << 20
"""Bytes. It may describe every package of a build."""


class Input(BaseModel):
    """A file in scratch that the worker fetches before the job starts."""

    model_config = ConfigDict(frozen=True)

    key: str
    name: str
    """The file's path in the job's input directory."""
    sha256: str


class Job(BaseModel):
    """One script of jobs/ with its parameters."""

    model_config = ConfigDict(frozen=True)

    version: str
    script: str
    """The name of the file in jobs/."""
    distro: str | None = None
    architecture: str = "amd64"
    """Of the machine that it runs on."""
    packaging: str
    """SHA-256 of the packaging files."""
    depends_on: str | None = None
    """A digest of those packaging files that decide what the job makes. None if it is all of them."""
    environment: dict[str, str]
    files: dict[str, str] = {}
    """Texts of any length that the script finds as files in its input directory, by name."""
    inputs: tuple[Input, ...] = ()
    caches: tuple[Input, ...] = ()
    """Inputs that only save time. One with other bytes than it should have is left out, and the job is told
    why by a file of its name with ``.refused``."""
    outputs: str | None = None
    """Where the artifacts go: a prefix in scratch. None if the job makes none."""
    output_names: tuple[str, ...] = ()
    """The names that the artifacts may have; empty for any, under a prefix of the attempt's own."""
    needs_engine: bool = False
    """Whether the script starts containers of its own."""
    needs_keys: bool = False
    """Whether the script needs git keys."""
    pushes: bool = False
    """Whether those are the keys to push with, and not only those to clone the staging repository with."""
    time_limit: int
    """In seconds."""

    @property
    def title(self) -> str:
        """The version, distribution and step, for people. Error messages begin with it."""
        return ", ".join(filter(None, [f"HHVM {self.version}", self.distro, self.script]))

    @property
    def kind(self) -> JobKind:
        """What the job is for. On EC2 it decides which role the instance has, and so what it may read."""
        if self.pushes:
            return "push"
        if self.outputs is None:
            return "look"
        # Source tarballs go to the top of scratch.
        return "build" if self.outputs else "source"

    @property
    def digest(self) -> str:
        """A digest of the job without its outputs. Jobs that do the same work have the same digest."""
        left_out = {
            "outputs",
            "output_names",
            "caches",
            "depends_on" if self.depends_on is None else "packaging",
        }
        if not self.files:
            left_out.add("files")  # Such a job has the digest that it had before there were any.
        if not self.pushes:
            left_out.add("pushes")
        if self.architecture == "amd64":
            left_out.add("architecture")
        return hashlib.sha256(self.model_dump_json(exclude=left_out).encode()).hexdigest()


class Artifact(BaseModel):
    """A file that a job made."""

    model_config = ConfigDict(frozen=True)

    name: str
    size: int
    """Bytes."""
    sha256: str
    md5: str
    stanza: str | None = None
    """A .deb's entry for the Packages index, a .dsc's for the Sources index; None for other files."""


class Facts(BaseModel):
    """What a job says of how it worked. It is for people, and decides nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    base_image: Word = ""
    """The id of the distribution's own image, which the build and the install gate had."""
    base_digest: Word = ""
    """The digest that a registry knows that image by; empty if it came from none."""
    job_image: Word = ""
    """The id of the image of the job's own container."""
    dependencies_image: Word = ""
    """The id of the image with the build dependencies; empty if the build installed them."""
    compiler: Word = ""
    """The compiler of the cache."""
    cached: Annotated[int, Field(ge=0)] | None = None
    """How many objects the compiler cache had. None without one."""
    compiled: Annotated[int, Field(ge=0)] | None = None
    """How many objects it did not have."""

    def describe(self, docker_base: str) -> str:
        """The facts as a line for people; empty if there are none."""
        words = [f"in {docker_base}, {self.base_digest or self.base_image}"] if self.base_image else []
        if self.dependencies_image:
            words.append(f"with the build dependencies of {self.dependencies_image}")
        if self.cached is not None and self.compiled is not None:
            words.append(f"{self.cached} of {self.cached + self.compiled} objects from the compiler cache")
        return "; ".join(words)


class Gate(BaseModel):
    """What a quality gate found in the packages of a build; a release manager reads it."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,39}$")]
    verdict: Literal["passed", "warned", "failed", "skipped"]
    """``warned`` is what was found and does not stop the packages: see the setting ``gates``."""
    words: Annotated[tuple[GateWords, ...], Field(max_length=MOST_WORDS)] = ()
    """What was found, a line each: which package, what, what to do. Why it was skipped. A gate that passed
    may say what it looked at."""

    def describe(self) -> list[str]:
        """The gate as lines for people: the verdict, then what was found."""
        return [f"{self.verdict} {self.name}", *(f"  {line}" for line in self.words)]


def describe_gates(gates: Iterable[Gate]) -> list[str]:
    """What the quality gates found, as lines for people: those that found nothing in one line."""
    named: dict[str, list[str]] = {"passed": [], "skipped": []}
    found = []
    for gate in gates:
        if gate.verdict in named:
            named[gate.verdict].append(gate.name)
        else:
            found += gate.describe()
    return [*(f"{verdict} {', '.join(names)}" for verdict, names in named.items() if names), *found]


class Failure(StrEnum):
    """The classes of failures. The class decides whether another attempt follows; see attempts."""

    JOB = "the job failed"
    TIME = "time limit"
    LOST = "worker lost"
    RECLAIMED = "spot reclaimed"
    MEMORY = "out of memory"
    DISK = "out of disk"
    CAPACITY = "no capacity"
    THROTTLED = "API throttling"
    LIMIT = "account limit"


class NotAResult(PackagingError):
    """A result.json that says nothing. The message says why."""

    def __init__(self, why: str) -> None:
        super().__init__(f"its {RESULT_FILE} is not one: {why}")


class Result(BaseModel):
    """The result of a job that ended: how, as its result.json says, and what it made, as the collector saw.

    In result.json itself ``artifacts`` and ``left_out`` are what the job says, see outputs.
    """

    model_config = ConfigDict(frozen=True)

    exit_status: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    timed_out: bool = False
    fault: Literal["", "memory", "disk"] = ""
    """What the worker ran out of, if the job failed because of it."""
    started: datetime.datetime
    finished: datetime.datetime
    artifacts: tuple[Artifact, ...] = ()
    left_out: dict[str, str] = {}
    """Why other things that the job left are not published, by name."""
    facts: Facts = Facts()
    gates: Annotated[tuple[Gate, ...], Field(max_length=20)] = ()
    """What the quality gates found. The job says ``failed`` of all that was found."""

    @classmethod
    def parse(cls, content: bytes) -> Result:
        """Read a result.json, whoever wrote it. Raises NotAResult, which quotes nothing of it."""
        if len(content) > LARGEST_RESULT:
            raise NotAResult(f"it is larger than {LARGEST_RESULT:,} bytes")
        try:
            return cls.model_validate_json(content, strict=True)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            fields = {str(part) for fault in faults for part in fault["loc"][:1]} & set(cls.model_fields)
            why = f"it has no good {', '.join(sorted(fields))}" if fields else "it is no JSON object"
            raise NotAResult(why) from None

    def failure(self, job: Job) -> tuple[Failure, str]:
        """Return the class of the failure and the reason, for the result of a ``job`` that failed."""
        if self.timed_out:
            return Failure.TIME, f"it did not end within {job.time_limit} s and was ended"
        failure = Failure[self.fault.upper()] if self.fault else Failure.JOB
        return failure, f"exit status {self.exit_status}"


class JobFailed(PackagingError):
    """A job failed. The message says which one, why, and where its log is.

    ``failure`` is the class of the failure.
    """

    def __init__(self, message: str, failure: Failure = Failure.JOB) -> None:
        super().__init__(message)
        self.failure = failure


class TryAgain(Exception):
    """A job failed, but another attempt may succeed: elsewhere, later, or on a bigger worker.

    ``delay`` is the number of seconds until that attempt. ``failure`` is the class of the failure; None if
    this attempt may still succeed.
    """

    def __init__(self, message: str, delay: float, failure: Failure | None = None) -> None:
        super().__init__(message)
        self.delay = delay
        self.failure = failure


def is_job_name(name: str) -> bool:
    """Whether a job may be called that. Such a name is one component of a path."""
    return _NAME.fullmatch(name) is not None


def job_name(version: str, script: str, distro: str | None, *task: str) -> str:
    """The name of a task's job, the same for all attempts. ``task`` identifies the task."""
    identity = hashlib.sha256("\0".join(task).encode()).hexdigest()[:12]
    return "-".join(filter(None, ["hhvm", version, script, distro, identity]))
