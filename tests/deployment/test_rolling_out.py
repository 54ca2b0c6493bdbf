"""Deploying under a release: new images replace the services, and the release does not notice.

The test sets up a deployment of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testing.newcomer import BUILD, PUBLISH, WRAPPER

if TYPE_CHECKING:
    from testing.deployer import Deployer

pytestmark = pytest.mark.timeout(3600)


def test_a_release_ends_green_and_does_nothing_twice_while_new_images_roll_out(deployer: Deployer) -> None:
    deployer.make("compose-demo", timeout=1800)
    deployer.tag("1.0.1")
    run_id = "rolling"
    deployer.api.trigger(WRAPPER, run_id, {"version": "1.0.1", "require_approval": True})
    child = deployer.child(WRAPPER, run_id, "1.0.1")
    deployer.until(lambda: deployer.building("1.0.1"), limit=600)
    deployer.roll_out("1" * 40)
    deployer.until_asked(WRAPPER, run_id, limit=900)
    offered = set(deployer.offered("trixie"))
    assert {version for version in offered if version.endswith("~trixie")} == {"1.0.0-1~trixie"}
    deployer.roll_out("2" * 40)
    deployer.answer(WRAPPER, run_id, "Approve")
    deployer.until_at(PUBLISH, child, "candidate")
    deployer.roll_out("3" * 40)
    assert deployer.ended(WRAPPER, run_id) == "success"
    assert deployer.builds("1.0.1") == 2
    assert [deployer.publishes("1.0.1", suite) for suite in ("bookworm", "trixie")] == [1, 1]
    assert f"deployed revision: {'3' * 40}" in deployer.said(PUBLISH, child, "publish_report")
    assert f"deployed revision: {'1' * 40}" in deployer.said(BUILD, child, "build_report")
