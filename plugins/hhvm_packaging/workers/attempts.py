"""The attempts at a job as the store records them: how each ended, and whether another one follows."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Failure, JobFailed, TryAgain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hhvm_packaging.store.buckets import Store
    from hhvm_packaging.workers.job import Job

LAST_LINES = 30
"""How many lines of a failed job's log its error shows."""
MOST_OF_A_LOG = 64 << 20
"""Bytes of a job's log that are read at once. Of a longer one, its end is kept."""

_LONGEST_END = 16_000
"""Bytes of them at most."""

_SOON = 15
"""Seconds until the next attempt at a job whose worker was lost or too small."""
_FIRST_WAIT, _LONGEST_WAIT = 30, 10 * 60
"""Seconds until the next attempt if no worker was to be had. Doubled each time, then varied at random."""

_ELSEWHERE = frozenset({Failure.LOST, Failure.RECLAIMED})
_BIGGER = frozenset({Failure.MEMORY, Failure.DISK})
_LATER = frozenset({Failure.CAPACITY, Failure.THROTTLED, Failure.LIMIT})
_LIMITS = {**dict.fromkeys(_ELSEWHERE, 3), **dict.fromkeys(_BIGGER, 2)}
"""After how many failures of a class no attempt follows. Clearing the task allows as many again."""


@dataclass(frozen=True)
class Failed:
    """Why an attempt failed: the content of its failure.json."""

    failure: Failure
    reason: str


@dataclass(frozen=True)
class LogPart:
    """A part of the log of a job that an instance runs: it uploads what is new."""

    key: str
    start: int
    """Of the log's bytes, the first."""
    end: int
    """The byte after the last."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job, with the files that are stored of it."""

    subject: str
    """The version, or the canary."""
    job: str
    """The job's name."""
    id: AttemptId
    files: frozenset[str]
    """Written by Airflow."""
    instance: str | None = None
    """The EC2 instance that was launched for it; None if there was none."""
    worker: str | None = None
    """The aws:userid of that instance; None until it writes something."""
    worker_files: Mapping[str, int] = field(default_factory=dict)
    """The sizes, in bytes, of what that instance and no other wrote, by name."""

    def failed(self, store: Store) -> Failed | None:
        """Read why it failed. Returns None if no failure is recorded."""
        content = store.scratch.get(self.key(keys.FAILURE)) if keys.FAILURE in self.files else None
        if content is None:
            return None
        try:
            known = json.loads(content)
            return Failed(Failure[known["failure"]], str(known["reason"]))
        except (ValueError, TypeError, LookupError, RecursionError):
            damaged = f"s3://{store.scratch.name}/{self.key(keys.FAILURE)} is damaged. Clear this task"
            return Failed(Failure.JOB, damaged)

    @property
    def log_key(self) -> str | None:
        """The key of its log; None if there is none. While an instance runs, that is the instance's own.

        Until the job ends, that is the prefix of the keys of its parts.
        """
        if keys.LOG in self.files:
            return self.key(keys.LOG)
        parts = self.log_parts
        return self.worker_key(keys.LOG) or (parts[0].key.rpartition("/")[0] + "/" if parts else None)

    @property
    def log_parts(self) -> list[LogPart]:
        """The parts of its log that its instance has uploaded, in order."""
        starts = {name: keys.log_part_start(name) for name in self.worker_files}
        return [
            LogPart(self.worker_key(name) or "", start, start + self.worker_files[name])
            for name, start in sorted(starts.items())
            if start is not None
        ]

    def log(self, store: Store) -> str | None:
        """The URL of its log; None if there is no log."""
        return f"s3://{store.scratch.name}/{key}" if (key := self.log_key) else None

    def key(self, file: str) -> str:
        """The key of one of its files, such as keys.LOG."""
        return keys.job_file(self.subject, self.job, self.id, file)

    def worker_key(self, file: str) -> str | None:
        """The key of a file that its instance wrote; None if it did not."""
        if self.worker is None or file not in self.worker_files:
            return None
        return keys.worker_file(self.subject, self.job, self.id, self.worker, file)

    @property
    def made(self) -> str | None:
        """The prefix of what its instance made; None if the instance has written nothing."""
        if self.worker is None:
            return None
        return keys.attempt(self.subject, self.job, self.id) + f"{self.worker}/{keys.MADE}"


def of_job(store: Store, subject: str, job: str) -> list[Attempt]:
    """The attempts at one job, oldest first."""
    return _read(store, subject, job, keys.attempts(subject, job))


def of_subject(store: Store, subject: str) -> dict[str, list[Attempt]]:
    """The attempts at all jobs of a version, oldest first, by the job's name."""
    return {job: of_job(store, subject, job) for job in store.scratch.directories(keys.jobs(subject))}


