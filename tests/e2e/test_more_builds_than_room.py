"""More builds than the account has room for: all finish, a few at a time.

``make bench-room`` does the same with as many as HHVM has had: 56, and room for 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from testing import room

if TYPE_CHECKING:
    from pathlib import Path


def test_all_builds_finish_although_there_is_room_for_few(job_image: str, tmp_path: Path) -> None:
    outcome = room.build(tmp_path, builds=4, room=2, limit=1800)
    assert set(outcome.states.values()) == {"success"}
    assert outcome.built == set(outcome.states)
    assert len(outcome.built) == outcome.launches == 4
    assert outcome.peak <= 2
