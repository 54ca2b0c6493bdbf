"""Pruning: removing old nightlies from the suites, and deleting files that nobody needs.

Each part may die at any point. Run again, it finds what is left to do.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from hhvm_packaging.apt import difference
from hhvm_packaging.apt.retention import History, unnamed
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import target_suites
from hhvm_packaging.planning.manifests import RECORD_SUFFIX
from hhvm_packaging.publishing import nightlies
from hhvm_packaging.release import NIGHTLY_PACKAGE
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import CANARY, DEPENDENCIES, REPOSITORIES, Downloads, Scratch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.release import Release
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Bucket, Entry, Store

log = logging.getLogger(__name__)

_NIGHTLY_SOURCES = (Downloads.NIGHTLY_TARBALL, Downloads.NIGHTLY_SIGNATURE)


class Rule(Enum):
    """What happens to the objects in scratch whose keys have the same template."""

    STAYS = "is never deleted"
    WITH_VERSION = "is deleted scratch_days after the last write of its version"
    WITH_SOURCE = "is deleted like WITH_VERSION, but not before the public source of its nightly"
    WITH_HISTORY = "is deleted with the outdated states of its suite"
    BY_AGE = "is deleted scratch_days after it was written"
    WHILE_USED = "is deleted dependencies_image_days after it was written"


RULES = {
    Scratch.RELEASE_TARBALL: Rule.STAYS,
    Scratch.RELEASE_SIGNATURE: Rule.STAYS,
    Scratch.NIGHTLY_TARBALL: Rule.WITH_SOURCE,
    Scratch.NIGHTLY_SIGNATURE: Rule.WITH_SOURCE,
    Scratch.PLAN: Rule.STAYS,
    Scratch.PLAN_OF_RUN: Rule.WITH_VERSION,
    Scratch.SOURCE: Rule.STAYS,
    Scratch.FORCED: Rule.WITH_VERSION,
    Scratch.ANNOUNCED: Rule.STAYS,
    Scratch.MANIFEST: Rule.STAYS,
    Scratch.ATTEMPT_MANIFEST: Rule.STAYS,
    Scratch.ARTIFACT: Rule.WITH_VERSION,
    Scratch.CANDIDATE: Rule.WITH_VERSION,
    Scratch.CANDIDATE_FILE: Rule.WITH_VERSION,
    Scratch.CANDIDATE_ACCEPTED: Rule.WITH_VERSION,
    # Those of the canary have no version: each is deleted scratch_days after it was written.
    Scratch.JOB_FILE: Rule.WITH_VERSION,
    Scratch.LAUNCHED: Rule.WITH_VERSION,
    Scratch.WORKER_FILE: Rule.WITH_VERSION,
    Scratch.HOLD: Rule.STAYS,
    Scratch.LIFTED: Rule.STAYS,
    Scratch.QUESTION: Rule.STAYS,
    Scratch.ANSWER: Rule.STAYS,
    Scratch.FORMER_APPROVAL: Rule.STAYS,
    Scratch.PACKAGING: Rule.STAYS,
    Scratch.COMPILER_CACHE: Rule.BY_AGE,
    Scratch.DEPENDENCIES_IMAGE: Rule.WHILE_USED,
    Scratch.DEPENDENCIES_FILE: Rule.WHILE_USED,
    Scratch.SNAPSHOT: Rule.WITH_HISTORY,
    Scratch.LAST_PUBLISH: Rule.STAYS,
    Scratch.CANARY_VERDICT: Rule.STAYS,
    Scratch.CANARY_TURN: Rule.STAYS,
    Scratch.KEYRING: Rule.STAYS,
    Scratch.UNDELIVERED: Rule.STAYS,
    Scratch.STATUS: Rule.STAYS,
    Scratch.CONDITIONAL_WRITES: Rule.STAYS,
    Scratch.CHECKSUMS: Rule.STAYS,
}
"""The rule for each template. Objects whose keys have no template stay."""


class NotPruned(PackagingError):
    """Some suites could not be pruned. The message says which and why."""


class Pruning:
    """Prunes a store as its settings say, as of the time ``now``. A dry run changes nothing.

    The methods return what was done, or in a dry run what would be done, as lines for people.
    """

    def __init__(
        self, store: Store, settings: Settings, *, dry_run: bool, now: datetime | None = None
    ) -> None:
        self.store = store
        self.settings = settings
        self.dry_run = dry_run
        self.now = now or datetime.now(UTC)

    def age_out(self, signer: Signer) -> list[str]:
        """Remove the nightlies that are too old from the suites, with one commit for each suite.

        If such a commit died, it is completed. If a suite fails, the others are pruned all the same, and in
        the end NotPruned is raised with all reasons.
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
        # A suite without nightlies may be signed with a key that the signer no longer has.
        if not any(map(nightlies.find_nightly, target.read().identities)):
            return []
        first = nightlies.first_day(self.now, self.settings)
        with target.lock():
            change = nightlies.remove_aged(target.read(signer=signer), first)
            if change:
                log.info("%s", difference.describe(target, change, ()))
            if not self.dry_run:
                target.carry_out(change, signer)
        verb = "would be removed" if self.dry_run else "were removed"
        packages = f"{len(change.removed)} packages of nightlies from before {first:%Y.%m.%d}"
        return [f"{target}: {packages} {verb}"] if change else []

    def delete_files(self) -> list[str]:
        """Delete public files that no kept state of any suite names, then the snapshots of outdated states.

        The files are by-hash files, and the packages and source tarballs of nightlies. If the history of a
        suite is incomplete, everything that one of its states may name stays.
        """
        since = self.now - timedelta(days=self.settings.snapshot_days)
        downloads, why = self.store.downloads, f"no state since {since:%Y-%m-%d} names them"
        histories, unknown, done = self._histories(since)
        for history in histories:
            target = history.target
            # A commit under way may name a file again that no state names now.
            with target.lock():
                done += self._delete(downloads, history.unnamed_indices(), f"{target}: by-hash files", why)
        for name in sorted(set(REPOSITORIES) - unknown):
            packages = self._packages(name, histories, since)
            done += self._delete(downloads, packages, f"{name}: nightlies' files in the pool", why)
        if not unknown:
            done += self._delete(downloads, self._tarballs(histories, since), "nightlies' sources", why)
        # Last: the files that only these states name are deleted by a later run, when no undo can need them.
        why = f"their states were replaced before {since:%Y-%m-%d}"
        for history in histories:
            done += self._delete(self.store.scratch, history.outdated(), f"{history.target}: snapshots", why)
        return done

    def _histories(self, since: datetime) -> tuple[list[History], set[str], list[str]]:
        """The complete histories, the repositories with an incomplete one, and the reasons as lines."""
        histories, unknown, reasons = [], set(), []
        for target in target_suites.list_suites(self.store, self.settings):
            try:
                histories.append(History.read(target, since))
            except PackagingError as error:
                unknown.add(target.repository)
                reasons.append(f"{error}. Nothing is deleted that users of {target} may need.")
                log.warning("%s", reasons[-1])
        return histories, unknown, reasons

    def _packages(self, name: str, histories: Iterable[History], since: datetime) -> Iterator[Entry]:
        """The nightlies' files in a repository's pool that none of its suites names."""
        named = {key for history in histories if history.target.repository == name for key in history.files}
        # No index names a .buildinfo: it stays with a package of the same name and version.
        stems = {key.rpartition("_")[0] for key in named}
        for entry in unnamed(self.store.downloads, keys.nightly_pool(name), named, since):
            stays = entry.key.endswith(RECORD_SUFFIX) and entry.key.rpartition("_")[0] in stems
            if entry.key.rpartition("/")[2].startswith(NIGHTLY_PACKAGE) and not stays:
                yield entry

    def _tarballs(self, histories: Iterable[History], since: datetime) -> Iterator[Entry]:
        """Source tarballs and signatures of nightlies. A tarball comes before its signature.

        No tarball may be public without its signature.
        """
        packages = {package for history in histories for package in history.packages}
        named = set(map(nightlies.find_nightly, packages))
        for entry in unnamed(self.store.downloads, keys.nightly_tarballs(), (), since):
            found = keys.parse(Downloads, entry.key)
            if found and found.template in _NIGHTLY_SOURCES and found.release not in named:
                yield entry

    def delete_scratch(self) -> list[str]:
        """Delete from scratch what is left of versions that nobody has worked on for ``scratch_days``.

        RULES says what stays.
        """
        before = self.now - timedelta(days=self.settings.scratch_days)
        why = f"their versions were last worked on before {before:%Y-%m-%d}"
        done = self._delete(self.store.scratch, self._outdated(before), "objects in scratch", why)
        used = self.now - timedelta(days=max(self.settings.dependencies_image_days, 1))
        for directory, what, since in (
            (keys.jobs(CANARY), "logs of the canary", before),
            (keys.jobs(DEPENDENCIES), "logs of jobs that made images with build dependencies", before),
            (keys.compiler_caches(), "compiler caches for instances", before),
            (keys.dependencies_images(), "images with build dependencies", used),
        ):
            aged = (entry for entry in self.store.scratch.entries(directory) if entry.modified < since)
            done += self._delete(self.store.scratch, aged, what, f"they are of before {since:%Y-%m-%d}")
        return done

    def _outdated(self, before: datetime) -> Iterator[Entry]:
        """The objects that the rules let go, of versions that were last written ``before`` that time."""
        versions: dict[Release, list[tuple[Entry, Rule]]] = defaultdict(list)
        for entry in self.store.scratch.entries():
            found = keys.parse(Scratch, entry.key)
            if found is None:
                log.warning(
                    "s3://%s/%s has an unknown key; it is not deleted", self.store.scratch.name, entry.key
                )
            elif found.release:
                versions[found.release].append((entry, RULES[found.template]))
        public = set(self.store.downloads.keys(keys.nightly_tarballs()))
        for release, entries in versions.items():
            if max(entry.modified for entry, _ in entries) >= before:
                continue
            goes = {Rule.WITH_VERSION}
            if keys.public_tarball(release) not in public:
                goes.add(Rule.WITH_SOURCE)
            yield from (entry for entry, rule in entries if rule in goes)

    def _delete(self, bucket: Bucket, entries: Iterable[Entry], what: str, why: str) -> list[str]:
        count = size = 0
        verb = "would delete" if self.dry_run else "deleted"
        for entry in entries:
            if not self.dry_run:
                bucket.delete(entry.key)
            log.info("%s s3://%s/%s, %s bytes", verb, bucket.name, entry.key, f"{entry.size:,}")
            count, size = count + 1, size + entry.size
        return [f"{what}: {verb} {count}, {size:,} bytes: {why}"] if count else []
