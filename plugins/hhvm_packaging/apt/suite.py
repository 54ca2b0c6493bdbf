"""A suite: what its users get, and the commit, which changes that for all of them at once.

Each write is safe to repeat and safe to die after. Files in the pool and under by-hash never change, so
everything that an InRelease names stays available, whichever InRelease a user has. InRelease alone decides.
The plain names (Packages, Release and so on) follow it; if a publisher dies before it has written them all,
the next run writes them. Release is the last of them: if it agrees with InRelease, so do the others.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from hhvm_packaging.apt import index, release_file, signing
from hhvm_packaging.apt.lock import DIRECTORY, hold_lock
from hhvm_packaging.apt.pool import find_missing
from hhvm_packaging.apt.snapshots import Snapshot, chain
from hhvm_packaging.apt.state import State, parse_index
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import CACHE_BRIEFLY, CACHE_FOREVER, Conflict
from hhvm_packaging.store.concurrently import alongside, run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hhvm_packaging.apt.change import Change
    from hhvm_packaging.apt.index import Identity
    from hhvm_packaging.apt.packages_index import Packages
    from hhvm_packaging.apt.pool import PoolFile
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.sources_index import Sources
    from hhvm_packaging.store.buckets import Bucket

log = logging.getLogger(__name__)

FOUND = "as it was found"
"""The reason in the snapshot of a state that another tool made."""
_EMPTY = index.sha256(b"")
_TEXT = "text/plain; charset=utf-8"
_CONTENT_TYPES = {
    ".gz": "application/gzip",
    ".xz": "application/x-xz",
    ".gpg": "application/pgp-signature",
}


Committed: TypeAlias = "Callable[[str, str, Iterable[Identity], Iterable[Identity]], None]"
"""It gets the suite, as it prints itself, the name of its snapshot, what it offers and what is withdrawn."""


class Damaged(PackagingError):
    """The published suite does not hold together. The message names the object."""


class WrongClock(PackagingError):
    """This machine's clock is behind: users would ignore what it publishes. The message says by how much."""


class NotNewest(Damaged):
    """What is published is another suite's, or an older state. The message says how to mend it."""


class ForeignKey(PackagingError):
    """The suite's Release says that other keys than ours sign the next one. Nothing was written."""


@dataclass(frozen=True)
class Signed:
    """A Release that was just made."""

    date: datetime
    text: bytes
    in_release: bytes


