"""The canary: checks that everything published is complete, valid and recent, as users see it.

It reads ``public_url`` over HTTP, as apt does, and needs no private key.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Self

import httpx

from hhvm_packaging import distros
from hhvm_packaging.apt import index, key_policy, release_file, signing
from hhvm_packaging.apt.snapshots import Snapshot
from hhvm_packaging.apt.state import parse_index
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import nightly_days, packaging_files, target_suites
from hhvm_packaging.planning.plans import CanaryPlan
from hhvm_packaging.publishing import nightlies
from hhvm_packaging.release import Release
from hhvm_packaging.reporting.canary_turn import Turn
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.store.keys import PUBLIC_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hhvm_packaging.apt.index import Identity
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store

log = logging.getLogger(__name__)

AT_ONCE = 16
"""How many requests are sent at the same time."""
_CLOCK_SKEW = timedelta(minutes=5)
"""How far in the future a Release may be, because clocks differ."""
_LEFT = 0.25
"""The part of its time that a Release must be valid for yet."""
_ABSENT = (403, 404, 410)
"""HTTP statuses for a file that is not there; S3 says 403 to those who may not list the bucket."""


@dataclass(frozen=True)
class Patience:
    """How long a server that fails is asked again."""

    pauses: tuple[float, ...] = (1.0, 4.0)
    """Seconds before each repetition of a request that had no answer, or a server error."""
    max_failures: int = 10
    """After so many failed requests no more are sent: thousands of them would take hours."""


class NothingPublished(Exception):
    """Nothing is published yet: there is no suite."""


class _Unavailable(Exception):
    """A URL does not have what it should. The message has the URL and the reason."""

    def __init__(self, message: str, *, is_absent: bool = False) -> None:
        super().__init__(message)
        self.is_absent = is_absent
        """Whether the server says that there is no such file."""


class _ServerDown(Exception):
    """Too many requests failed. The message has the server's address."""


def plan_canary(store: Store, settings: Settings) -> CanaryPlan:
    """Plan a run of hhvm_canary: the distributions that have a suite, with the worktree's packaging files.

    Raises NothingPublished on a new deployment.
    """
    if not any(target_suites.list_suites(store, settings)):
        raise NothingPublished(f"s3://{store.downloads.name} has no suite yet")
    found, faults = [], {}
    for name in distros.names(settings.packaging_root):
        try:
            distro = distros.load(settings.packaging_root, name)
        except distros.InvalidDistro as error:
            faults[name] = str(error)
        else:
            if target_suites.list_distro_suites(distro, store, settings):
                found += [distro.on(architecture) for architecture in settings.architectures]
    return CanaryPlan(
        packaging=packaging_files.upload(store, settings.packaging_root),
        packaging_revision=packaging_files.worktree(settings.packaging_root).commit,
        distros=tuple(found),
        faults=faults,
    )


def check(
    plan: CanaryPlan,
    store: Store,
    settings: Settings,
    *,
    now: datetime | None = None,
    patience: Patience = Patience(),
) -> list[str]:
    """Check what is published: what is new or was wrong, and of the rest what is due in this turn.

    Returns a line for each finding. If anything is wrong, it is checked again after ``canary_patience``
    seconds: a publish may have been under way. ``now`` is the current time by default. See canary_turn.
    """
    turn = Turn.read(store)
    found, done = _check_once(plan, store, settings, turn, now, patience)
    if found:
        log.warning("Checking again in %s s:\n%s", settings.canary_patience, "\n".join(found))
        time.sleep(settings.canary_patience)
        found, done = _check_once(plan, store, settings, turn, now, patience)
    if done:
        log.info("%s", done.describe())
        done.write(store)
    return found


def _check_once(
    plan: CanaryPlan,
    store: Store,
    settings: Settings,
    turn: Turn,
    now: datetime | None,
    patience: Patience,
) -> tuple[list[str], Turn | None]:
    """What is wrong, and how far the canary is then; None if it did not get to the end."""
    with _Website(settings, patience) as website:
        check = _Check(website, now or datetime.now(UTC), turn)
        try:
            check.fetch_public_keys()
            for suite in target_suites.list_suites(store, settings):
                check.check_suite(suite)
            check.check_files()
        except _ServerDown as error:
            check.found.append(str(error))
            return check.found, None
        check.check_keys()
        if settings.nightly_schedule:
            for distro in (each for each in plan.distros if each.is_first):
                check.check_nightlies(distro, store, settings)
        log.info("Checked %s suites", len(check.offered))
        return check.found, check.turn_done()


