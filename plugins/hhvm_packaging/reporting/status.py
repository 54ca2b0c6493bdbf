"""Status: what is built, published, held and failed, of all versions. It is read from the index."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, partial
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import hold_records, status_index, target_suites
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.status_index import Index, PackageEntry, VersionEntry
from hhvm_packaging.release import Release, numbers
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Conflict
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Mapping

    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.planning.status_index import FailureEntry, HoldEntry, SuiteEntry
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store

log = logging.getLogger(__name__)


class State(StrEnum):
    """What one distribution's packages of a version are."""

    PUBLISHED = "published"
    BUILT = "built"
    HELD = "held"
    BUILDING = "building"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"
    NOT_BUILT = "not built"


@dataclass(frozen=True)
class Cell:
    """One distribution's packages of a version."""

    distro: str
    state: State
    entry: PackageEntry | None = None
    failure: FailureEntry | None = None
    """Why the last attempt failed, if nothing was built or published since then."""
    public: tuple[str, ...] = ()
    """The Debian versions that users are offered."""
    suites: tuple[str, ...] = ()
    """The suites that offer them, such as ``debian bookworm``."""

    @property
    def version(self) -> str:
        """The Debian version; empty if nothing is built or public."""
        return self.entry.version if self.entry else next(iter(self.public), "")

    @property
    def seconds(self) -> int | None:
        """How long the build took; None if nobody knows."""
        if self.entry is None:
            return None
        return max(0, round((self.entry.at - AttemptId.parse(self.entry.attempt).began).total_seconds()))


@dataclass(frozen=True)
class Row:
    """One version."""

    release: Release
    entry: VersionEntry
    cells: tuple[Cell, ...]
    until: datetime.datetime | None = None
    """The time before which it may not be public; None if there is none that is to come."""
    needs_approval: bool = False
    """Whether something of it waits for an approval."""

    @property
    def source_failure(self) -> FailureEntry | None:
        """Why the source tarball is not there; None if it is, or nothing failed."""
        failure = self.entry.failures.get("")
        source = self.entry.source
        return failure if failure and not (source and source.at > failure.at) else None

    @property
    def last_change(self) -> datetime.datetime | None:
        """When something of it was last built, answered or failed."""
        entry = self.entry
        times = [package.at for package in entry.packages.values()]
        times += [failure.at for failure in entry.failures.values()]
        times += [answer.at for answer in entry.answers.values()]
        return max([*times, *([entry.source.at] if entry.source else [])], default=None)

    def count(self, *states: State) -> int:
        """How many distributions are in one of these states."""
        return sum(cell.state in states for cell in self.cells)


