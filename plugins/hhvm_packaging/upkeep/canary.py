"""The canary: whether what is published is whole, and whether users will get what comes next.

It looks where users look, at ``public_url``, and knows no secret.
"""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import logging
import lzma
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Self

import httpx

from hhvm_packaging import distros
from hhvm_packaging.apt import index, signing
from hhvm_packaging.apt.sources_index import SOURCES, Sources
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import packaging_files, target_suites
from hhvm_packaging.planning.plans import CanaryPlan
from hhvm_packaging.publishing import nightlies
from hhvm_packaging.release import Release
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.store.keys import PUBLIC_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hhvm_packaging.apt.index import Identity
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.settings import Settings

log = logging.getLogger(__name__)

AT_ONCE = 16
"""How many requests are under way at the same time."""
_PAUSES = (1.0, 4.0)
"""Seconds before a server that does not answer, or has an error of its own, is asked again."""
ENOUGH = 10
"""How many requests in vain show that there is no point in more: thousands would take hours."""
_CLOCKS = timedelta(minutes=5)
"""By how much clocks may differ."""


class NothingPublished(Exception):
    """There is no suite yet."""


class _Unavailable(Exception):
    """A URL that does not answer as it must. The message has the URL and the reason."""


class _NoAnswer(Exception):
    """The server does not answer, whatever it is asked. The message has its address."""


