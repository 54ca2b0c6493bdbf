"""Candidates: the indices that a publish would expose, signed, in scratch, for apt to check first."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from hhvm_packaging.apt import difference, undo
from hhvm_packaging.apt.index import sha256
from hhvm_packaging.apt.packages_index import packages_of
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import source_tarball, target_suites
from hhvm_packaging.publishing import suite_changes
from hhvm_packaging.release import KEYRING_PACKAGE
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import DamagedObject
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.workers.job import Artifact, Input

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hhvm_packaging.apt.change import Change
    from hhvm_packaging.apt.index import Identity
    from hhvm_packaging.apt.packages_index import Packages
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.sources_index import Sources
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.planning.plans import PublishPlan
    from hhvm_packaging.release import Release
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store

log = logging.getLogger(__name__)


class ExpectedSuite(BaseModel):
    """What one suite would offer."""

    model_config = ConfigDict(frozen=True)

    digests: dict[str, str]
    """SHA-256 of each uncompressed index, by its path relative to the suite."""
    offered: tuple[str, ...]
    """Packages that apt must offer, as "package=version"."""
    withdrawn: tuple[str, ...]
    """Packages that apt must not offer, likewise."""


class Candidate(BaseModel):
    """What one distribution's suites would offer, or why no candidate could be made."""

    model_config = ConfigDict(frozen=True)

    distro: str
    directory: str = ""
    """The directory of the files in scratch, with a trailing slash. No other candidate uses it."""
    suites: dict[str, ExpectedSuite] = {}
    files: tuple[Input, ...] = ()
    """The files that apt reads, by their paths in a repository, and the public key."""
    difference: str = ""
    """A description of all changes, for people."""
    downgrade: str = ""
    """The command for users who installed packages that the candidate withdraws; empty if there are none."""
    others: dict[str, Artifact] = {}
    """The files that it adds to the pool beside those of the build, by their public keys."""
    fault: str | None = None
    """Why no candidate could be made; None if one was."""

    @classmethod
    def read(cls, store: Store, release: Release, distro: str) -> Candidate | None:
        """The distribution's last candidate of this release; None if there was none."""
        return store.scratch.read_model(cls, keys.candidate(release, distro))

    def write(self, store: Store, release: Release) -> None:
        """Store this as the distribution's last candidate of this release."""
        store.scratch.put_json(keys.candidate(release, self.distro), self.model_dump(mode="json"))

    @property
    def expected(self) -> str:
        """What apt must offer, for jobs/in-container/check-offer: a line for each suite.

        A line has the suite's name, the packages that apt must offer, and those that it must not offer, each
        of these with a ``!`` in front.
        """
        return "\n".join(
            " ".join([name, *suite.offered, *(f"!{package}" for package in suite.withdrawn)])
            for name, suite in self.suites.items()
        )

    def accept(self, store: Store) -> None:
        """Record that apt accepted the candidate."""
        store.scratch.put(keys.candidate_accepted(self.directory), b"")

    def is_accepted(self, store: Store) -> bool:
        """Whether apt accepted the candidate."""
        return self.fault is None and store.scratch.head(keys.candidate_accepted(self.directory)) is not None


class NoCandidate(PackagingError):
    """No distribution has a candidate. The message says why, for each."""


def make_all(plan: PublishPlan, store: Store, signer: Signer, settings: Settings) -> list[str]:
    """Write the plan's candidates and log what they would change.

    Returns the names of the distributions that have a candidate. If a distribution cannot have one, the
    reason is logged and kept for the report. Raises NoCandidate if none has one.
    """
    attempt, share = AttemptId.new(), settings.shared_by(len(plan.distros))
    made = run_all(
        (partial(make, plan, distro, attempt, store, signer, share) for distro in plan.distros),
        at_once=settings.requests_at_once,
    )
    for candidate in made:
        if candidate.fault:
            log.error("%s: %s", candidate.distro, candidate.fault)
        else:
            log.info("%s would change:\n%s", candidate.distro, candidate.difference)
    if not (found := [candidate.distro for candidate in made if not candidate.fault]):
        faults = "; ".join(_join_faults(made))
        raise NoCandidate(f"HHVM {plan.version}: no distribution has a candidate. {faults}")
    return found


def _join_faults(candidates: Iterable[Candidate]) -> Iterator[str]:
    """Each fault once, after the names of its distributions."""
    found: dict[str, list[str]] = {}
    for candidate in candidates:
        found.setdefault(candidate.fault or "", []).append(candidate.distro)
    return (f"{', '.join(distros)}: {fault}" for fault, distros in found.items())


