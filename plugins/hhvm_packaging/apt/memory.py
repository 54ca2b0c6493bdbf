"""What this machine made of a suite when it last changed it, so that the next change need not ask for it.

It decides nothing. An index counts by its digest, and a store that heeds conditions refuses a commit upon
what somebody else has changed since.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.apt.index import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Memory:
    """One suite's."""

    in_release: str
    etag: str
    """InRelease's."""
    texts: tuple[str, ...]
    """The indices that it names, not compressed."""

    @property
    def indices(self) -> Mapping[str, bytes]:
        """The indices by the SHA-256 that they do have."""
        contents = [text.encode() for text in self.texts]
        return {sha256(content): content for content in contents}

    @classmethod
    def read(cls, path: Path) -> Memory | None:
        """What this user wrote there; None where that is nothing, or can no longer be read."""
        with suppress(OSError, ValueError, TypeError, KeyError), path.open() as file:
            if os.fstat(file.fileno()).st_uid == os.geteuid():
                found = json.load(file)
                return cls(**found | {"texts": tuple(found["texts"])})
        return None

    def write(self, path: Path) -> None:
        """Keep it, in place of what was there; if it cannot be kept, warn."""
        new = path.with_suffix(".new")
        try:
            new.write_text(json.dumps(asdict(self)))
            new.replace(path)
        except OSError as error:
            log.warning("Cannot remember what was published, so the next publish reads it: %s", error)