class _Website:
    """The public bucket over HTTP."""

    def __init__(self, settings: Settings, patience: Patience) -> None:
        self._settings = settings
        self._patience = patience
        self._failures = 0
        self._client = httpx.Client(
            timeout=30,
            follow_redirects=True,
            limits=httpx.Limits(max_connections=AT_ONCE),
            # A response that is compressed for transfer has no Content-Length to compare.
            headers={"Accept-Encoding": "identity"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def url(self, key: str) -> str:
        """The URL at which users find the object."""
        return self._settings.published(key)

    def get(self, key: str) -> bytes:
        """The object's content. Raises _Unavailable, _ServerDown."""
        return self._request("GET", key).content

    def size(self, key: str) -> int:
        """The object's length in bytes, without its content. Raises _Unavailable, _ServerDown."""
        answer = self._request("HEAD", key)
        try:
            return int(answer.headers["Content-Length"])
        except (KeyError, ValueError):
            raise _Unavailable(f"{self.url(key)}: the server does not send its length") from None

    def _request(self, method: str, key: str) -> httpx.Response:
        if self._failures >= self._patience.max_failures:
            raise _ServerDown(f"{self.url('')}: {self._failures} requests failed; no more are sent")
        for pause in (*self._patience.pauses, None):
            try:
                answer = self._client.request(method, self.url(key))
                if answer.is_success:
                    return answer
                fault = f"HTTP {answer.status_code}"
                temporary, is_absent = answer.is_server_error, answer.status_code in _ABSENT
            except httpx.RequestError as error:
                fault, temporary, is_absent = f"{type(error).__name__}: {error}", True, False
            if pause is None or not temporary:
                break
            time.sleep(pause)
        self._failures += temporary
        raise _Unavailable(f"{self.url(key)}: {fault}", is_absent=is_absent)


class _Check:
    """One check of what is published. What is wrong is added to ``found``, a line each."""

    def __init__(self, website: _Website, now: datetime, turn: Turn) -> None:
        self.website = website
        self.now = now
        self.turn = turn
        self.states: dict[str, str] = {}
        """For each suite: the name of its state."""
        self.new: set[str] = set()
        """The keys of files that the suite did not name when it was looked at last."""
        self.wrong: list[str] = []
        self.asked = 0
        self.seconds = 0.0
        self.found: list[str] = []
        self.sizes: dict[str, tuple[str, int]] = {}
        """For the key of each file that an index names: the first suite that names it; the size in bytes."""
        self.offered: dict[str, frozenset[Identity]] = {}
        """For each suite: its packages."""
        self.dates: dict[str, datetime] = {}
        """For each suite: the date of its Release."""
        self.signed: dict[str, list[str]] = defaultdict(list)
        """For the fingerprint of each signing key: the suites that it signs."""
        self.refused: dict[str, list[str]] = defaultdict(list)
        """For each reason why apt of Debian 13 refuses signatures: the suites whose signatures they are."""
        self.expires: dict[str, datetime | None] = {}
        """For the fingerprint of each signing key: when it expires; None for never."""
        self._public_keys: bytes | None = None

    def fetch_public_keys(self) -> None:
        """Fetch the public keys with which users verify signatures."""
        self._public_keys = self._try(lambda: self.website.get(PUBLIC_KEY))

    def check_suite(self, suite: Suite) -> None:
        """Check InRelease, its signature and its times.

        Every index in every form, Release and Release.gpg are checked if the suite has changed, was wrong or
        is due in this turn.
        """
        before = len(self.found)
        self._check_suite(suite)
        if len(self.found) > before or any(str(suite) in suites for suites in self.refused.values()):
            self.wrong.append(suite.directory)

    def _check_suite(self, suite: Suite) -> None:
        try:
            text = self._fetch_release(suite)
            if text is None:
                return
            release = release_file.Release.parse(text)
        except index.InvalidIndex as error:
            self.found.append(f"{suite}: InRelease: {error}")
            return
        self._check_times(suite, release)
        state = Snapshot.name_of(release.date, text)
        known = self.turn.suites.get(str(suite))
        contents = None
        if state == known and not self.turn.is_due(suite.directory, self.now):
            contents = self._fetch_one_form(suite, release)
        if contents is None:
            self._check_release(suite, text)
            contents = self._fetch_indices(suite, release)
        named = set() if state == known else set(self.sizes)
        self.offered[str(suite)] = self._read_indices(suite, release, contents)
        if state != known:
            self.new |= set(self.sizes) - named - self._files_of(suite, known)
        self.states[str(suite)] = state

    def _files_of(self, suite: Suite, state: str | None) -> set[str]:
        """The keys of the files of an earlier state of the suite; none if that is not known any more."""
        try:
            snapshot = Snapshot.read(suite.scratch, suite.repository, suite.suite, state) if state else None
            if snapshot is None:
                return set()
            indices = suite.parse(index.encode(snapshot.in_release), None)
            return {keys.in_repository(suite.repository, path) for path, _ in indices.files}
        except (PackagingError, index.InvalidIndex) as error:
            log.warning("%s: all of its files count as new: %s", suite, error)
            return set()

    def _fetch_release(self, suite: Suite) -> bytes | None:
        """The text of InRelease; None if it is not there. Raises index.InvalidIndex.

        Other tools did not always write InRelease. Where none of our commits did, Release and Release.gpg do.
        """
        in_release = self._look(partial(self.website.get, suite.key(keys.IN_RELEASE)))
        if isinstance(in_release, bytes):
            return self._verify(suite, in_release)
        if in_release.is_absent and not any(
            suite.scratch.keys(keys.snapshots(suite.repository, suite.suite))
        ):
            release = self._look(partial(self.website.get, suite.key(keys.RELEASE)))
            if isinstance(release, bytes):
                return release
        self.found.append(f"{suite}: {in_release}")
        return None

    def _verify(self, suite: Suite, in_release: bytes) -> bytes:
        """The signed text of InRelease. If the signature is not valid, the text without it."""
        if self._public_keys is not None:
            try:
                text, signers = signing.signed_by(in_release, self._public_keys)
            except PackagingError as error:
                self.found.append(f"{suite}: {self.website.url(suite.key(keys.IN_RELEASE))}: {error}")
            else:
                for key in signers:
                    self.signed[key].append(str(suite))
                self.expires |= signers
                return text
        return Suite.unsigned_text(in_release)

    def _check_times(self, suite: Suite, release: release_file.Release) -> None:
        """Check the date of Release and until when it is valid."""
        self.dates[str(suite)] = release.date
        if release.date > self.now + _CLOCK_SKEW:
            self.found.append(f"{suite}: Release is of {_day(release.date)}, which is in the future")
        until = release.valid_until
        if until is None or release.valid_for is None:
            return
        sign = f"Publish to it, or run bin/apt-suite sign {suite}"
        if until <= self.now:
            self.found.append(f"{suite}: Release was valid until {_day(until)}: apt refuses it. {sign}")
        elif until - self.now < release.valid_for * _LEFT:
            self.found.append(f"{suite}: Release is valid until {_day(until)} only. {sign}")

    def _check_release(self, suite: Suite, text: bytes) -> None:
        """Check Release and Release.gpg, for clients that do not read InRelease."""
        plain = self._try(lambda: self.website.get(suite.key(keys.RELEASE)), f"{suite}: ")
        if plain not in (None, text):
            self.found.append(
                f"{suite}: {self.website.url(suite.key(keys.RELEASE))} is not what InRelease says"
            )
        signature = self._try(lambda: self.website.get(suite.key(keys.RELEASE_GPG)), f"{suite}: ")
        if plain == text and signature is not None and self._public_keys is not None:
            try:
                signing.verify(text, signature, self._public_keys)
                if reason := signing.find_fault(text, signature, self._public_keys):
                    self.refused[reason].append(str(suite))
            except PackagingError as error:
                self.found.append(f"{suite}: {self.website.url(suite.key(keys.RELEASE_GPG))}: {error}")

    def _fetch_indices(self, suite: Suite, release: release_file.Release) -> dict[str, bytes]:
        """The files that have the digest in Release, by name. Each is fetched from all of its URLs.

        Where each form of an index is promised under its digest, each must be there. Otherwise one form is
        enough: other tools name forms that were never there.
        """
        wanted = []
        for name, digest in release.sha256.items():
            try:
                key = suite.key(name)
                wanted.append((name, key, digest))
                if release.by_hash:
                    wanted.append((name, keys.by_hash(key, digest), digest))
            except keys.InvalidField as error:
                self.found.append(f"{suite}: InRelease: {error}")
        calls = [partial(self._look, partial(self._fetch_index, key, digest)) for _, key, digest in wanted]
        contents: dict[str, bytes] = {}
        lost: dict[str, list[_Unavailable]] = defaultdict(list)
        for (name, _, _), found in zip(wanted, run_all(calls, at_once=AT_ONCE), strict=True):
            if isinstance(found, bytes):
                contents[name] = found
            else:
                lost[name].append(found)
        readable = {index.stem(name) for name in contents}
        for name, reasons in lost.items():
            is_ours = release.by_hash and index.is_index(index.stem(name))
            self.found += [
                f"{suite}: {reason}"
                for reason in reasons
                if is_ours or index.stem(name) not in readable or not reason.is_absent
            ]
        return contents

    def _fetch_one_form(self, suite: Suite, release: release_file.Release) -> dict[str, bytes] | None:
        """One form of each index, by name; None if one is not there with the digest in Release."""
        contents: dict[str, bytes] = {}
        for name in release.indices:
            form = next(
                (f"{name}{suffix}" for suffix in index.DECOMPRESS if f"{name}{suffix}" in release.sha256), ""
            )
            try:
                key, digest = suite.key(form), release.sha256[form]
                contents[form] = self._fetch_index(
                    keys.by_hash(key, digest) if release.by_hash else key, digest
                )
            except (KeyError, keys.InvalidField, _Unavailable):
                return None
        return contents

    def _look(self, call: Callable[[], bytes]) -> bytes | _Unavailable:
        try:
            return call()
        except _Unavailable as reason:
            return reason

    def _fetch_index(self, key: str, digest: str) -> bytes:
        """An index. Raises _Unavailable, also if it has another digest."""
        content = self.website.get(key)
        if (found := hashlib.sha256(content).hexdigest()) != digest:
            raise _Unavailable(f"{self.website.url(key)}: SHA-256 is {found}, but InRelease says {digest}")
        return content

    def _read_indices(
        self, suite: Suite, release: release_file.Release, contents: Mapping[str, bytes]
    ) -> frozenset[Identity]:
        """All packages of the suite. Adds the sizes of their files to ``sizes``."""
        identities: set[Identity] = set()
        for name in release.indices:
            content = _unpacked(name, contents)
            if content is None:
                continue  # No form of it is valid. There is a finding for each.
            try:
                entries = parse_index(name, content)
            except index.InvalidIndex as error:
                self.found.append(f"{suite}: {name}: {error}")
                continue
            identities.update(stanza.identity for stanza in entries.stanzas)
            for filename, size in entries.files:
                self._add_size(filename, suite, name, size)
        return frozenset(identities)

    def _add_size(self, filename: str, suite: Suite, index_name: str, size: int) -> None:
        """Add a file to ``sizes``. Check that all indices have the same size for it."""
        try:
            key = keys.in_repository(suite.repository, filename)
        except keys.InvalidField as error:
            self.found.append(f"{suite}: {index_name}: {error}")
            return
        first, known = self.sizes.setdefault(key, (str(suite), size))
        if known != size:
            self.found.append(f"{suite}: {self.website.url(key)} has {size} bytes, but {first} says {known}")

    def check_files(self) -> None:
        """Check that the files that are new or due exist and have the size in the index."""
        asked = [key for key in self.sizes if key in self.new or self.turn.is_due(key, self.now)]
        started = time.monotonic()
        run_all((partial(self._check_named, key) for key in asked), at_once=AT_ONCE)
        self.asked, self.seconds = len(asked), time.monotonic() - started

    def _check_named(self, key: str) -> None:
        suite, size = self.sizes[key]
        try:
            self._check_file(key, size)
        except _Unavailable as error:
            self.found.append(f"{suite}: {error}")
            self.wrong.append(key)

    def turn_done(self) -> Turn:
        """How far the canary is after this check."""
        return Turn(
            until=self.now,
            suites=self.states,
            wrong=tuple(self.wrong),
            files=len(self.sizes),
            asked=self.asked,
            seconds=self.seconds,
        )

    def _check_file(self, key: str, size: int) -> None:
        """Check the size of one file. Raises _Unavailable."""
        if (found := self.website.size(key)) != size:
            raise _Unavailable(f"{self.website.url(key)}: {found} bytes, but the index says {size}")

    def check_keys(self) -> None:
        """Check that no key that signs a suite expires soon, and that apt of Debian 13 accepts them."""
        if not key_policy.is_checked():
            log.warning(key_policy.MISSING.format(what="what is published"))
        for reason, suites in self.refused.items():
            self.found.append(
                f"{self.website.url(PUBLIC_KEY)}: apt of Debian 13 refuses what signs {', '.join(suites)}: "
                f"{reason}. Mend or replace the key: docs/signing.md"
            )
        for key, expires in self.expires.items():
            if expires is None or expires - self.now >= signing.EXPIRY_WARNING:
                continue
            when = "expired on" if expires <= self.now else f"in {(expires - self.now).days} days, expires on"
            self.found.append(
                f"{self.website.url(PUBLIC_KEY)}: the key {key} {when} {_day(expires)}; it signs "
                f"{', '.join(self.signed[key])}. Extend or replace it: docs/signing.md"
            )

    def check_nightlies(self, distro: Distro, store: Store, settings: Settings) -> None:
        """Check that the suites for the distribution's nightlies have a recent one."""
        longest = timedelta(hours=settings.nightly_max_age_hours)
        release = Release(f"{self.now:%Y.%m.%d}", nightly=True)
        for name in target_suites.choose_suites(release, distro, settings):
            suite = f"{distro.repository} {name}"
            days = [
                found.date
                for entry in self.offered.get(suite, ())
                if (found := nightlies.find_nightly(entry))
            ]
            if not days:
                # A new deployment has none before its first scheduled run.
                if self.now - _first_publish(distro, store, settings, self.now) > longest:
                    self.found.append(f"{suite}: there is no nightly, though nightly_schedule is set")
                continue
            if missing := self._late(max(days), settings):
                self.found.append(
                    f"{suite}: nightlies are missing: {nightly_days.spell(missing)}. The newest one is "
                    f"{nightly_days.spell([max(days)])}, though nightly_schedule is set and "
                    f"nightly_max_age_hours is {settings.nightly_max_age_hours}"
                )
            if self._late(self.dates[suite].astimezone(UTC).date(), settings):
                self.found.append(f"{suite}: Release is of {_day(self.dates[suite])}: no publish since then")

    def _late(self, newest: date, settings: Settings) -> list[date]:
        """The days after ``newest`` whose nightly the schedule has, and which should be there by now."""
        # A day's nightly has until nightly_max_age_hours after the beginning of the day before.
        allowed = timedelta(hours=settings.nightly_max_age_hours - 24)
        due = nightly_days.find_missing([newest], settings, self.now)
        return [day for day in due if self.now - datetime.combine(day, datetime.min.time(), UTC) > allowed]

    def _try(self, call: Callable[[], bytes | None], where: str = "") -> bytes | None:
        """What the call returns. If it raises _Unavailable, add the finding and return None."""
        try:
            return call()
        except _Unavailable as error:
            self.found.append(f"{where}{error}")
            return None


def _unpacked(name: str, contents: Mapping[str, bytes]) -> bytes | None:
    """The content of the index, from whichever of its forms was fetched; None if none was."""
    for suffix, decompress in index.DECOMPRESS.items():
        if (content := contents.get(f"{name}{suffix}")) is not None:
            return decompress(content)
    return None


def _first_publish(distro: Distro, store: Store, settings: Settings, now: datetime) -> datetime:
    """When the oldest snapshot of the distribution's suites was made; ``now`` if there is none."""
    snapshots = (
        store.scratch.entries(keys.snapshots(suite.repository, suite.suite))
        for suite in target_suites.list_distro_suites(distro, store, settings)
    )
    return min((entry.modified for entries in snapshots for entry in entries), default=now)


def _day(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
