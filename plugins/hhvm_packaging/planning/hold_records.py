"""What the store keeps of holds: who asked for them, what people were asked and answered, who lifted them.

A hold is a fact about a version, whichever run asked for it. All records are created and never written
again: the name of each is the SHA-256 of its content. Airflow alone creates them.
"""

from __future__ import annotations

import datetime
import json
from abc import ABC, abstractmethod
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hhvm_packaging.apt import undo
from hhvm_packaging.apt.index import sha256
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import status_index
from hhvm_packaging.planning.request import LIFT_HOLDS
from hhvm_packaging.planning.status_index import AnswerEntry, HoldEntry, VersionEntry
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.release import is_same_version
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.store.keys import Scratch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from hhvm_packaging.apt.change import Change
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Bucket, Store

_JSON = "application/json"


class Held(PackagingError):
    """A version may not be public now. The message says which, why, and what to do."""


class DamagedRecord(PackagingError):
    """A record of a hold cannot be read, or was changed. The message names it. Its version is held."""


class Asker(BaseModel):
    """A run that asks for something, and who triggered it."""

    model_config = ConfigDict(frozen=True)

    dag_id: str
    run_id: str
    by: str = ""
    """The login name; empty if no person triggered the run."""
    at: datetime.datetime
    """When the run began; the same whenever it is resumed."""

    def __str__(self) -> str:
        return f"{self.dag_id}, {self.run_id}" + (f", which {self.by} triggered" if self.by else "")


class Person(BaseModel):
    """Who answered, as Airflow's auth manager knows them."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str

    def is_one_of(self, logins: Collection[str]) -> bool:
        """Whether one of the logins is this person's."""
        return self.id in logins or self.name in logins


class Package(BaseModel):
    """What is built of one version for one distribution."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    version: str
    """The Debian version, such as 1.0.0-1~bookworm."""
    directory: str = Field(validation_alias="build", serialization_alias="build")
    """The directory in scratch that holds the packages. Each build has its own."""
    files: dict[str, str] = {}
    """SHA-256 of each file that is to be public, by name."""

    @property
    def digest(self) -> str:
        """SHA-256 of a line for each file, as sha256sum writes them."""
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.files.items()))
        return sha256(lines.encode())


class Builds(BaseModel):
    """What is built of one version."""

    model_config = ConfigDict(frozen=True)

    version: str
    source: str = ""
    """SHA-256 of the signed source tarball; empty if there is none."""
    packages: dict[str, Package] = {}
    """By the name of the distribution."""

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of everything that is to be public, by a name for people."""
        found = {
            f"{distro} {name}": digest
            for distro, package in self.packages.items()
            for name, digest in package.files.items()
        }
        return found | {"its source": self.source}


class _Record(BaseModel, ABC):
    """What is kept under the digest of its content."""

    model_config = ConfigDict(frozen=True)

    version: str

    @property
    def name(self) -> str:
        """The name of the record: the SHA-256 of its content."""
        return sha256(_to_json(self))

    def _write(self, store: Store, key: str) -> None:
        store.scratch.create(key, _to_json(self), _JSON)
        status_index.record_version(store, self.version, self.summarize())

    @abstractmethod
    def summarize(self) -> VersionEntry:
        """What the index has of it."""


class Hold(_Record):
    """That a version may not be public before a time, or without an approval."""

    asker: Asker
    until: datetime.datetime | None = None
    needs_approval: bool = False

    def __str__(self) -> str:
        what = [
            f"until {_time(self.until)}" if self.until else "",
            "an approval" if self.needs_approval else "",
        ]
        return f"{' and '.join(filter(None, what)) or 'nothing'}, asked for in {self.asker}"

    def write(self, store: Store) -> None:
        """Keep it. Does nothing if it is kept already."""
        self._write(store, keys.hold(self.version, self.name))

    def summarize(self) -> VersionEntry:
        """What the index has of it."""
        entry = HoldEntry(by=self.asker.by, until=self.until, needs_approval=self.needs_approval)
        return VersionEntry(holds={self.name: entry})