def read(store: Store, subject: str, job: str, attempt: AttemptId) -> Attempt:
    """One attempt at a job, without files if nothing is stored of it."""
    found = _read(store, subject, job, keys.attempt(subject, job, attempt))
    return found[0] if found else Attempt(subject, job, attempt, frozenset())


def _read(store: Store, subject: str, job: str, prefix: str) -> list[Attempt]:
    """The attempts whose keys begin with the prefix, oldest first."""
    files: dict[AttemptId, set[str]] = defaultdict(set)
    launched: dict[AttemptId, str] = {}
    written: dict[tuple[AttemptId, str], dict[str, int]] = defaultdict(dict)
    # Instances may write here what they like, below a name of their own: it counts only for the attempt that
    # they were launched for, and makes no attempt.
    for entry in store.scratch.entries(prefix):
        key = entry.key
        if fields := keys.Scratch.JOB_FILE.match(key):
            files[AttemptId.parse(fields["attempt"])].add(fields["job_file"])
        elif fields := keys.Scratch.LAUNCHED.match(key):
            launched[AttemptId.parse(fields["attempt"])] = fields["instance"]
        elif fields := keys.Scratch.WORKER_FILE.match(key):
            written[AttemptId.parse(fields["attempt"]), fields["worker"]][fields["worker_file"]] = entry.size
    return [
        _with_instance(Attempt(subject, job, id_, frozenset(files[id_]), launched.get(id_)), written)
        for id_ in sorted({*files, *launched})
    ]


def _with_instance(attempt: Attempt, written: Mapping[tuple[AttemptId, str], Mapping[str, int]]) -> Attempt:
    """The attempt with what its own instance wrote, of what all instances did."""
    for (id_, worker), sizes in written.items():
        if id_ == attempt.id and worker.partition(":")[2] == attempt.instance:
            return replace(attempt, worker=worker, worker_files=sizes)
    return attempt


def failures(store: Store, known: Iterable[Attempt]) -> list[Failure]:
    """The recorded failures of the attempts, in their order."""
    return [failed.failure for attempt in known if (failed := attempt.failed(store))]


def final_failure(store: Store, job: Job, name: str, since: int) -> JobFailed | None:
    """The recorded failure of the job's last attempt, if no attempt follows a failure of its class.

    Attempts before number ``since`` do not count.
    """
    known = [attempt for attempt in of_job(store, job.version, name) if attempt.id.number >= since]
    failed = known[-1].failed(store) if known else None
    if failed is None or failed.failure in _LIMITS or failed.failure in _LATER:
        return None
    key = known[-1].log_key or known[-1].key(keys.LOG)
    message = _message(store, job, key, failed.failure, failed.reason, store.scratch.get(key))
    return JobFailed(message, failed.failure)


def is_failed(store: Store, job: Job, name: str, attempt: AttemptId) -> bool:
    """Whether a failure of this attempt is recorded."""
    return store.scratch.head(keys.job_file(job.version, name, attempt, keys.FAILURE)) is not None


def failed(
    store: Store,
    job: Job,
    name: str,
    attempt: AttemptId,
    failure: Failure,
    reason: str,
    log: bytes | None = None,
) -> JobFailed | TryAgain:
    """Record why an attempt failed. Returns what to raise: TryAgain if another attempt follows.

    The message has the version, distribution, step, class and reason. If there is a ``log``, it also has the
    last lines and the log's URL.
    """
    key = keys.job_file(job.version, name, attempt, keys.FAILURE)
    store.scratch.put_json(key, {"failure": failure.name, "reason": reason})
    known = failures(store, of_job(store, job.version, name))
    delay = _delay(failure, known)
    if delay is None and failure in _LIMITS:
        reason += ". Clear this task to run it again"
    log_key = keys.job_file(job.version, name, attempt, keys.LOG)
    message = _message(store, job, log_key, failure, reason, log)
    return JobFailed(message, failure) if delay is None else TryAgain(message, delay, failure)


def _message(store: Store, job: Job, log_key: str, failure: Failure, reason: str, log: bytes | None) -> str:
    message = f"{job.title}: {failure}: {reason}"
    if log is not None:
        end = log[-_LONGEST_END:].decode(errors="replace")
        lines = "\n".join(end.splitlines()[-LAST_LINES:])
        message += f". The whole log: s3://{store.scratch.name}/{log_key}\nIts last lines:\n{lines}"
    return message


def _delay(failure: Failure, known: list[Failure]) -> float | None:
    """Seconds until the next attempt after all these failures; None if none follows."""
    if failure in _LATER:
        waited = next((n for n, one in enumerate(reversed(known)) if one not in _LATER), len(known))
        wait = float(min(_FIRST_WAIT << max(waited - 1, 0), _LONGEST_WAIT))
        return wait * random.uniform(0.5, 1.5)  # ruff: ignore[suspicious-non-cryptographic-random-usage]
    for group in (_ELSEWHERE, _BIGGER):
        if failure in group and sum(one in group for one in known) % _LIMITS[failure]:
            return _SOON
    return None
