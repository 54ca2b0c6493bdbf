"""Pruning: what is no longer offered, and what nobody can want any more.

Each part can die anywhere and be run again: it finds anew what is left to do.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hhvm_packaging.apt import difference
from hhvm_packaging.apt.retention import History, UnknownHistory, unnamed
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import target_suites
from hhvm_packaging.publishing import nightlies
from hhvm_packaging.release import NIGHTLY_PACKAGE, Release
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import CANARY, REPOSITORIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Bucket, Entry, Store

log = logging.getLogger(__name__)

_TARBALL = re.compile(rf"(?:.+/)?{NIGHTLY_PACKAGE}-([0-9.]+)\.tar\.gz(?:\.sig)?")
_IN_SCRATCH = re.compile(r"(?:(?:jobs|candidate)/)?([0-9.]+)/.+")
_MANIFEST = re.compile(r"[0-9.]+/(?:.+/)?(?:plan|source|manifest)\.json")


class NotPruned(PackagingError):
    """Something could not be pruned. The message says what and why."""


class Pruning:
    """What is to be pruned of a store by the settings, as of ``now``; a dry run only says so.

    Its methods return what was done, in lines for people.
    """

    def __init__(
        self, store: Store, settings: Settings, *, dry_run: bool, now: datetime | None = None
    ) -> None:
        self.store = store
        self.settings = settings
        self.dry_run = dry_run
        self.now = now or datetime.now(UTC)

    def age_out(self, signer: Signer) -> list[str]:
        """Take the nightlies that are too old out of the suites, in one commit for each.

        Completes such a commit that died. A suite that fails keeps no other from it; raises NotPruned in
        the end, with all reasons.
        """
        done, faults = [], []
        for target in target_suites.list_suites(self.store, self.settings):
            try:
                done += self._age_out(target, signer)
            except PackagingError as error:
                faults.append(str(error))
        if faults:
            raise NotPruned("\n".join([*faults, *done]))
        return done

    def _age_out(self, target: Suite, signer: Signer) -> list[str]:
        # A suite without nightlies may well be signed by a key of long ago.
        if not any(map(nightlies.find_nightly, target.read().identities)):
            return []
        first = nightlies.first_day(self.now, self.settings)
        with target.lock():
            change = nightlies.remove_aged(target.read(signer=signer), first)
            if change:
                log.info("%s", difference.describe(target, change, ()))
            if not self.dry_run:
                target.carry_out(change, signer)
        verb = "would leave" if self.dry_run else "left"
        packages = f"{len(change.removed)} packages of nightlies of before {first:%Y.%m.%d}"
        return [f"{target}: {packages} {verb}"] if change else []

    def delete_files(self) -> list[str]:
        """Delete public files that no kept state of any suite names, then the snapshots of outdated states.

        Those are by-hash files, the nightlies' files in the pool and their source tarballs. Where a suite's
        history is not known, all stays that one of its states may name.
        """
        since = self.now - timedelta(days=self.settings.snapshot_days)
        downloads, why = self.store.downloads, f"no state since {since:%Y-%m-%d} names them"
        histories, unknown, done = self._histories(since)
        for history in histories:
            target = history.target
            # A commit may be under way that names again what no state names now.
            with target.lock():
                done += self._delete(downloads, history.unnamed_indices(), f"{target}: by-hash files", why)
        for name in sorted(set(REPOSITORIES) - unknown):
            packages = self._packages(name, histories, since)
            done += self._delete(downloads, packages, f"{name}: nightlies' files in the pool", why)
        if not unknown:
            done += self._delete(downloads, self._tarballs(histories, since), "nightlies' sources", why)
        # Last: what only these states name is to go in a later run, when nobody can put them back.
        why = f"their states were replaced before {since:%Y-%m-%d}"
        for history in histories:
            done += self._delete(self.store.scratch, history.outdated(), f"{history.target}: snapshots", why)
        return done

    def _histories(self, since: datetime) -> tuple[list[History], set[str], list[str]]:
        """The histories that are known, the repositories where one is not, and why."""
        histories, unknown, reasons = [], set(), []
        for target in target_suites.list_suites(self.store, self.settings):
            try:
                histories.append(History.read(target, since))
            except UnknownHistory as error:
                unknown.add(target.repository)
                reasons.append(f"{error}. Nothing is deleted that users of {target} may need.")
                log.warning("%s", reasons[-1])
        return histories, unknown, reasons

    def _packages(self, name: str, histories: Iterable[History], since: datetime) -> Iterator[Entry]:
        """Of the repository of that name: all of its suites share one pool."""
        named = {key for history in histories if history.target.repository == name for key in history.files}
        for entry in unnamed(self.store.downloads, keys.nightly_pool(name), named, since):
            if entry.key.rpartition("/")[2].startswith(NIGHTLY_PACKAGE):
                yield entry

    def _tarballs(self, histories: Iterable[History], since: datetime) -> Iterator[Entry]:
        """Each before its signature, without which none may be public."""
        packages = {package for history in histories for package in history.packages}
        named = set(map(nightlies.find_nightly, packages))
        for entry in unnamed(self.store.downloads, keys.nightly_tarballs(), (), since):
            release = _nightly(entry.key)
            if release and release not in named:
                yield entry

    def delete_scratch(self) -> list[str]:
        """Delete what was left in scratch by the versions that nobody has worked on for long.

        Manifests stay, and so does the source of a version whose packages may still be built again: of
        every release, and of a nightly until its public source is gone.
        """
        before = self.now - timedelta(days=self.settings.scratch_days)
        public = set(self.store.downloads.keys(keys.nightly_tarballs()))
        versions: dict[Release, list[Entry]] = defaultdict(list)
        for entry in self.store.scratch.entries():
            if release := _release(entry.key):
                versions[release].append(entry)
        old = (
            entry
            for release, entries in versions.items()
            if max(entry.modified for entry in entries) < before
            for entry in entries
            if not _MANIFEST.fullmatch(entry.key)
            and not (_nightly(entry.key) and keys.public_tarball(release) in public)
        )
        why = f"their versions were last worked on before {before:%Y-%m-%d}"
        done = self._delete(self.store.scratch, old, "objects in scratch", why)
        looks = (entry for entry in self.store.scratch.entries(keys.jobs(CANARY)) if entry.modified < before)
        return done + self._delete(
            self.store.scratch, looks, "logs of the canary", f"they are of before {before:%Y-%m-%d}"
        )

    def _delete(self, bucket: Bucket, entries: Iterable[Entry], what: str, why: str) -> list[str]:
        count = size = 0
        verb = "would delete" if self.dry_run else "deleted"
        for entry in entries:
            if not self.dry_run:
                bucket.delete(entry.key)
            log.info("%s s3://%s/%s, %s bytes", verb, bucket.name, entry.key, f"{entry.size:,}")
            count, size = count + 1, size + entry.size
        return [f"{what}: {verb} {count}, {size:,} bytes: {why}"] if count else []


def _release(key: str) -> Release | None:
    """The release that the object in scratch belongs to; None where it is of none, or none to be pruned."""
    found = _IN_SCRATCH.fullmatch(key)
    return Release.find(found[1]) if found else _nightly(key)


def _nightly(key: str) -> Release | None:
    """The nightly whose source tarball or signature that is; None for anything else."""
    found = _TARBALL.fullmatch(key)
    release = Release.find(found[1]) if found else None
    return release if release and release.nightly else None