class Lift(_Record):
    """That a person lifted holds of a version."""

    asker: Asker
    reason: str
    holds: tuple[str, ...]
    """The names of the holds."""

    def write(self, store: Store) -> None:
        """Keep it. Does nothing if it is kept already."""
        self._write(store, keys.lifted(self.version, self.name))

    def summarize(self) -> VersionEntry:
        """What the index has of it."""
        return VersionEntry(lifted=self.holds)


def lift(version: str, asker: Asker, reason: str, store: Store, settings: Settings) -> tuple[str, ...]:
    """Lift all holds of a version that stand. Returns a line for each, for people.

    A run lifts once, however often it is resumed: what is asked for after that is not lifted. Raises Held if
    who triggered the run may not lift what needs an approval; DamagedRecord.
    """
    holds = Holds.read(store, version, settings)
    if not holds.standing or any(
        (lifted.asker.dag_id, lifted.asker.run_id) == (asker.dag_id, asker.run_id) for lifted in holds.lifts
    ):
        return ()
    by = Person(id=asker.by, name=asker.by or "nobody by name")
    if holds.needing_approval and (objection := holds.objection(by)):
        raise Held(f"the holds of HHVM {version} are not lifted: {objection}")
    Lift(version=version, asker=asker, reason=reason, holds=tuple(holds.standing)).write(store)
    return tuple(
        f"HHVM {version}: {asker.by or 'a run'} lifted what {hold} asked for: {reason}"
        for hold in holds.standing.values()
    )


class Asked(Builds):
    """What a question is about, of one version."""

    holds: tuple[str, ...]
    """The names of the holds that an approval releases."""


class Question(BaseModel):
    """What people are asked in a run: whether builds may be public. It never changes."""

    model_config = ConfigDict(frozen=True)

    asker: Asker
    number: int
    """Counts the questions of the run, from 1."""
    approvals: int = 1
    """How many people must approve."""
    asked: tuple[Asked, ...]

    @classmethod
    def read_all(cls, store: Store, dag_id: str, run_id: str) -> list[Question]:
        """All questions of a run, in their order."""
        found: list[Question] = []
        while content := store.scratch.get(key := keys.question(dag_id, run_id, len(found) + 1)):
            found.append(_parse(cls, content, store.scratch, key))
        return found

    def write(self, store: Store) -> bool:
        """Keep it, unless the run has another question of this number. Return whether it is kept now."""
        key = keys.question(self.asker.dag_id, self.asker.run_id, self.number)
        content = _to_json(self)
        return store.scratch.create(key, content, _JSON) or store.scratch.get(key) == content


class Answer(_Record):
    """A person's answer to a question, about one version."""

    dag_id: str
    run_id: str
    number: int
    """The question's."""
    asker: str
    """Who triggered the run that asked; empty if no person did."""
    by: Person
    at: datetime.datetime
    approved: bool
    asked: Asked

    def write(self, store: Store) -> None:
        """Keep it. Does nothing if it is kept already."""
        self._write(store, keys.answer(self.version, self.name))

    def summarize(self) -> VersionEntry:
        """What the index has of it."""
        packages = self.asked.packages.values()
        entry = AnswerEntry(
            by=self.by.name,
            at=self.at,
            approved=self.approved,
            holds=self.asked.holds,
            attempts=tuple(str(keys.attempt_of(package.directory)) for package in packages),
        )
        return VersionEntry(answers={self.name: entry})


