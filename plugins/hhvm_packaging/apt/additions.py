"""The change that adds packages to a suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.apt.change import Change
from hhvm_packaging.apt.index import AlreadyPublished
from hhvm_packaging.apt.packages_index import Packages, Stanza, packages_of
from hhvm_packaging.apt.sources_index import SOURCES, Source, Sources
from hhvm_packaging.apt.versions import refuse_second_spelling

if TYPE_CHECKING:
    from collections.abc import Collection

    from hhvm_packaging.apt.incoming import Incoming
    from hhvm_packaging.apt.state import State


def add_packages(
    current: State, new: Incoming, architectures: Collection[str], where: str, *, reinstate: bool = False
) -> Change:
    """The change that adds the ``new`` packages to a suite whose state is ``current``.

    The suite gets an index for each of ``architectures`` and keeps those that it has; a package for ``all``
    is in each of them. Withdrawn packages are left out, unless ``reinstate`` says that they are offered
    again. ``where`` begins the message of AlreadyPublished, which is raised if a package of the same name,
    version and architecture is published with other bytes, or a version is published, or withdrawn, in
    another spelling.
    """
    try:
        refuse_second_spelling(current.identities | current.withdrawn, new.names.values())
        if reinstate:
            withdrawn = current.withdrawn - set(new.names.values())
        else:
            withdrawn, new = current.withdrawn, new.without(current.withdrawn)
        indices = _merge(current, new, architectures)
    except AlreadyPublished as error:
        raise AlreadyPublished(f"{where}: {error}") from error
    reason = "release again" if withdrawn != current.withdrawn else "publish"
    return Change(current, indices, withdrawn, reason, tuple(new.files))


def _merge(current: State, new: Incoming, architectures: Collection[str]) -> dict[str, Packages | Sources]:
    """The suite's indices with the new packages, by name."""
    packages = [entry for entry in new.entries if isinstance(entry, Stanza)]
    sources = [entry for entry in new.entries if isinstance(entry, Source)]
    # The index of a new architecture starts with the packages for all architectures.
    for_all = {
        stanza.identity: stanza
        for there in current.packages.values()
        for stanza in there.stanzas
        if stanza.architecture == "all"
    }
    before = dict.fromkeys(architectures, Packages(tuple(for_all.values()))) | dict(current.packages)
    ours = {
        packages_of(architecture): before[architecture].add(
            stanza for stanza in packages if stanza.architecture in (architecture, "all")
        )
        for architecture in sorted(before)
    } | {SOURCES: current.sources.add(sources)}
    # Other components stay as they are.
    return ours | {name: entries for name, entries in current.indices.items() if name not in ours}