@dataclass(frozen=True)
class Status:
    """All versions, by an index. ``distros`` are the names of the distributions that are built now."""

    index: Index
    distros: tuple[str, ...]
    now: datetime.datetime
    approvals: int = 1
    """How many people must approve what needs an approval."""
    building: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The distributions that are being built now, by version. Airflow knows it."""

    @cached_property
    def versions(self) -> list[Release]:
        """All versions that anything is known of, the newest first. Releases and nightlies are mixed."""
        known = {*self.index.versions, *self.building}
        spelled = {numbers(version) for version in known}
        # What another tool published has no manifest.
        known |= {
            version
            for by_version in self._offers.values()
            for version in by_version
            if numbers(version) not in spelled
        }
        releases = [release for version in known if (release := Release.find(version))]
        return sorted(releases, key=lambda release: release.numbers, reverse=True)

    def row(self, release: Release) -> Row:
        """One version."""
        entry = self.index.versions.get(release.version, VersionEntry())
        names = [*self.distros, *(name for name in self._of(release, entry) if name not in self.distros)]
        until, open_holds = _standing(entry, self.now)
        cells = tuple(self._cell(release, entry, name, until, open_holds) for name in names)
        return Row(
            release,
            entry,
            cells,
            until,
            any(cell.state is State.HELD for cell in cells) and bool(open_holds),
        )

    def _of(self, release: Release, entry: VersionEntry) -> list[str]:
        """The distributions that anything is known of."""
        return sorted({
            *entry.packages,
            *filter(None, entry.failures),
            *self.building.get(release.version, ()),
        })

    def _cell(
        self,
        release: Release,
        entry: VersionEntry,
        distro: str,
        until: datetime.datetime | None,
        holds: Mapping[str, HoldEntry],
    ) -> Cell:
        package, failure = entry.packages.get(distro), entry.failures.get(distro)
        if failure and package and failure.at < package.at:
            failure = None
        public, suites, withdrawn = self._offered(release, distro)
        is_public = package.version in public if package else bool(public)
        if distro in self.building.get(release.version, ()):
            state = State.BUILDING
        elif is_public:
            state, failure = State.PUBLISHED, None
        elif package.version in withdrawn if package else withdrawn:
            state, failure = State.WITHDRAWN, None
        elif failure:
            state = State.FAILED
        elif package is None:
            state = State.NOT_BUILT
        elif until or not all(self._is_approved(entry, name, package) for name in holds):
            state = State.HELD
        else:
            state = State.BUILT
        return Cell(distro, state, package, failure, public, suites)

    def _is_approved(self, entry: VersionEntry, hold: str, package: PackageEntry) -> bool:
        """Whether enough people approved these packages in spite of a hold, after the last one said no."""
        rejected = max((answer.at for answer in entry.answers.values() if not answer.approved), default=None)
        people = {
            answer.by
            for answer in entry.answers.values()
            if answer.approved and (rejected is None or answer.at > rejected)
            if hold in answer.holds and package.attempt in answer.attempts
        }
        return len(people) >= self.approvals

    def _offered(self, release: Release, distro: str) -> tuple[tuple[str, ...], tuple[str, ...], set[str]]:
        """The Debian versions that users get, the suites that offer them, and what is withdrawn there."""
        repository, codename = distro.partition("-")[0], distro.partition("_")[0].rpartition("-")[2]
        offers = self._offers.get(repository, {}).get(release.version, {})
        found: dict[str, list[str]] = {}
        withdrawn = set()
        for suite, (offered, gone) in offers.items():
            if not f"{suite}-".startswith(f"{codename}-"):
                continue
            withdrawn |= gone
            for version in offered:
                found.setdefault(version, []).append(f"{repository} {suite}")
        suites = tuple(sorted({suite for each in found.values() for suite in each}))
        return tuple(sorted(found)), suites, withdrawn - set(found)

    @cached_property
    def _offers(self) -> dict[str, dict[str, dict[str, tuple[set[str], set[str]]]]]:
        """By repository, HHVM's version and suite: the Debian versions offered, and those withdrawn."""
        known = {numbers(version): version for version in self.index.versions}
        found: dict[str, dict[str, dict[str, tuple[set[str], set[str]]]]] = defaultdict(dict)
        for name, entry in self.index.suites.items():
            repository, _, suite = name.partition(" ")
            for place, versions in enumerate((entry.offered, entry.withdrawn)):
                for version in versions:
                    upstream = _upstream(version)
                    upstream = known.get(numbers(upstream), upstream)
                    of_version = found[repository].setdefault(upstream, {})
                    of_version.setdefault(suite, (set(), set()))[place].add(version)
        return found


def _standing(
    entry: VersionEntry, now: datetime.datetime
) -> tuple[datetime.datetime | None, dict[str, HoldEntry]]:
    """The time to come before which a version is held, and the holds that need an approval."""
    standing = {name: hold for name, hold in entry.holds.items() if name not in entry.lifted}
    until = max((hold.until for hold in standing.values() if hold.until), default=None)
    needing = {name: hold for name, hold in standing.items() if hold.needs_approval}
    return (until if until and until > now else None), needing


def _upstream(version: str) -> str:
    """HHVM's version in a Debian version; Debian's own parser takes ten times as long."""
    epoch, colon, rest = version.partition(":")
    upstream, dash, _ = (rest if colon else epoch).rpartition("-")
    return upstream if dash else rest or epoch


# The index


def read_index(store: Store, settings: Settings) -> Index:
    """The index. If it is lost, damaged or incomplete, it is rebuilt first, and stored."""
    found = status_index.read(store)
    return found if found and found.complete else rebuild_index(store, settings)


