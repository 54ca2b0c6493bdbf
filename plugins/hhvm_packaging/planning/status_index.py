"""The index: one object in scratch that says of every version what is built, public and held.

It is a summary of facts that are elsewhere: manifests, suites, and records of holds. It decides nothing.
Everything that writes such a fact records it here afterwards. Two indices are merged entry by entry, and the
later entry counts, so the order of the writers does not matter. A fact that a writer did not live to record
is found when the index is rebuilt: see reporting/status.py.
"""

from __future__ import annotations

import datetime
import logging
import random
import time
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, ValidationError

from hhvm_packaging.apt.lock import hold_lock
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.release import NIGHTLY_PACKAGE, PACKAGE
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hhvm_packaging.apt.index import Identity
    from hhvm_packaging.store.buckets import Store

log = logging.getLogger(__name__)

FORMAT = 1
"""An index of another format is rebuilt."""
_JSON = "application/json"
_TRIES = 20
"""How often a writer tries, if another machine's writer is faster each time."""

E = TypeVar("E", bound=BaseModel)


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)


class SourceEntry(_Entry):
    """The source tarball of a version."""

    commit: str
    sha256: str
    size: int
    """Bytes."""
    signed_by: str = ""
    """The fingerprint of the signing key; empty until the tarball is signed."""
    at: datetime.datetime
    """When its manifest was written."""


class PackageEntry(_Entry):
    """The packages of a version for one distribution."""

    attempt: str
    """The id of the attempt that built them."""
    version: str
    """The Debian version, such as 1.0.0-1~bookworm."""
    size: int
    """Bytes of all files that are published."""
    at: datetime.datetime
    """When their manifest was written."""


class FailureEntry(_Entry):
    """The last failure of a version for one distribution, or of its source."""

    step: str
    """The id of the task."""
    reason: str
    dag_id: str
    run_id: str
    map_index: int = -1
    """-1 if the task is not mapped."""
    log: str = ""
    """The key of the log in scratch; empty if there is none."""
    at: datetime.datetime


class HoldEntry(_Entry):
    """That a version may not be public before a time, or without an approval."""

    by: str
    """The login name; empty if no person asked for it."""
    until: datetime.datetime | None = None
    needs_approval: bool = False


class AnswerEntry(_Entry):
    """What a person answered when asked whether a version may be public."""

    by: str
    at: datetime.datetime
    approved: bool
    holds: tuple[str, ...]
    """The names of the holds that it releases."""
    attempts: tuple[str, ...]
    """The ids of the attempts that built what it is about."""


class VersionEntry(_Entry):
    """What is known of one version."""

    source: SourceEntry | None = None
    packages: dict[str, PackageEntry] = {}
    """By the name of the distribution."""
    failures: dict[str, FailureEntry] = {}
    """By the name of the distribution; of the source, by an empty one."""
    holds: dict[str, HoldEntry] = {}
    """By the name of the record."""
    lifted: tuple[str, ...] = ()
    """The names of the holds that somebody lifted."""
    answers: dict[str, AnswerEntry] = {}
    """By the name of the record."""

    def merged(self, other: VersionEntry) -> VersionEntry:
        """This entry with what the other one has besides, or has later."""
        return VersionEntry(
            source=_later(self.source, other.source, lambda entry: entry.at),
            packages=_merge(self.packages, other.packages, lambda entry: entry.attempt),
            failures=_merge(self.failures, other.failures, lambda entry: entry.at),
            holds=self.holds | other.holds,
            lifted=tuple(sorted({*self.lifted, *other.lifted})),
            answers=self.answers | other.answers,
        )


class SuiteEntry(_Entry):
    """What users of a suite are offered of HHVM's main package."""

    snapshot: str
    """The name of the suite's state. Names are ordered by time."""
    offered: tuple[str, ...]
    """The Debian versions."""
    withdrawn: tuple[str, ...]
    """The Debian versions that were withdrawn."""