def make(
    plan: PublishPlan, distro: Distro, attempt: AttemptId, store: Store, signer: Signer, settings: Settings
) -> Candidate:
    """Write the files of the distribution's candidate, then the candidate. ``attempt`` names the directory.

    If the files cannot be made, the candidate says why.
    """
    directory = keys.candidate_files(plan.release, distro.name, attempt)
    try:
        candidate = _make(plan, distro, directory, store, signer, settings)
    except PackagingError as error:
        candidate = Candidate(distro=distro.name, fault=str(error))
    candidate.write(store, plan.release)
    return candidate


def _make(
    plan: PublishPlan, distro: Distro, directory: str, store: Store, signer: Signer, settings: Settings
) -> Candidate:
    suites, files, differences, downgrades = (
        {},
        {keys.PUBLIC_KEY_FILE: source_tarball.public_keys(store)},
        [],
        [],
    )
    targets = [
        target_suites.open_suite(store, distro, name, settings)
        for name in target_suites.choose_suites(plan.release, distro, settings)
    ]
    build = suite_changes.read_incoming(plan, distro, store, settings)
    changes = [
        suite_changes.make_change(
            plan, distro, build, target, target.read(signer=signer), store, signer, settings
        )
        for target in targets
    ]
    for target, change in zip(targets, changes, strict=True):
        target.permit(change)
    # The suites share the pool.
    pool = {file.pool_key: file for change in changes for file in change.files}
    missing = {file.pool_key for file in targets[0].find_missing(list(pool.values()))}
    for target, change in zip(targets, changes, strict=True):
        name = target.suite
        new = [file for file in change.files if file.pool_key in missing]
        differences.append(difference.describe(target, change, new))
        downgrades.append(undo.downgrade(change.indices, change.removed))
        suites[name] = _expected(change, plan.version, distro.architecture)
        files[f"dists/{name}/{keys.IN_RELEASE}"] = target.sign(change, signer).in_release
        # Apt fetches this form of an index by default.
        compressed = {file: content for file, content in change.contents.items() if file.endswith(".xz")}
        files |= {f"dists/{name}/{file}": content for file, content in compressed.items()}
    run_all(
        (
            partial(store.scratch.put, keys.candidate_file(directory, name), content)
            for name, content in files.items()
        ),
        at_once=settings.requests_at_once,
    )
    return Candidate(
        distro=distro.name,
        directory=directory,
        suites=suites,
        files=tuple(
            Input(key=keys.candidate_file(directory, name), name=name, sha256=sha256(content))
            for name, content in files.items()
        ),
        others={
            file.pool_key: file.artifact
            for file in pool.values()
            if file.artifact.name.startswith(f"{KEYRING_PACKAGE}_")
        },
        difference="\n".join(differences),
        downgrade=next(filter(None, downgrades), ""),
    )


def find_accepted(plan: PublishPlan, distro: Distro, store: Store) -> Candidate | None:
    """The distribution's candidate if apt accepted it, else None."""
    try:
        candidate = Candidate.read(store, plan.release, distro.name)
    except DamagedObject as error:
        log.error("%s: %s", distro.name, error)
        return None
    return candidate if candidate and candidate.is_accepted(store) else None


def _expected(change: Change, version: str, architecture: str) -> ExpectedSuite:
    """What apt must offer on an architecture: those of ``version``; if withdrawn, the newest others."""
    withdrawn = change.removed | {identity for identity in change.withdrawn if undo.is_of(identity, version)}
    offered = _words(
        (identity for identity in change.identities if undo.is_of(identity, version)), architecture
    )
    return ExpectedSuite(
        digests=change.digests,
        offered=offered or undo.fallback_versions(_on(change, architecture), withdrawn),
        withdrawn=_words(withdrawn, architecture),
    )


def _on(change: Change, architecture: str) -> dict[str, Packages | Sources]:
    """The indices of the change that apt reads on an architecture."""
    name = packages_of(architecture)
    return {name: change.indices[name]} if name in change.indices else {}


def _words(identities: Iterable[Identity], machine: str) -> tuple[str, ...]:
    """The packages that can be installed on an architecture, as "package=version"."""
    return tuple(
        f"{package}={version}"
        for package, version, architecture in sorted(identities)
        if architecture in (machine, "all")
    )