def rebuild_index(store: Store, settings: Settings) -> Index:
    """Build the index from manifests, records of holds and what is published, and store it.

    What others record meanwhile is kept: each entry is the later one. What cannot be read is left out, and
    logged. Running it again does no harm. If it cannot be stored, it is returned all the same.
    """
    built = find_facts(store, settings)
    try:
        return status_index.merge_in(store, built)
    except (BotoCoreError, ClientError, Conflict, PackagingError) as error:
        log.warning("the index is not stored: %s", error)
        return built


def find_facts(store: Store, settings: Settings) -> Index:
    """The index, made from what it is about. What cannot be read is left out, and logged."""
    names = {*store.scratch.directories(""), *store.scratch.directories(keys.held_versions())}
    releases = [release for name in sorted(names) if (release := Release.find(name))]
    reads = (partial(_find_version, store, release) for release in releases)
    found = zip(releases, run_all(reads, at_once=settings.requests_at_once), strict=True)
    suites = {str(suite): suite for suite in target_suites.list_suites(store, settings)}
    looks = (partial(_find_suite, suite) for suite in suites.values())
    states = zip(suites, run_all(looks, at_once=settings.requests_at_once), strict=True)
    return Index(
        complete=True,
        versions={release.version: entry for release, entry in found if entry != VersionEntry()},
        suites={name: state for name, state in states if state},
    )


def _find_version(store: Store, release: Release) -> VersionEntry:
    """What the store has of one version."""
    entry = VersionEntry()
    for read in (_find_source, _find_packages, _find_holds):
        try:
            for found in read(store, release):
                entry = entry.merged(found)
        except (PackagingError, ValueError) as error:
            log.warning("the index does not have all of HHVM %s: %s", release.version, error)
    return entry


def _find_source(store: Store, release: Release) -> Iterator[VersionEntry]:
    for written in store.scratch.entries(keys.source(release)):
        if source := SourceManifest.read(store, release):
            yield VersionEntry(source=source.summarize(written.modified))


def _find_packages(store: Store, release: Release) -> Iterator[VersionEntry]:
    for distro in store.scratch.directories(keys.distros(release)):
        for written in store.scratch.entries(keys.manifest(release, distro)):
            if manifest := PackageManifest.read(store, release, distro):
                yield VersionEntry(packages={distro: manifest.summarize(written.modified)})


def _find_holds(store: Store, release: Release) -> Iterator[VersionEntry]:
    for record in hold_records.read_all(store, release.version):
        yield record.summarize()


def _find_suite(suite: Suite) -> SuiteEntry | None:
    """What a suite offers now."""
    try:
        state = suite.read()
    except (PackagingError, ValueError) as error:
        log.warning("the index does not have %s: %s", suite, error)
        return None
    if not state.snapshot:
        return None
    return status_index.describe_suite(state.snapshot, state.identities, state.withdrawn)


# What the old service answered


@dataclass(frozen=True)
class BuildStatus:
    """What ``/api/build-status/VERSION`` of hhvm.com answered."""

    success: bool
    version: str
    succeeded: tuple[str, ...]
    failed: dict[str, str]
    """The URL at which each thing is missing, by its name."""


SOURCE, SIGNATURE = "source", "source_gpg"
"""The names that the old service had for them. It called packages as their distributions."""


def find_build_status(row: Row, store: Store, settings: Settings) -> BuildStatus:
    """Which of a version's source, signature and packages are public.

    The packages count by what users are offered, whatever their revision: the old service looked for the
    first revision's file. Distributions that are never published are left out.
    """
    release = row.release
    places = {SOURCE: keys.public_tarball(release), SIGNATURE: keys.public_signature(release)}
    missing = {name: settings.published(key) for name, key in places.items() if not store.downloads.head(key)}
    cells = [cell for cell in row.cells if cell.distro.partition("-")[0] in keys.REPOSITORIES]
    for cell in cells:
        if cell.state is not State.PUBLISHED:
            name, _, architecture = cell.distro.partition("_")
            version = cell.version or f"{release.version}-1~{name.rpartition('-')[2]}"
            packages = keys.packages(release, name.partition("-")[0], version)
            missing[cell.distro] = settings.published(
                f"{packages}{architecture or settings.architectures[0]}.deb"
            )
    names = (*places, *(cell.distro for cell in cells))
    succeeded = tuple(name for name in names if name not in missing)
    return BuildStatus(not missing, release.version, succeeded, missing)
