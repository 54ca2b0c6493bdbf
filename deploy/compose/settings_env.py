"""The service ``settings``: refuses what settings.env sets in vain, because docker-compose.yaml sets it too.

This service has the variables of settings.env alone. In the others, those of docker-compose.yaml have
replaced them already, so that no service could tell.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yaml"
_VARIABLE = re.compile(r"^ +([A-Z][A-Z0-9_]+):", re.MULTILINE)


def set_by_compose() -> frozenset[str]:
    """The variables that docker-compose.yaml sets by itself. They count, whatever settings.env says."""
    return frozenset(_VARIABLE.findall(COMPOSE.read_text()))


def refuse(names: Iterable[str]) -> list[str]:
    """A line for each of these variables of settings.env that nothing reads."""
    by_compose = set_by_compose()
    return [
        f"settings.env: {name} is not read: docker-compose.yaml sets it, from .env if at all"
        for name in sorted(names)
        if name.upper() in by_compose
    ]


if __name__ == "__main__":
    if refused := refuse(os.environ):
        sys.exit("\n".join(["The deployment does not start.", *refused, "Set it in .env, see .env.example"]))
