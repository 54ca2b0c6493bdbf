"""Publishing: new packages become part of a suite. And asking what a suite has."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.apt.change import Change
from hhvm_packaging.apt.incoming import Incoming, PoolFile, Unpublishable
from hhvm_packaging.apt.lock import DIRECTORY, fenced
from hhvm_packaging.apt.sources_index import SOURCES, Source, Sources
from hhvm_packaging.apt.suite import Damaged, State, Suite
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store.buckets import Conflict
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.store.buckets import Bucket
    from hhvm_packaging.workers.job import Artifact

log = logging.getLogger(__name__)

__all__ = [
    "Damaged",
    "Published",
    "Unpublishable",
    "absent",
    "adding",
    "bring_about",
    "carry_out",
    "publish",
    "read",
    "read_sources",
]


@dataclass(frozen=True)
class Published:
    """What a publish did: names of .deb and .dsc files."""

    added: tuple[str, ...]
    already: tuple[str, ...]
    """Those that the suite had before."""
    withdrawn: tuple[str, ...] = ()
    """Those that were taken back, and so were left out; see undo.release."""


def read(
    downloads: Bucket, repository: str, suite: str, architecture: str = index.ARCHITECTURE
) -> index.Packages:
    """What users of the suite are offered now: nothing if it was never published.

    Its signature is not looked at. Raises Damaged or index.InvalidIndex.
    """
    # Who only reads keeps no snapshot.
    state = Suite(downloads, downloads, repository, suite).read()
    return state.packages.get(architecture, index.Packages())


def read_sources(downloads: Bucket, repository: str, suite: str) -> Sources:
    """As ``read``, the source packages."""
    return Suite(downloads, downloads, repository, suite).read().sources


def publish(
    downloads: Bucket,
    scratch: Bucket,
    *,
    repository: str,
    suite: str,
    pool: str,
    packages: Mapping[str, Artifact],
    signer: Signer,
    sources: Mapping[str, Artifact] | None = None,
    architectures: Collection[str] = (index.ARCHITECTURE,),
    locks: Path | None = None,
    at_once: int = 1,
) -> Published:
    """Add packages to a suite, in one commit; to run it again does no harm, and completes what died.

    ``repository`` is debian or ubuntu, ``pool`` where new files go, as keys.pool has it, ``packages`` the
    .deb files and ``sources`` the source packages' files, by their keys in ``scratch``. The suite gets an
    index for each of ``architectures`` and keeps those that it has; a package for ``all`` is in each.
    ``locks`` is where lock files are, and what this machine remembers of suites; ``at_once`` how many
    requests may be under way at the same time.

    Nothing of the repository is written before all is checked. What was withdrawn is left out. Raises
    Unpublishable; index.AlreadyPublished if a name or a version is published with other bytes;
    signing.BadSignature if the suite was signed by a key that the signer does not know; Damaged;
    store.Conflict if another publisher was faster (run it again).
    """
    target = Suite(downloads, scratch, repository, suite, at_once=at_once, memories=locks or DIRECTORY)
    new = Incoming.check(str(target), repository, pool, packages, sources or {}, architectures)
    with fenced(downloads, scratch, str(target), directory=locks):
        change = bring_about(target, signer, lambda current: adding(target, current, new, architectures))
    had, has = change.current.identities, change.identities
    return Published(
        added=tuple(name for name, what in new.names.items() if what in has - had),
        already=tuple(name for name, what in new.names.items() if what in had),
        withdrawn=tuple(name for name, what in new.names.items() if what not in has),
    )


def adding(
    target: Suite, current: State, new: Incoming, architectures: Collection[str], *, again: bool = False
) -> Change:
    """The change that adds packages to a suite.

    What was withdrawn is left out, unless it is to be offered ``again``. Raises index.AlreadyPublished.
    """
    if again:
        withdrawn = current.withdrawn - set(new.names.values())
    else:
        withdrawn, new = current.withdrawn, new.without(current.withdrawn)
    try:
        indices = _merge(current, new, architectures)
    except index.AlreadyPublished as error:
        raise index.AlreadyPublished(f"{target}: {error}") from error
    reason = "release again" if withdrawn != current.withdrawn else "publish"
    return Change(current, indices, withdrawn, reason, tuple(new.files))


def absent(target: Suite, files: Sequence[PoolFile]) -> list[PoolFile]:
    """Those of the files of a change that the pool lacks, and that it can have.

    Raises index.AlreadyPublished if the pool has one with other bytes; Unpublishable if scratch has not
    the bytes of one that is absent.
    """
    looks = [partial(target.downloads.head, file.pool_key) for file in files]
    looks += [partial(target.scratch.head, file.key) for file in files]
    heads = run_all(looks, at_once=target.at_once)
    found, where = [], str(target)
    for file, in_pool, built in zip(files, heads, heads[len(files) :], strict=False):
        if in_pool:
            file.check_published(in_pool, target.downloads, where)
        else:
            file.check_built(built, target.scratch, where)
            found.append(file)
    return found


def bring_about(target: Suite, signer: Signer, wanted: Callable[[State], Change]) -> Change:
    """Carry out the change that is ``wanted`` of the suite as it is, and return it.

    What this machine remembers of the suite will do, if the store accepts a commit upon it. Raises as
    ``wanted`` and ``carry_out``.
    """
    if remembered := target.remembered(signer=signer):
        try:
            if change := wanted(remembered):
                carry_out(target, change, signer)
                return change
        except (PackagingError, Conflict) as error:
            log.info("%s: is read, because what this machine knows of it will not do: %s", target, error)
    change = wanted(target.read(signer=signer))
    carry_out(target, change, signer)
    return change


def carry_out(target: Suite, change: Change, signer: Signer) -> None:
    """Make the change, or complete what a publisher left who died after he had made it.

    The pool has every file before users see an index that names it. Raises as ``absent``; Damaged;
    store.Conflict.
    """
    if change:
        change.begin()
        target.commit(change, signer, _copies(target, change))
    else:
        run_all(_copies(target, change), at_once=target.at_once)
        target.complete(signer)


def _copies(target: Suite, change: Change) -> list[Callable[[], None]]:
    """What puts each file into the pool that it lacks. Raises as ``absent``."""
    return [partial(file.copy, target.scratch, target.downloads) for file in absent(target, change.files)]


def _merge(
    current: State, new: Incoming, architectures: Collection[str]
) -> dict[str, index.Packages | Sources]:
    """The suite's indices with the new packages; those for ``all`` in the index of each architecture."""
    packages = [entry for entry in new.entries if isinstance(entry, index.Stanza)]
    sources = [entry for entry in new.entries if isinstance(entry, Source)]
    # An architecture that the suite had not until now begins with what is for all of them.
    for_all = {
        stanza.identity: stanza
        for there in current.packages.values()
        for stanza in there.stanzas
        if stanza.architecture == "all"
    }
    begun = dict.fromkeys(architectures, index.Packages(tuple(for_all.values()))) | dict(current.packages)
    return {
        index.packages_of(architecture): begun[architecture].add(
            stanza for stanza in packages if stanza.architecture in (architecture, "all")
        )
        for architecture in sorted(begun)
    } | {SOURCES: current.sources.add(sources)}