class Holds:
    """The holds of one version, with all that was answered about them."""

    def __init__(
        self,
        version: str,
        holds: Mapping[str, Hold],
        lifts: Iterable[Lift],
        answers: Iterable[Answer],
        settings: Settings,
    ) -> None:
        self.version = version
        self.settings = settings
        self.all = dict(holds)
        """By name."""
        self.lifts = sorted(lifts, key=lambda lift: lift.asker.at)
        self.answers = sorted(answers, key=lambda answer: answer.at)
        lifted = {name for lift in self.lifts for name in lift.holds}
        self.standing = {name: hold for name, hold in self.all.items() if name not in lifted}
        """Those that nobody lifted, by name."""

    @classmethod
    def read(cls, store: Store, version: str, settings: Settings) -> Holds:
        """Read them from the store. Raises DamagedRecord."""
        # A release has one spelling, but a hold must not be missed if it was asked for in another one.
        held = [
            name for name in store.scratch.directories(keys.held_versions()) if is_same_version(name, version)
        ]
        reads = [
            partial(_read_record, store.scratch, key) for name in held for key in _list_keys(store, name)
        ]
        records = [record for record in run_all(reads, at_once=settings.requests_at_once) if record]
        return cls(
            version,
            {name: record for name, record in records if isinstance(record, Hold)},
            [record for _, record in records if isinstance(record, Lift)],
            [record for _, record in records if isinstance(record, Answer)],
            settings,
        )

    @property
    def until(self) -> datetime.datetime | None:
        """The time before which the version may not be public; None if there is none."""
        return max((hold.until for hold in self.standing.values() if hold.until), default=None)

    @property
    def needing_approval(self) -> dict[str, Hold]:
        """The holds that only an approval, or a person who lifts them, releases; by name."""
        return {name: hold for name, hold in self.standing.items() if hold.needs_approval}

    @cached_property
    def approvals(self) -> list[Answer]:
        """The approvals that count: those after the last rejection, by people who may approve."""
        rejected = max((answer.at for answer in self.answers if not answer.approved), default=None)
        return [
            answer
            for answer in self.answers
            if answer.approved and (rejected is None or answer.at > rejected)
            if not self.objection(answer.by, answer.asker)
        ]

    def objection(self, by: Person, asker: str = "") -> str | None:
        """Why the settings do not let a person approve the version; None if they do.

        ``asker`` triggered the run that asked.
        """
        approvers = self.settings.approvers
        if approvers is not None and not by.is_one_of(approvers):
            return f"{by.name} may not approve: the setting approvers names {', '.join(approvers)}"
        triggered = {hold.asker.by for hold in self.all.values()} | {asker}
        if not self.settings.approve_own and by.is_one_of(triggered - {""}):
            return (
                f"{by.name} triggered HHVM {self.version}, and the setting approve_own lets nobody approve "
                "what they triggered"
            )
        return None

    def describe(self) -> list[str]:
        """What was asked for, who answered, who lifted it: lines for people, none if it was never held."""
        lines = [f"held   {hold}" for hold in self.all.values()]
        for answer in self.answers:
            files = sum(len(package.files) for package in answer.asked.packages.values())
            what = f"its source and {files} files for {', '.join(answer.asked.packages) or 'no distribution'}"
            lines.append(
                f"{'yes' if answer.approved else 'no':6} by {answer.by.name} at {_time(answer.at)}, asked in "
                f"{answer.dag_id}, {answer.run_id}: {what}"
            )
            objection = answer.approved and self.objection(answer.by, answer.asker)
            lines += [f"       It does not count: {objection}"] if objection else []
        return lines + [
            f"lifted {len(lift.holds)} holds by {lift.asker}: {lift.reason}" for lift in self.lifts
        ]

    def approvers(self, hold: str, digest: str) -> dict[str, str]:
        """Who approved that the file of that SHA-256 is public in spite of the hold: names, by id."""
        return {
            answer.by.id: answer.by.name
            for answer in self.approvals
            if hold in answer.asked.holds and digest in answer.asked.digests.values()
        }

    def unapproved(self, digests: Mapping[str, str]) -> dict[str, str]:
        """What lacks an approval, of files whose SHA-256 are given by a name: a hold's name for each."""
        return {
            name: hold
            for hold in self.needing_approval
            for name, digest in digests.items()
            if len(self.approvers(hold, digest)) < self.settings.approvals
        }

    def fault(self, digests: Mapping[str, str], now: datetime.datetime) -> str | None:
        """Why files may not be public now, with what to do; None if they may.

        ``digests`` has the SHA-256 of each, by a name for people.
        """
        lift = f". To publish it all the same, trigger hhvm_publish_release with the action `{LIFT_HOLDS}`"
        if self.until and now < self.until:
            return f"HHVM {self.version} is held until {_time(self.until)}{lift}"
        lacking = self.unapproved(digests)
        if not lacking:
            return None
        hold = next(iter(lacking.values()))
        people = sorted({answer.by.name for answer in self.approvals if hold in answer.asked.holds})
        asker, again = self.all[hold].asker, f"clear `{WrapperTask.READY}` and what follows"
        if not people:
            return (
                f"HHVM {self.version} is not approved, as was asked for in {asker}. To ask for it again, "
                f"{again} in that run{lift}"
            )
        if changed := [name for name in lacking if not self.approvers(hold, digests[name])]:
            return (
                f"HHVM {self.version} is not what {' and '.join(people)} approved: it was built again since "
                f"then ({_few(changed)}). In the run of the wrapper, {again}, and have that approved"
            )
        return (
            f"HHVM {self.version} is not approved, as was asked for in {asker}: {len(people)} of "
            f"{self.settings.approvals} people approved it ({', '.join(people)})"
        )