class Suite:
    """A suite of a repository (debian or ubuntu); ``scratch`` keeps its snapshots.

    Of the requests whose order does not matter, ``at_once`` are under way at the same time. ``locks`` is the
    directory of the lock files: all publishers of a machine must use the same. ``permit`` raises a
    PackagingError if a change makes something public that must not be: each commit asks it before anything is
    written. ``committed`` is told what users get after each commit, and whenever that is completed.
    """

    def __init__(
        self,
        downloads: Bucket,
        scratch: Bucket,
        repository: str,
        suite: str,
        *,
        at_once: int = 1,
        locks: Path = DIRECTORY,
        permit: Callable[[Change], None] = lambda _: None,
        committed: Committed = lambda *_: None,
    ) -> None:
        self.downloads = downloads
        self.scratch = scratch
        self.repository = repository
        self.suite = suite
        self.at_once = at_once
        self.locks = locks
        self.permit = permit
        self.committed = committed
        self.directory = keys.suite(repository, suite)

    def __str__(self) -> str:
        return f"{self.repository} {self.suite}"

    def key(self, name: str) -> str:
        """The key of a file of the suite by its plain name: InRelease, Release, Release.gpg or an index."""
        return keys.in_suite(self.repository, self.suite, name)

    def lock(self) -> AbstractContextManager[None]:
        """Keep the other publishers of this machine from changing the suite; see hold_lock."""
        return hold_lock(self.downloads, str(self), directory=self.locks)

    # What is published

    def read(self, *, signer: Signer | None = None) -> State:
        """The suite now. With a ``signer``, one of the signer's keys must have signed it.

        With a ``signer``, it must also be the newest state that the snapshots know. Raises
        signing.BadSignature, Damaged, index.InvalidIndex.
        """
        while True:
            state = self._read(signer)
            if signer is None:
                return state
            try:
                self._check_newest(state)
            except NotNewest:
                # Unless another publisher was faster.
                if (self.downloads.get(self.key(keys.IN_RELEASE)) or b"") == state.in_release:
                    raise
            else:
                return state

    def _read(self, signer: Signer | None) -> State:
        in_release, etag = self.downloads.get_with_etag(self.key(keys.IN_RELEASE))
        if in_release is not None:
            return self.parse(in_release, etag, signer=signer)
        # Other tools did not always write InRelease. A new suite has neither.
        text = self.downloads.get(self.key(keys.RELEASE))
        if text is None:
            return State()
        # A publisher that was faster writes InRelease first. If it has, there is one by now.
        in_release, etag = self.downloads.get_with_etag(self.key(keys.IN_RELEASE))
        if in_release is not None:
            return self.parse(in_release, etag, signer=signer)
        if signer is not None:
            with self._whose_signature(keys.RELEASE_GPG):
                signer.verify(text, self.downloads.get(self.key(keys.RELEASE_GPG)) or b"")
        return self._parse_text(text)

    def parse(self, in_release: bytes, etag: str | None, *, signer: Signer | None = None) -> State:
        """The suite as ``in_release`` has it, with its indices. Raises as ``read``."""
        return self._parse_text(self.verified_text(in_release, signer), etag, in_release)

    def _check_whose(self, release: release_file.Release, text: bytes) -> None:
        """Check that the Release is this suite's. Other tools name suites as they like."""
        named = [value for field in ("Suite", "Codename") if (value := release.fields.find(field))]
        if not named or self.suite in named:
            return
        snapshot = Snapshot.name_of(release.date, text)
        if self._knows(self.suite, snapshot):
            return
        has_history = any(True for _ in self.scratch.keys(keys.snapshots(self.repository, self.suite)))
        if has_history or any(self._knows(suite, snapshot) for suite in named):
            raise NotNewest(
                f"{self}: the InRelease is that of the suite {' or '.join(dict.fromkeys(named))}, which is "
                f"another one: somebody copied it to s3://{self.downloads.name}/{self.directory}. "
                f"{self._how_to_mend()}"
            )

    def _knows(self, suite: str, snapshot: str) -> bool:
        """Whether a suite has a snapshot in its history. No suite of ours has a name that is no directory."""
        try:
            key = keys.snapshot(self.repository, suite, snapshot)
        except keys.InvalidField:
            return False
        return self.scratch.head(key) is not None

    def _check_newest(self, state: State) -> None:
        """Check that no later commit of the suite is known, which somebody has replaced by this state."""
        known = keys.snapshots(self.repository, self.suite)
        shown = state.snapshot or ""
        newer = [
            name
            for entry in self.scratch.entries(known, after=f"{known}{shown}.json" if shown else "")
            # Two states of one second are of another tool.
            if (name := entry.key.removeprefix(known).removesuffix(".json")).partition("-")[0]
            > shown.partition("-")[0]
        ]
        if not newer:
            return
        # Those that this state follows are its past: a clock was ahead. Others may never have been committed.
        past = {
            snapshot.name for snapshot in chain(self.scratch, self.repository, self.suite, state.snapshot)
        }
        later = [
            found
            for name in newer
            if name not in past and (found := Snapshot.read(self.scratch, self.repository, self.suite, name))
        ]
        before = {snapshot.previous for snapshot in later}
        committed = [snapshot for snapshot in later if snapshot.committed or snapshot.name in before]
        if committed:
            last = max(committed, key=lambda snapshot: snapshot.name)
            what = f"of {_time(state.release.date)}" if state.release else "not there"
            raise NotNewest(
                f"{self}: its InRelease is {what}, but it was published at {_time(last.date)} as "
                f"{last.name}: somebody put back an older one, or removed it. {self._how_to_mend()}"
            )

    def _how_to_mend(self) -> str:
        return f"Put back the suite's own with: bin/apt-suite restore {self}"

    def restore(self, signer: Signer) -> str | None:
        """Put back the last state that was committed, as it was signed. Running it again does no harm.

        Returns its name; None if none is known. Raises signing.BadSignature; Damaged if a file of that state
        is gone; Conflict.
        """
        with self.lock():
            last = self._find_last()
            if last is None:
                return None
            content = index.encode(last.in_release)
            state = self.parse(content, None, signer=signer)
            if state.snapshot != last.name:
                raise Damaged(
                    f"{self}: s3://{self.scratch.name}/"
                    f"{keys.snapshot(self.repository, self.suite, last.name)} is not the state that its name "
                    "says. Delete it and run this again"
                )
            there, etag = self.downloads.get_with_etag(self.key(keys.IN_RELEASE))
            if there != content:
                self.put_if_unchanged(keys.IN_RELEASE, content, etag)
            self.complete(signer)
            self._tell(state)
        return last.name

    def _find_last(self) -> Snapshot | None:
        """The snapshot of the last commit: one that no other follows."""
        prefix = keys.snapshots(self.repository, self.suite)
        names = (key.removeprefix(prefix).removesuffix(".json") for key in self.scratch.keys(prefix))
        read = (Snapshot.read(self.scratch, self.repository, self.suite, name) for name in names)
        found = [snapshot for snapshot in read if snapshot]
        before = {snapshot.previous for snapshot in found}
        committed = [snapshot for snapshot in found if snapshot.committed or snapshot.name in before]
        followed = {snapshot.previous for snapshot in committed}
        ends = [snapshot for snapshot in committed if snapshot.name not in followed]
        return max(ends, key=lambda snapshot: snapshot.date, default=None)

    def _parse_text(self, text: bytes, etag: str | None = None, in_release: bytes = b"") -> State:
        release = self._parse_release(text)
        self._check_whose(release, text)
        contents = run_all(
            (partial(self.fetch_index, name, release) for name in release.indices), at_once=self.at_once
        )
        indices = {
            name: self._parse_index(name, content)
            for name, content in zip(release.indices, contents, strict=True)
        }
        return State(etag, text, release, indices, in_release)

    def _parse_release(self, text: bytes) -> release_file.Release:
        try:
            return release_file.Release.parse(text)
        except index.InvalidIndex as error:
            raise index.InvalidIndex(f"{self}: {error}") from error

    def _parse_index(self, name: str, content: bytes) -> Packages | Sources:
        """An index in our order, which other tools do not keep."""
        try:
            return parse_index(name, content).sorted()
        except index.InvalidIndex as error:
            raise index.InvalidIndex(f"{self}: {name}: {error}") from error

    def verified_text(self, in_release: bytes, signer: Signer | None) -> bytes:
        """InRelease without its signature, which is verified if there is a ``signer``.

        Raises signing.BadSignature.
        """
        if signer is None:
            try:
                return Suite.unsigned_text(in_release)
            except index.InvalidIndex as error:
                where = f"s3://{self.downloads.name}/{self.key(keys.IN_RELEASE)}"
                raise index.InvalidIndex(f"{self}: {where}: {error}") from error
        with self._whose_signature(keys.IN_RELEASE):
            return signer.signed_text(in_release)

    @contextlib.contextmanager
    def _whose_signature(self, name: str) -> Generator[None]:
        """Say in the messages of BadSignature which file's signature was verified in the block."""
        try:
            yield
        except signing.BadSignature as error:
            raise signing.BadSignature(
                f"{self}: {name}: {error}. If the signing key was replaced, let the public key of the "
                "old one follow the private key of the new one."
            ) from error

    def digests(self) -> Mapping[str, str]:
        """The SHA-256 of each index, by name, as InRelease has it. Its signature is not verified."""
        content = self.downloads.get(self.key(keys.IN_RELEASE))
        return {} if content is None else self.parse_release(content).sha256

    @staticmethod
    def parse_release(in_release: bytes) -> release_file.Release:
        """The Release in an InRelease whose signature is not verified. Raises index.InvalidIndex."""
        return release_file.Release.parse(Suite.unsigned_text(in_release))

    @staticmethod
    def unsigned_text(in_release: bytes) -> bytes:
        """The text in an InRelease whose signature is not verified. Raises index.InvalidIndex."""
        # A publisher verifies, and need not spend a twentieth of a second on this import.
        from debian import deb822

        try:
            lines = deb822.Deb822.split_gpg_and_payload(iter(in_release.splitlines(keepends=True)))[1]
        except EOFError as error:
            raise index.InvalidIndex(f"Release: {error}") from error
        return b"".join(line + b"\n" for line in lines)

    def fetch_index(self, name: str, release: release_file.Release) -> bytes:
        """The uncompressed index ``name`` that ``release`` names; a compressed form is fetched.

        Raises Damaged.
        """
        if release.sha256.get(name) == _EMPTY:
            return b""
        forms = {f"{name}{suffix}": decompress for suffix, decompress in index.DECOMPRESS.items()}
        for form, decompress in forms.items():
            if form in release.sha256 and (content := self.find_file(form, release)) is not None:
                return decompress(content)
        raise self._lost(*(form for form in forms if form in release.sha256), release=release)

    def fetch_file(self, name: str, release: release_file.Release) -> bytes:
        """The file that ``release`` names, whatever its plain name holds by now. Raises Damaged."""
        content = self.find_file(name, release)
        if content is None:
            raise self._lost(name, release=release)
        return content

    def _lost(self, *names: str, release: release_file.Release) -> Damaged:
        """None of these files, which ``release`` names, is there."""
        digests = [f"{name} with SHA-256 {release.sha256[name]}" for name in names]
        keys_ = [self.key(name) for name in names]
        places = [keys.by_hash(key, release.sha256[name]) for key, name in zip(keys_, names, strict=True)]
        return Damaged(
            f"{self}: InRelease names {' and '.join(digests)}, but in s3://{self.downloads.name} neither "
            f"{' nor '.join([*places, *keys_])} has these bytes"
        )

    def find_file(self, name: str, release: release_file.Release) -> bytes | None:
        """As ``fetch_file``, or None if no object has these bytes."""
        digest = release.sha256.get(name)
        if digest is None:
            raise Damaged(f"{self}: InRelease does not name {name}")
        key = self.key(name)
        # Suites from before by-hash have the plain name only.
        for candidate in (keys.by_hash(key, digest), key):
            content = self.downloads.get(candidate)
            if content is not None and index.sha256(content) == digest:
                return content
        return None

    # Changing it

    def find_missing(self, files: Sequence[PoolFile]) -> list[PoolFile]:
        """Those of the files that the pool lacks; see pool.find_missing."""
        return find_missing(files, self.scratch, self.downloads, str(self), at_once=self.at_once)

    def carry_out(self, change: Change, signer: Signer) -> None:
        """Commit the change. If nothing changes, complete what a publisher left that died after its commit.

        The pool has every file before users see an index that names it. Raises as ``find_missing``; Damaged;
        Conflict if the suite is no longer as the change's ``current`` says.
        """
        if change:
            change.start_rendering()
        missing = self.find_missing(change.files)
        copies = [partial(file.copy, self.scratch, self.downloads) for file in missing]
        if change:
            self.commit(change, signer, copies)
        else:
            run_all(copies, at_once=self.at_once)
            self.complete(signer)
            self._tell(change.current)

    def _tell(self, state: State) -> None:
        """Say what users get, in case that who committed it died before that."""
        if state.snapshot:
            self.committed(str(self), state.snapshot, state.identities, state.withdrawn)

    def commit(self, change: Change, signer: Signer, copies: Iterable[Callable[[], object]] = ()) -> Snapshot:
        """Change what users get. The ``copies`` put the files into the pool that it lacks.

        Raises Conflict if the suite is no longer as the change's ``current`` says; what ``permit`` raises.
        """
        self.permit(change)
        current = change.current
        # Suites of other tools may have no by-hash files at all.
        known = current.release.sha256 if current.release and current.release.by_hash else {}

        def is_new(name: str) -> bool:
            return known.get(name) != index.sha256(change.rendering[name].result())

        def put_new(name: str) -> None:
            if is_new(name):
                self.put_by_hash(name, change.rendering[name].result())

        before: list[Callable[[], object]] = [*copies, self.scratch.supports_conditional_writes]
        before.append(partial(self.keep, current, signer))
        before += [partial(put_new, name) for name in change.rendering]
        with alongside(before, at_once=self.at_once):
            signed = self.sign(change, signer)
            snapshot = Snapshot(
                name=Snapshot.name_of(signed.date, signed.text),
                date=signed.date,
                reason=change.reason,
                previous=current.snapshot,
                added=index.words(change.added),
                removed=index.words(change.removed),
                in_release=index.decode(signed.in_release),
            )
            # Before the commit, so that every commit has one. A snapshot that was never committed is in no
            # chain.
            snapshot.write(self.scratch, self.repository, self.suite)
        if not self.scratch.supports_conditional_writes():
            log.warning(
                "%s: the store does not support conditional writes; a lock keeps publishers on this machine "
                "apart, but not those on another",
                self,
            )
        self.put_if_unchanged(keys.IN_RELEASE, signed.in_release, current.etag)
        new = {name: content for name, content in change.contents.items() if is_new(name)}
        plain: list[Callable[[], object]] = [partial(self.copy_plain, *file) for file in new.items()]
        if change.going_back_to:
            plain.append(partial(self.put_others, change.going_back_to, current))
        plain.append(partial(self.put_signature, signed.text, signer))
        # From now on an older InRelease is refused.
        plain.append(partial(snapshot.as_committed().write, self.scratch, self.repository, self.suite))
        self.put_plain_names(current, signed, signer, plain)
        self.committed(str(self), snapshot.name, change.identities, change.withdrawn)
        return snapshot

    def keep(self, state: State, signer: Signer) -> None:
        """Make a snapshot of a state that has none, because another tool made it: an undo can go back to it.

        Its files get the names under their digests, because the next commit replaces their plain names. Does
        nothing if there is a snapshot.
        """
        if state.release is None or state.snapshot is None:
            return
        if self.scratch.head(keys.snapshot(self.repository, self.suite, state.snapshot)):
            return
        keep_each = (partial(self._keep_file, name, state.release) for name in state.release.files)
        run_all(keep_each, at_once=self.at_once)
        Snapshot(
            name=state.snapshot,
            date=state.release.date,
            reason=FOUND,
            previous=None,
            added=index.words(state.identities),
            removed=(),
            in_release=index.decode(
                state.in_release or signer.clearsign(state.text, f"what {self.key(keys.RELEASE)} was")
            ),
            committed=True,
        ).write(self.scratch, self.repository, self.suite)

    def _keep_file(self, name: str, release: release_file.Release) -> None:
        """Write a file that ``release`` names under its digest. Tools name files that were never there."""
        if (content := self.find_file(name, release)) is not None:
            self.put_by_hash(name, content)

    def put_others(self, release: release_file.Release, current: State) -> None:
        """Write the files of an earlier Release that are no indices of packages under their plain names."""
        there = current.release.others if current.release else {}
        for name in sorted(name for name, file in release.others.items() if there.get(name) != file):
            if (content := self.find_file(name, release)) is not None:
                self.put_plain(name, content)

    def sign(self, change: Change, signer: Signer) -> Signed:
        """The Release of the change, dated now. Raises WrongClock, ForeignKey."""
        last = change.current.release
        if last and last.signed_by and not set(last.signed_by) & set(signer.all_fingerprints):
            raise ForeignKey(
                f"{self}: its Release has Signed-By: {', '.join(last.signed_by)}. Users accept the next "
                f"Release only from these keys, and ours is {', '.join(signer.fingerprints)}: add its "
                "fingerprint with the tool that made the suite, and wait until users have that Release"
            )
        date = self.next_date(change.current)
        text = release_file.render_release(
            self.suite,
            change.contents,
            date=date,
            withdrawn=change.withdrawn,
            last=last,
            others=change.others,
        )
        return Signed(date, text, signer.clearsign(text, self.key(keys.IN_RELEASE)))

    def clock(self) -> datetime:
        """The time by this machine's clock."""
        return datetime.now(UTC)

    def next_date(self, current: State) -> datetime:
        """The date of the Release that follows ``current``: now, but later than any that users may have.

        If the last one is in the future, a clock was wrong, and users refuse that state: it does not count.
        Raises WrongClock if the wrong clock is ours.
        """
        now, last = self.clock(), current.release.date if current.release else None
        if last is None or last <= now + release_file.MAX_FUTURE:
            return release_file.next_date(now, last)
        store_now = self.downloads.now()
        if store_now is not None and last <= store_now + release_file.MAX_FUTURE:
            raise WrongClock(
                f"{self}: this machine's clock says {_time(now)}, the store's {_time(store_now)}, and the "
                f"suite was published at {_time(last)}. Users would ignore an older Release: set this "
                "machine's clock right"
            )
        states = chain(self.scratch, self.repository, self.suite, current.snapshot)
        dates = (state.date for state in states if state.date <= now + release_file.MAX_FUTURE)
        date = release_file.next_date(now, next(dates, None))
        log.warning(
            "%s: its Release is dated %s, which is %s in the future: a clock was wrong when it was "
            "published, and apt says of it that it is not valid yet. The next one is dated %s",
            self,
            _time(last),
            timedelta(seconds=round((last - now).total_seconds())),
            _time(date),
        )
        return date

    def put_plain_names(
        self, current: State, signed: Signed, signer: Signer, others: Iterable[Callable[[], object]]
    ) -> None:
        """Write the plain names: the ``others``, which are new, then Release.

        If Release was not what ``current`` says, an earlier publisher died before it wrote it. Then all plain
        names are compared and completed. A store that supports conditional writes says so by that write.
        """

        def is_complete() -> bool:
            if self.scratch.supports_conditional_writes():
                return True
            return self.downloads.get(self.key(keys.RELEASE)) == (current.text or None)

        if run_all([*others, is_complete], at_once=self.at_once)[-1]:
            with contextlib.suppress(Conflict):
                self.put_if_unchanged(keys.RELEASE, signed.text, current.release_etag)
                return
        self.complete(signer)

    def complete(self, signer: Signer) -> None:
        """Make the plain names those of the last commit, whoever made it.

        InRelease is read again after each write, so the last commit wins.
        """
        while outdated := self.find_outdated(signer):
            for name, content in outdated.items():
                self.put_plain(name, content)

    def find_outdated(self, signer: Signer) -> dict[str, bytes]:
        """The plain names that do not agree with InRelease, with what they should hold; Release is last."""
        in_release = self.downloads.get(self.key(keys.IN_RELEASE))
        if in_release is None:
            return {}
        text = self.verified_text(in_release, signer)
        release = release_file.Release.parse(text)
        names = [*release.sha256, keys.RELEASE_GPG, keys.RELEASE]
        found = run_all((partial(self.downloads.get, self.key(name)) for name in names), at_once=self.at_once)
        there = {name: content or b"" for name, content in zip(names, found, strict=True)}
        good, outdated = defaultdict(list), {}
        for name, digest in release.sha256.items():
            if index.sha256(there[name]) == digest:
                good[index.stem(name)].append(name)
            elif (content := self.find_file(name, release)) is not None:
                outdated[name] = content
                good[index.stem(name)].append(name)
        # Other tools name forms of an index that were never there: one is enough.
        for name in release.indices:
            if name not in good:
                raise self._lost(
                    *(form for form in release.sha256 if index.stem(form) == name), release=release
                )
        try:
            signing.verify(text, there[keys.RELEASE_GPG], signer.public_key())
        except signing.BadSignature:
            outdated[keys.RELEASE_GPG] = signer.detach(text, self.key(keys.RELEASE))
        if outdated or there[keys.RELEASE] != text:
            outdated[keys.RELEASE] = text
        return outdated

    def put_if_unchanged(self, name: str, content: bytes, etag: str | None) -> None:
        """Write a file if its ETag is still ``etag`` (None: if it is absent). Raises Conflict."""
        key = self.key(name)
        self.downloads.replace(key, content, _content_type(name), etag=etag, cache=CACHE_BRIEFLY)

    def put_by_hash(self, name: str, content: bytes) -> None:
        """Write an index under its digest."""
        key = keys.by_hash(self.key(name), index.sha256(content))
        self.downloads.put(key, content, _content_type(name), cache=CACHE_FOREVER)

    def copy_plain(self, name: str, content: bytes) -> None:
        """Write an index under its plain name: a copy, inside the store, of the one under its digest."""
        key = self.key(name)
        by_hash = keys.by_hash(key, index.sha256(content))
        self.downloads.copy_from(
            self.downloads, by_hash, key, content_type=_content_type(name), cache=CACHE_BRIEFLY
        )

    def put_signature(self, text: bytes, signer: Signer) -> None:
        """Write Release.gpg for the Release ``text``."""
        self.put_plain(keys.RELEASE_GPG, signer.detach(text, self.key(keys.RELEASE)))

    def put_plain(self, name: str, content: bytes) -> None:
        """Write a file under its plain name."""
        self.downloads.put(self.key(name), content, _content_type(name), cache=CACHE_BRIEFLY)


def _time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _content_type(name: str) -> str:
    return _CONTENT_TYPES.get(f".{name.rpartition('.')[2]}", _TEXT)
