"""Containers whose apt knows our repositories alone: reading Debian's takes it seconds, on every core."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_STRICT = "\nset -euo pipefail\n"
_FORGET = "rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*\n"


def forget_debian(script: Path) -> None:
    """Have a copied script of jobs/in-container begin by forgetting the distribution's own sources."""
    before, strict, after = script.read_text().partition(_STRICT)
    assert strict, script
    script.write_text(before + strict + _FORGET + after)
