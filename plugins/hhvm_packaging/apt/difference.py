"""A description of a change for people, made before users see any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.apt import index

if TYPE_CHECKING:
    from collections.abc import Collection

    from hhvm_packaging.apt.change import Change
    from hhvm_packaging.apt.pool import PoolFile
    from hhvm_packaging.apt.suite import Suite


def describe(target: Suite, change: Change, missing: Collection[PoolFile]) -> str:
    """Describe all that changes in a suite: packages, indices, and the files that the pool is ``missing``."""
    lines = [f"{target}, now {change.current.snapshot or 'not there'}:"]
    if not change and not missing:
        return f"{lines[0]} nothing changes"
    lines += [f"  + {words}" for words in index.words(change.added)]
    lines += [f"  - {words}" for words in index.words(change.removed)]
    lines += [f"  described anew: {words}" for words in index.words(change.corrected)]
    lines += [
        f"  offered again: {words}" for words in index.words(change.current.withdrawn - change.withdrawn)
    ]
    for name, entries in change.indices.items():
        before = change.current.indices.get(name)
        if entries != before:
            lines.append(
                f"  {name}: {len(before.stanzas) if before else 0} to {len(entries.stanzas)} packages, "
                f"{len(before.render()) if before else 0:,} to {len(change.contents[name]):,} bytes"
            )
    lines += [f"  pool: {file.pool_key}, {file.artifact.size:,} bytes" for file in missing]
    lines.append(f"  pool: {len(missing)} new files, {sum(file.artifact.size for file in missing):,} bytes")
    return "\n".join(lines)
