"""What the wrappers decide by themselves, without a scheduler."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from hhvm_packaging.orchestration.hold_tasks import is_held
from hhvm_packaging.planning.request import Request

TODAY = datetime.date(2026, 11, 25)


def asked(**more: Any) -> dict[str, Any]:
    """What ``plan`` returns."""
    request = Request(version="1.0.0", distros=("debian-12-bookworm",), today=TODAY, **more)
    return request.model_dump(mode="json")


def test_a_release_that_waits_for_nothing_goes_from_its_builds_to_publishing() -> None:
    assert is_held.function(asked()) == "may_publish"
    assert is_held.function([asked(), asked()]) == "may_publish"


@pytest.mark.parametrize("more", [{"require_approval": True}, {"hold_until": "2026-11-25T00:00:00Z"}])
def test_a_release_that_is_to_wait_is_held(more: dict[str, Any]) -> None:
    assert is_held.function(asked(**more)) == "ready"
    assert is_held.function([asked(**more)]) == "ready"
