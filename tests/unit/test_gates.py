"""What becomes of what the quality gates found: the settings decide, and people read the words."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from hhvm_packaging.building import gates
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.settings import Gates
from hhvm_packaging.workers.job import Facts, Gate, NotAResult, Result

NEW_TAG = "hhvm: new with this version: E: binary-with-bad-dynamic-table"
FOUND = Gate(name="lintian", verdict="failed", words=(NEW_TAG,))


def parse(*found: dict[str, Any]) -> Result:
    """The result of a job that says this of its gates."""
    now = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC).isoformat()
    result = {"exit_status": 0, "started": now, "finished": now, "gates": found}
    return Result.parse(json.dumps(result).encode())


@pytest.mark.parametrize(("action", "verdict"), [("fail", "failed"), ("warn", "warned"), ("off", "skipped")])
def test_what_a_gate_finds_means_what_the_setting_says(action: Any, verdict: str) -> None:
    (judged,) = gates.judge([FOUND], Gates(lintian=action))
    assert (judged.verdict, judged.words) == (verdict, FOUND.words)


@pytest.mark.parametrize("verdict", ["passed", "skipped"])
def test_what_passes_or_was_skipped_stays_so_whatever_the_setting_says(verdict: Any) -> None:
    gate = Gate(name="service", verdict=verdict)
    assert gates.judge([gate], Gates(service="fail")) == (gate,)


@pytest.mark.parametrize("name", ["install", "upgrade", "of-another-revision", "size-percent"])
def test_a_gate_that_no_setting_is_about_stops_the_packages(name: str) -> None:
    gate = Gate(name=name, verdict="failed", words=("hhvm does not install",))
    assert gates.judge([gate], Gates()) == (gate,)


def test_a_gate_that_fails_says_what_it_found_and_what_to_do() -> None:
    reason = gates.find_failure([FOUND, Gate(name="service", verdict="passed")])
    assert reason == (
        f"a quality gate stops the packages: lintian: {NEW_TAG}. Repair that and clear this task; or set "
        "gates.lintian to warn, and clear it, to have them all the same"
    )


def test_nothing_is_stopped_by_warnings() -> None:
    assert gates.find_failure(gates.judge([FOUND], Gates(lintian="warn"))) == ""


BASE = Facts(base_image="sha256:aa", base_digest="debian@sha256:bb")
MOVED = Facts(base_image="sha256:cc", base_digest="debian@sha256:dd")


def built(facts: Facts) -> PackageManifest:
    """An earlier version, built in that image."""
    return PackageManifest.model_construct(package_version="1.0.0-1~bookworm", facts=facts)


def test_a_tag_that_has_moved_since_the_published_version_is_named_with_both_images() -> None:
    gate = gates.compare_base(MOVED, "debian:bookworm", built(BASE))
    assert gate.verdict == "failed"
    assert gate.words[0] == (
        "debian:bookworm is another image than for 1.0.0-1~bookworm: debian@sha256:dd, then debian@sha256:bb"
    )
    assert gates.judge([gate], Gates())[0].verdict == "warned"
    assert "set gates.base_image to warn" in gates.find_failure(gates.judge([gate], Gates(base_image="fail")))


@pytest.mark.parametrize("same", [{"base_image": "sha256:other"}, {"base_digest": ""}])
def test_the_same_image_passes_by_its_id_or_by_a_registrys_digest(same: dict[str, str]) -> None:
    gate = gates.compare_base(BASE.model_copy(update=same), "debian:bookworm", built(BASE))
    assert gate.verdict == "passed"


@pytest.mark.parametrize("before", [None, built(Facts())])
def test_where_there_is_nothing_to_compare_with_the_gate_is_skipped(before: PackageManifest | None) -> None:
    assert gates.compare_base(BASE, "debian:bookworm", before).verdict == "skipped"


def test_a_job_is_told_only_of_what_is_not_as_usual() -> None:
    assert gates.variables(Gates()) == {}
    told = gates.variables(Gates(lintian="off", symbols="off", size_percent=50))
    assert told == {"GATES_OFF": "lintian symbols", "SIZE_PERCENT": "50"}


def test_a_job_that_says_nothing_of_gates_has_a_result() -> None:
    assert parse().gates == ()


@pytest.mark.parametrize(
    "said",
    [
        {"name": "../lintian", "verdict": "passed"},
        {"name": "lintian", "verdict": "splendid"},
        {"name": "lintian", "verdict": "failed", "words": ["\x1b[2J"]},
        {"name": "lintian", "verdict": "failed", "words": ["x" * 401]},
        {"name": "lintian", "verdict": "failed", "words": ["x"] * 31},
    ],
    ids=["name", "verdict", "control characters", "a long line", "many lines"],
)
def test_a_gate_of_another_form_is_no_result(said: dict[str, Any]) -> None:
    with pytest.raises(NotAResult, match="it has no good gates"):
        parse(said)


def test_more_gates_than_there_can_be_are_no_result() -> None:
    with pytest.raises(NotAResult, match="it has no good gates"):
        parse(*[{"name": "lintian", "verdict": "passed"}] * 21)
