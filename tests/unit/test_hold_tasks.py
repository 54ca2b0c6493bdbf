"""What the wrappers decide by themselves, without a scheduler."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from hhvm_packaging.orchestration.hold_tasks import is_held, write_body
from hhvm_packaging.planning.request import Request
from hhvm_packaging.publishing.holds import Package, Ready
from tests.unit.test_markdown import shown

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


def test_who_approves_reads_the_versions_as_they_are() -> None:
    names = {"debian-12-bookworm": "1.0.1-1~bookworm", "debian-13-trixie": "1.0.1-1~trixie"}
    packages = {name: Package(version=version, directory="") for name, version in names.items()}
    found = [
        Ready(version="1.0.1", packages=packages),
        Ready(version="1.0.2", missing=("debian-12-bookworm",)),
    ]
    body = write_body(found)
    assert "~" not in body.replace("\\~", "")
    assert shown(body) == "".join(map(str, found))