class Index(_Entry):
    """The index."""

    format: int = 0
    complete: bool = False
    """Whether it has been built from all facts. Otherwise it has only what was recorded since it was lost."""
    versions: dict[str, VersionEntry] = {}
    suites: dict[str, SuiteEntry] = {}
    """By repository and suite, such as ``debian bookworm``."""

    def merged(self, other: Index) -> Index:
        """This index with what the other one has besides, or has later."""
        versions = {
            version: self.versions.get(version, VersionEntry()).merged(entry)
            for version, entry in other.versions.items()
        }
        return Index(
            format=FORMAT,
            complete=self.complete or other.complete,
            versions=self.versions | versions,
            suites=_merge(self.suites, other.suites, lambda entry: entry.snapshot),
        )


def _later(one: E | None, other: E | None, when: Callable[[E], str | datetime.datetime]) -> E | None:
    """The later of two entries of the same thing. Of equal ones, the first."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=when)


def _merge(
    one: Mapping[str, E], other: Mapping[str, E], when: Callable[[E], str | datetime.datetime]
) -> dict[str, E]:
    both = {name: _later(one.get(name), entry, when) for name, entry in other.items()}
    return {**one, **{name: entry for name, entry in both.items() if entry}}


def parse(content: bytes | None) -> Index | None:
    """The index in an object; None if the object is missing, damaged or of another format."""
    try:
        found = Index.model_validate_json(content) if content else None
    except ValidationError:
        return None
    return found if found and found.format == FORMAT else None


def read(store: Store) -> Index | None:
    """The stored index; None if it is lost or damaged."""
    return parse(store.scratch.get(keys.STATUS))


def merge_in(store: Store, more: Index) -> Index:
    """Store what ``more`` has besides the index, or has later. Returns the whole index.

    Raises Conflict if others were faster again and again; NoConditionalWrites.
    """
    for number in range(_TRIES):
        with hold_lock(store.scratch, keys.STATUS, directory=store.locks):
            content, etag = store.scratch.get_with_etag(keys.STATUS)
            known = parse(content)
            index = (known or Index()).merged(more)
            if index == known:
                return index
            try:
                store.scratch.replace(
                    keys.STATUS, index.model_dump_json(exclude_defaults=True).encode(), _JSON, etag=etag
                )
            except Conflict:
                if number == _TRIES - 1:
                    raise
            else:
                return index
        # Writers on other machines: not all of them again at the same moment.
        time.sleep(random.uniform(0, 0.1 * (number + 1)))  # ruff: ignore[suspicious-non-cryptographic-random-usage]
    raise AssertionError("unreachable")


def record(store: Store, more: Index) -> None:
    """Store what ``more`` has. What it is about is a fact already, so a failure is logged and not raised."""
    try:
        merge_in(store, more)
    except (BotoCoreError, ClientError, Conflict, PackagingError) as error:
        log.warning(
            "The console's index does not have this yet: %s. It is found when the index is rebuilt, daily",
            error,
        )


def record_version(store: Store, version: str, entry: VersionEntry) -> None:
    """Store what is new of one version; see ``record``."""
    record(store, Index(versions={version: entry}))


def record_suite(
    store: Store, suite: str, snapshot: str, offered: Iterable[Identity], withdrawn: Iterable[Identity]
) -> None:
    """Store what a suite offers now; see ``record``. ``suite`` is as a Suite prints itself."""
    record(store, Index(suites={suite: describe_suite(snapshot, offered, withdrawn)}))


def describe_suite(snapshot: str, offered: Iterable[Identity], withdrawn: Iterable[Identity]) -> SuiteEntry:
    """The entry of a suite in this state."""
    return SuiteEntry(snapshot=snapshot, offered=_versions(offered), withdrawn=_versions(withdrawn))


def _versions(identities: Iterable[Identity]) -> tuple[str, ...]:
    return tuple(sorted({version for name, version, _ in identities if name in (PACKAGE, NIGHTLY_PACKAGE)}))