def plan_canary(store: Store, settings: Settings) -> CanaryPlan:
    """What the jobs need that look at each distribution's suites as its users do.

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
                found.append(distro)
    return CanaryPlan(
        packaging=packaging_files.upload(store, settings.packaging_root),
        packaging_revision=packaging_files.worktree(settings.packaging_root).commit,
        distros=tuple(found),
        faults=faults,
    )


def check(plan: CanaryPlan, store: Store, settings: Settings, *, now: datetime | None = None) -> list[str]:
    """All that is wrong with what is published, and still is after ``canary_patience``; one line each."""
    found = _look(plan, store, settings, now)
    if found:
        log.warning("Looking again in %s s at:\n%s", settings.canary_patience, "\n".join(found))
        time.sleep(settings.canary_patience)
        found = _look(plan, store, settings, now)
    return found


def _look(plan: CanaryPlan, store: Store, settings: Settings, now: datetime | None) -> list[str]:
    with _Website(settings) as website:
        look = _Look(website, now or datetime.now(UTC))
        try:
            look.public_key()
            for suite in target_suites.list_suites(store, settings):
                look.suite(suite)
            look.files()
        except _NoAnswer as error:
            look.found.append(str(error))
            return look.found
        look.keys()
        if settings.nightly_schedule:
            for distro in plan.distros:
                look.nightlies(distro, store, settings)
        log.info("Looked at %s suites and %s files", len(look.offered), len(look.sizes))
        return look.found


class _Website:
    """The public bucket over HTTP."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._in_vain = 0
        self._client = httpx.Client(
            timeout=30,
            follow_redirects=True,
            limits=httpx.Limits(max_connections=AT_ONCE),
            # Compressed on the way it would have no length to compare.
            headers={"Accept-Encoding": "identity"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def url(self, key: str) -> str:
        """Where users find the object."""
        return self._settings.published(key)

    def get(self, key: str) -> bytes:
        """The object. Raises _Unavailable, _NoAnswer."""
        return self._ask("GET", key).content

    def size(self, key: str) -> int:
        """The object's length in bytes, without its content. Raises _Unavailable, _NoAnswer."""
        answer = self._ask("HEAD", key)
        try:
            return int(answer.headers["Content-Length"])
        except (KeyError, ValueError):
            raise _Unavailable(f"{self.url(key)}: the server does not tell its length") from None

    def _ask(self, method: str, key: str) -> httpx.Response:
        if self._in_vain >= ENOUGH:
            raise _NoAnswer(f"{self.url('')}: {self._in_vain} requests in vain; no more are made")
        for pause in (*_PAUSES, None):
            try:
                answer = self._client.request(method, self.url(key))
                if answer.is_success:
                    return answer
                fault = f"HTTP {answer.status_code}"
                passing = answer.is_server_error
            except httpx.RequestError as error:
                fault, passing = f"{type(error).__name__}: {error}", True
            if pause is None or not passing:
                break
            time.sleep(pause)
        self._in_vain += passing
        raise _Unavailable(f"{self.url(key)}: {fault}")


class _Look:
    """One look at all that is published; what is wrong with it gathers in ``found``."""

    def __init__(self, website: _Website, now: datetime) -> None:
        self.website = website
        self.now = now
        self.found: list[str] = []
        self.sizes: dict[str, tuple[str, int]] = {}
        """By key, of each file that an index names: the first suite that names it, and its size."""
        self.offered: dict[str, frozenset[Identity]] = {}
        """By suite."""
        self.dates: dict[str, datetime] = {}
        """Of each suite's Release."""
        self.signed: dict[str, list[str]] = defaultdict(list)
        """By key, what it signs."""
        self.expires: dict[str, datetime | None] = {}
        """By key."""
        self._public_keys: bytes | None = None

    def public_key(self) -> None:
        """What users verify with."""
        self._public_keys = self._try(lambda: self.website.get(PUBLIC_KEY))

    def suite(self, suite: Suite) -> None:
        """InRelease, its signature and its times, every index in every form, and what they name."""
        in_release = self._try(lambda: self.website.get(f"{suite.directory}InRelease"), f"{suite}: ")
        if in_release is None:
            return
        try:
            text = self._verified(suite, in_release)
            release = index.Release.parse(text)
        except index.InvalidIndex as error:
            self.found.append(f"{suite}: InRelease: {error}")
            return
        self._times(suite, text, release)
        self._plain(suite, text)
        contents = self._indices(suite, text, release)
        self.offered[str(suite)] = self._named(suite, release, contents)

    def _verified(self, suite: Suite, in_release: bytes) -> bytes:
        """The text that is signed; where the signature is not good, as it is."""
        if self._public_keys is not None:
            try:
                text, signers = signing.signed_by(in_release, self._public_keys)
            except PackagingError as error:
                self.found.append(f"{suite}: {self.website.url(suite.directory)}InRelease: {error}")
            else:
                for key in signers:
                    self.signed[key].append(str(suite))
                self.expires |= signers
                return text
        return Suite.unsigned(in_release)

    def _times(self, suite: Suite, text: bytes, release: index.Release) -> None:
        self.dates[str(suite)] = release.date
        if release.date > self.now + _CLOCKS:
            self.found.append(f"{suite}: Release is of {_day(release.date)}, which is in the future")
        until = index.fields(text.decode().strip("\n")).get("Valid-Until")
        if until is None:
            return
        try:
            end = email.utils.parsedate_to_datetime(until)
        except ValueError:
            self.found.append(f"{suite}: Release: Valid-Until: {until} is no time")
            return
        if end.replace(tzinfo=end.tzinfo or UTC) <= self.now:
            self.found.append(f"{suite}: Release was valid until {until}: apt refuses it")

    def _plain(self, suite: Suite, text: bytes) -> None:
        """Release and Release.gpg, for those who do not read InRelease."""
        plain = self._try(lambda: self.website.get(f"{suite.directory}Release"), f"{suite}: ")
        if plain not in (None, text):
            self.found.append(
                f"{suite}: {self.website.url(suite.directory)}Release is not what InRelease says"
            )
        signature = self._try(lambda: self.website.get(f"{suite.directory}Release.gpg"), f"{suite}: ")
        if plain == text and signature is not None and self._public_keys is not None:
            try:
                signing.verify(text, signature, self._public_keys)
            except PackagingError as error:
                self.found.append(f"{suite}: {self.website.url(suite.directory)}Release.gpg: {error}")

    def _indices(self, suite: Suite, text: bytes, release: index.Release) -> dict[str, bytes]:
        """Those that are what Release says, by name; each is fetched under all of its names."""
        wanted = {}
        for name, digest in release.sha256.items():
            key = suite.directory + name
            wanted[key] = (name, digest)
            if b"\nAcquire-By-Hash: yes\n" in text:
                wanted[keys.by_hash(key, digest)] = (name, digest)
        calls: list[Callable[[], bytes | None]] = [
            partial(self._try, partial(self._index, key, digest), f"{suite}: ")
            for key, (_, digest) in wanted.items()
        ]
        fetched = zip(wanted.values(), run_all(calls, at_once=AT_ONCE), strict=True)
        return {name: content for (name, _), content in fetched if content is not None}

    def _index(self, key: str, digest: str) -> bytes:
        content = self.website.get(key)
        if (found := hashlib.sha256(content).hexdigest()) != digest:
            raise _Unavailable(f"{self.website.url(key)}: SHA-256 is {found}, but InRelease says {digest}")
        return content

    def _named(
        self, suite: Suite, release: index.Release, contents: Mapping[str, bytes]
    ) -> frozenset[Identity]:
        """All packages of the suite; the sizes of their files go to ``sizes``."""
        identities: set[Identity] = set()
        names = [index.packages_of(architecture) for architecture in release.architectures]
        for name in (*names, *([SOURCES] if SOURCES in release.sha256 else [])):
            content = _unpacked(name, contents)
            if content is None:
                continue  # None of its forms is good, which was told for each.
            try:
                entries = Sources.parse(content) if name == SOURCES else index.Packages.parse(content)
            except index.InvalidIndex as error:
                self.found.append(f"{suite}: {name}: {error}")
                continue
            identities.update(stanza.identity for stanza in entries.stanzas)
            for filename, size in _files(entries):
                self._size(keys.in_repository(suite.repository, filename), suite, size)
        return frozenset(identities)

    def _size(self, key: str, suite: Suite, size: int) -> None:
        first, known = self.sizes.setdefault(key, (str(suite), size))
        if known != size:
            self.found.append(f"{suite}: {self.website.url(key)} has {size} bytes, but {first} says {known}")

    def files(self) -> None:
        """Every file that an index names is there, as long as it says."""
        calls = [
            partial(self._try, partial(self._file, key, size), f"{suite}: ")
            for key, (suite, size) in self.sizes.items()
        ]
        run_all(calls, at_once=AT_ONCE)

    def _file(self, key: str, size: int) -> None:
        if (found := self.website.size(key)) != size:
            raise _Unavailable(f"{self.website.url(key)}: {found} bytes, but the index says {size}")

    def keys(self) -> None:
        """No key that signs a suite expires soon."""
        for key, expires in self.expires.items():
            if expires is None or expires - self.now >= signing.EXPIRY_WARNING:
                continue
            when = "expired on" if expires <= self.now else f"in {(expires - self.now).days} days, expires on"
            self.found.append(
                f"{self.website.url(PUBLIC_KEY)}: the key {key} {when} {_day(expires)}; it signs "
                f"{', '.join(self.signed[key])}. Extend or replace it: docs/signing.md"
            )

    def nightlies(self, distro: Distro, store: Store, settings: Settings) -> None:
        """None is missing from the suites that nightlies of the distribution go to."""
        longest = timedelta(hours=settings.nightly_max_age_hours)
        release = Release(f"{self.now:%Y.%m.%d}", nightly=True)
        for name in target_suites.choose_suites(release, distro, settings):
            suite = f"{distro.repository} {name}"
            days = [
                found.date for entry in self.offered.get(suite, ()) if (found := nightlies.nightly(entry))
            ]
            if not days:
                # A new deployment's first one is yet to come.
                if self.now - _first_publish(distro, store, settings, self.now) > longest:
                    self.found.append(f"{suite}: there is no nightly, though nightly_schedule is set")
                continue
            if self.now - datetime.combine(max(days), datetime.min.time(), UTC) > longest:
                self.found.append(
                    f"{suite}: nightlies are missing: the newest one is {max(days):%Y.%m.%d}, though "
                    f"nightly_schedule is set and nightly_max_age_hours is {settings.nightly_max_age_hours}"
                )
            if self.now - self.dates[suite] > longest:
                self.found.append(f"{suite}: Release is of {_day(self.dates[suite])}: no publish since then")

    def _try(self, call: Callable[[], bytes | None], where: str = "") -> bytes | None:
        """What the call returns; None where something is wrong, which is kept."""
        try:
            return call()
        except _Unavailable as error:
            self.found.append(f"{where}{error}")
            return None


def _unpacked(name: str, contents: Mapping[str, bytes]) -> bytes | None:
    """The index, from whichever of its forms is there."""
    plain, gz, xz = index.names(name)
    if plain in contents:
        return contents[plain]
    if gz in contents:
        return gzip.decompress(contents[gz])
    return lzma.decompress(contents[xz]) if xz in contents else None


def _files(entries: index.Packages | Sources) -> Iterator[tuple[str, int]]:
    """Each file that the index names, by its path in the repository, with its size."""
    for stanza in entries.stanzas:
        if isinstance(stanza, index.Stanza):
            yield stanza.filename, stanza.size
        else:
            yield from ((f"{stanza.directory}/{file.name}", file.size) for file in stanza.files)


def _first_publish(distro: Distro, store: Store, settings: Settings, now: datetime) -> datetime:
    """When anything was first published for the distribution, as far as snapshots go back; else now."""
    snapshots = (
        store.scratch.entries(keys.snapshots(suite.repository, suite.suite))
        for suite in target_suites.list_distro_suites(distro, store, settings)
    )
    return min((entry.modified for entries in snapshots for entry in entries), default=now)


def _day(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
