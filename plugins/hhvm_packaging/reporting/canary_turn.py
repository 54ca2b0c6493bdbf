"""What the canary has asked for, so that it asks for each new file at once and for each other one once a day.

Each file has a time of day, which its key decides. A run asks for those whose time has come since the last
run, however long ago that was. So a turn takes a day, whatever the schedule of the canary is.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import DamagedObject

if TYPE_CHECKING:
    from hhvm_packaging.store.buckets import Store

log = logging.getLogger(__name__)

TURN = timedelta(days=1)
"""How long it takes until every file was asked for."""


class Turn(BaseModel):
    """How far the canary is. Without arguments: it has asked for nothing yet."""

    model_config = ConfigDict(frozen=True)

    until: datetime = datetime.min.replace(tzinfo=UTC)
    """The files whose time came before it were asked for."""
    suites: dict[str, str] = {}
    """For each suite: the name of the state whose files count as known."""
    wrong: tuple[str, ...] = ()
    """The keys of files, and the directories of suites, that were not right. A run looks at them again."""
    files: int = 0
    """How many files the indices name."""
    asked: int = 0
    """How many of them the last run asked for."""
    seconds: float = 0.0
    """How long that took."""

    @classmethod
    def read(cls, store: Store) -> Turn:
        """What the last run left. If that is damaged, a new turn begins."""
        try:
            return store.scratch.read_model(cls, keys.CANARY_TURN) or cls()
        except DamagedObject as error:
            log.warning("%s. The canary looks at everything", error)
            return cls()

    def write(self, store: Store) -> None:
        """Store this for the next run."""
        store.scratch.put_json(keys.CANARY_TURN, self.model_dump(mode="json"))

    def is_due(self, key: str, now: datetime) -> bool:
        """Whether the time of this key came since the last run, or it was wrong then."""
        if key in self.wrong or now - self.until >= TURN:
            return True
        digest = hashlib.sha256(key.encode()).digest()
        time = int.from_bytes(digest[:8], "big") / 2**64 * TURN.total_seconds()
        since = (time - self.until.timestamp()) % TURN.total_seconds()
        return since < (now - self.until).total_seconds()

    def describe(self) -> str:
        """How much the last run asked for, and how long a full turn takes, for people."""
        hours = TURN.total_seconds() / 3600
        whole = self.seconds / self.asked * self.files if self.asked else 0
        return (
            f"asked for {self.asked:,} of {self.files:,} files in {self.seconds:,.0f} s: new ones at once, "
            f"the others in turns; a full turn takes {hours:.0f} h, and about {whole:,.0f} s of requests"
        )
