"""Indices as users get them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hhvm_packaging.apt.index import E, Index


def variants(entries: Index[E]) -> dict[str, bytes]:
    """The index under each name that users get it by."""
    return {name: make() for name, make in entries.forms().items()}