def ensure_released(
    version: str,
    digests: Mapping[str, str],
    store: Store,
    settings: Settings,
    now: datetime.datetime | None = None,
) -> None:
    """Return if these files of a version may be public now. Raises Held if not; DamagedRecord.

    ``digests`` has the SHA-256 of each, by a name for people.
    """
    holds = Holds.read(store, version, settings)
    if fault := holds.fault(digests, now or datetime.datetime.now(datetime.UTC)):
        raise Held(fault)


def ensure_change_released(change: Change, store: Store, settings: Settings) -> None:
    """Return if what a change of a suite makes public may be public now. Raises Held; DamagedRecord."""
    versions: dict[str, dict[str, str]] = {}
    for identity, name, digest in change.added_files:
        if identity in change.own:
            continue
        version = change.version or undo.upstream(identity)
        versions.setdefault(version, {})[name] = digest
    for version, digests in versions.items():
        ensure_released(version, digests, store, settings)


def read_all(store: Store, version: str) -> list[_Record]:
    """All records of a version in this spelling. Raises DamagedRecord."""
    records = (_read_record(store.scratch, key) for key in _list_keys(store, version))
    return [found[1] for found in records if found]


def _list_keys(store: Store, version: str) -> Iterator[str]:
    for prefix in (keys.holds(version), keys.answers(version)):
        yield from store.scratch.keys(prefix)


T = TypeVar("T", bound=BaseModel)
_KINDS: Mapping[Scratch, type[_Record]] = {
    Scratch.HOLD: Hold,
    Scratch.LIFTED: Lift,
    Scratch.ANSWER: Answer,
}


def _read_record(bucket: Bucket, key: str) -> tuple[str, _Record] | None:
    """A record with its name; None for a key that is none."""
    found = keys.parse(Scratch, key)
    kind = _KINDS.get(found.template) if found else None
    if found is None or kind is None:
        return None
    content, name = bucket.get(key) or b"", found.fields["sha256"]
    record = _parse(kind, content, bucket, key)
    if sha256(content) != name or record.version != found.fields["version"]:
        raise _damaged(bucket, key, "it is not what was kept under that name")
    return name, record


def _parse(kind: type[T], content: bytes, bucket: Bucket, key: str) -> T:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise _damaged(bucket, key, str(error.errors()[0]["msg"])) from error


def _damaged(bucket: Bucket, key: str, why: str) -> DamagedRecord:
    return DamagedRecord(
        f"s3://{bucket.name}/{key} is damaged: {why}. Nothing of that version becomes public. Find out who "
        "changed it; put it back, or delete it and ask for the hold or the approval again"
    )


def _time(at: datetime.datetime) -> str:
    return f"{at.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _to_json(model: BaseModel) -> bytes:
    return json.dumps(model.model_dump(mode="json"), indent=2, sort_keys=True).encode() + b"\n"


def _few(names: Iterable[str]) -> str:
    """The first of some names, for a message."""
    first, *others = names
    return f"{first} and {len(others)} more" if others else first
