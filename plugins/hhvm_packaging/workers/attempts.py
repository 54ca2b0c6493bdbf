"""The attempts at a job as the store records them: how each ended, and whether another one follows."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Failure, JobFailed, TryAgain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.store.buckets import Store
    from hhvm_packaging.workers.job import Job

LAST_LINES = 30
"""How much of a failed job's log its error shows."""

_SOON = 15
"""Seconds until another attempt at a job that lost its worker."""
_FIRST_WAIT, _LONGEST_WAIT = 30, 10 * 60
"""Seconds between attempts to get a worker: doubled each time, and up to half more or less by chance."""

_ELSEWHERE = frozenset({Failure.LOST, Failure.RECLAIMED})
_BIGGER = frozenset({Failure.MEMORY, Failure.DISK})
_LATER = frozenset({Failure.CAPACITY, Failure.THROTTLED, Failure.LIMIT})
_LIMITS = {**dict.fromkeys(_ELSEWHERE, 3), **dict.fromkeys(_BIGGER, 2)}
"""How many failures of such a class are one too many; a person who clears the task grants as many again."""


@dataclass(frozen=True)
class Failed:
    """Why an attempt did not succeed: the content of its failure.json."""

    failure: Failure
    reason: str


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job."""

    name: str
    """The job's."""
    id: AttemptId
    directory: str
    """In scratch, with a trailing slash."""
    files: frozenset[str]

    def failed(self, store: Store) -> Failed | None:
        """Why it failed; None where it did not, or has not yet."""
        known = store.scratch.get_json(f"{self.directory}failure.json") if self._has("failure.json") else None
        return Failed(Failure[known["failure"]], known["reason"]) if known else None

    def log(self, store: Store) -> str | None:
        """Where its log is, None where it left none."""
        return f"s3://{store.scratch.name}/{self.directory}log.txt" if self._has("log.txt") else None

    def _has(self, file: str) -> bool:
        return file in self.files


def of_job(store: Store, version: str, name: str) -> list[Attempt]:
    """The attempts at one job, oldest first."""
    return _read(store, keys.attempts(version, name))


def last(store: Store, version: str, script: str, distro: str | None = None) -> Attempt | None:
    """The last attempt at ``script`` for ``distro``, whichever run it was of; None where there was none."""
    name = re.compile(re.escape("-".join(filter(None, ["hhvm", version, script, distro]))) + "-[0-9a-f]{12}")
    found = [one for one in _read(store, keys.jobs(version)) if name.fullmatch(one.name)]
    return max(found, key=lambda one: one.id, default=None)


def failures(store: Store, known: Iterable[Attempt]) -> list[Failure]:
    """The failures among the attempts, in their order."""
    return [failed.failure for one in known if (failed := one.failed(store))]


def final_failure(store: Store, job: Job, name: str, since: int) -> JobFailed | None:
    """How the job's last attempt failed if that is recorded and of a class that only a person has done again.

    Attempts before Airflow's number ``since`` do not count.
    """
    known = [one for one in of_job(store, job.version, name) if one.id.number >= since]
    failed = known[-1].failed(store) if known else None
    if failed is None or failed.failure in _LIMITS or failed.failure in _LATER:
        return None
    directory = known[-1].directory
    log = store.scratch.get(f"{directory}log.txt")
    return JobFailed(_message(store, job, directory, failed.failure, failed.reason, log))


def is_failed(store: Store, job: Job, name: str, attempt: AttemptId) -> bool:
    """Whether it is recorded that this attempt failed."""
    return store.scratch.head(f"{keys.job(job.version, name, attempt)}failure.json") is not None


def failed(
    store: Store,
    job: Job,
    name: str,
    attempt: AttemptId,
    failure: Failure,
    reason: str,
    log: bytes | None = None,
) -> JobFailed | TryAgain:
    """Record why an attempt failed. Returns what to raise: TryAgain where the class says that another may do.

    The message has version, distribution, step, class and reason; the last lines and the place of the log,
    where there is one.
    """
    directory = keys.job(job.version, name, attempt)
    store.scratch.put_json(f"{directory}failure.json", {"failure": failure.name, "reason": reason})
    known = failures(store, of_job(store, job.version, name))
    delay = _delay(failure, known)
    if delay is None and failure in _LIMITS:
        reason += ". Clear this task to run it again"
    message = _message(store, job, directory, failure, reason, log)
    return JobFailed(message) if delay is None else TryAgain(message, delay)


def _message(store: Store, job: Job, directory: str, failure: Failure, reason: str, log: bytes | None) -> str:
    message = f"{job.title}: {failure}: {reason}"
    if log is not None:
        lines = "\n".join(log.decode(errors="replace").splitlines()[-LAST_LINES:])
        message += f". The whole log: s3://{store.scratch.name}/{directory}log.txt\nIts last lines:\n{lines}"
    return message


def _delay(failure: Failure, known: list[Failure]) -> float | None:
    """Seconds until another attempt, after all these failures; None where there is to be none."""
    if failure in _LATER:
        waited = next((n for n, one in enumerate(reversed(known)) if one not in _LATER), len(known))
        wait = float(min(_FIRST_WAIT << max(waited - 1, 0), _LONGEST_WAIT))
        return wait * random.uniform(0.5, 1.5)  # ruff: ignore[suspicious-non-cryptographic-random-usage]
    for group in (_ELSEWHERE, _BIGGER):
        if failure in group and sum(one in group for one in known) % _LIMITS[failure]:
            return _SOON
    return None


def _read(store: Store, prefix: str) -> list[Attempt]:
    """All whose directories begin so, oldest first."""
    files: dict[str, set[str]] = {}
    for key in store.scratch.keys(prefix):
        directory, _, file = key.rpartition("/")
        files.setdefault(f"{directory}/", set()).add(file)
    found = []
    for directory, names in files.items():
        *_, name, attempt, _ = directory.split("/")
        found.append(Attempt(name, AttemptId.parse(attempt), directory, frozenset(names)))
    return sorted(found, key=lambda one: one.id)
