"""Plans: what older revisions wrote can be read, and each step reads its own kind of plan."""

from __future__ import annotations

from typing import Any

import pytest

from hhvm_packaging.building.dependencies_images import MakeDependenciesImage
from hhvm_packaging.building.steps import MakeBinaryPackage, MakeSourceTarball
from hhvm_packaging.orchestration.steps import STEPS
from hhvm_packaging.planning.plans import BuildPlan, CanaryPlan, DependenciesPlan, Plan, PublishPlan
from hhvm_packaging.planning.step import DistroStep, Step
from hhvm_packaging.publishing.steps import LookAsUser, PublishReleaseSource, VerifyCandidate
from hhvm_packaging.settings import Settings

BOOKWORM: dict[str, Any] = {
    "name": "debian-12-bookworm",
    "docker_base": "debian:bookworm",
    "distribution": "bookworm",
    "pkgver": "1~bookworm",
    "files_sha256": "f" * 64,
}
OLD: dict[str, Any] = {
    "version": "4.172.1",
    "nightly": False,
    "commit": "c" * 40,
    "packaging": "a" * 64,
    "packaging_revision": "b" * 40,
    "packaging_ref": "refs/heads/HHVM-4.172",
    "known": ["debian-12-bookworm", "debian-13-trixie"],
    "distros": [BOOKWORM],
    "faults": {"debian-13-trixie": "a fault"},
    "not_before": "20261122T000000.000000Z-1",
    "action": "undo",
    "undo_to": "20261121T000000Z",
    "dry_run": True,
    "hold_all": False,
}
"""A plan as it was written when builds, publishes and the canary had one class."""
OLD_CANARY = OLD | {"version": "canary", "commit": "", "not_before": "", "action": "publish", "undo_to": None}


def written_again(kind: type[Plan], old: dict[str, Any]) -> dict[str, Any]:
    read = kind.model_validate(old).model_dump(mode="json")
    for distro in read["distros"]:
        assert distro.pop("claims") == []
        assert distro.pop("architecture") == "amd64"
        assert distro.pop("dependencies_sha256") == ""
    return read


def test_a_build_plan_of_an_older_revision_is_read() -> None:
    read = written_again(BuildPlan, OLD)
    assert (read.pop("run"), read.pop("requested"), read.pop("current")) == ("", [], [])
    assert read == {name: OLD[name] for name in read}
    assert set(OLD) - set(read) == {"action", "undo_to", "dry_run", "hold_all"}


def test_a_publish_plan_of_an_older_revision_is_read() -> None:
    read = written_again(PublishPlan, OLD)
    assert (read.pop("kept"), read.pop("current"), read.pop("keyring")) == ({}, [], False)
    assert read == {name: OLD[name] for name in read}
    assert set(OLD) - set(read) == {"not_before"}


def test_a_canary_plan_of_an_older_revision_is_read_without_its_version() -> None:
    read = written_again(CanaryPlan, OLD_CANARY)
    assert read == {name: OLD[name] for name in read}
    assert set(read) == {"packaging", "packaging_revision", "packaging_ref", "distros", "faults"}


def test_the_first_plans_had_fewer_fields() -> None:
    first = {name: OLD[name] for name in ("version", "nightly", "commit", "packaging", "packaging_revision")}
    assert BuildPlan.model_validate(first | {"distros": []}).known == ()


def test_jobs_of_a_version_are_filed_under_it_and_those_of_the_canary_under_its_name() -> None:
    assert BuildPlan.model_validate(OLD).subject == "4.172.1"
    assert CanaryPlan.model_validate(OLD_CANARY).subject == "canary"


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (MakeSourceTarball, BuildPlan),
        (MakeBinaryPackage, BuildPlan),
        (VerifyCandidate, PublishPlan),
        (PublishReleaseSource, PublishPlan),
        (LookAsUser, CanaryPlan),
        (MakeDependenciesImage, DependenciesPlan),
    ],
)
def test_a_step_reads_its_own_kind_of_plan(step: type[Step[Any]], kind: type[Plan]) -> None:
    store: Any = None
    assert type(step.load(OLD, "debian-12-bookworm", store, Settings()).plan) is kind


def test_a_step_of_a_distribution_finds_it_in_the_plan() -> None:
    store: Any = None
    step = MakeBinaryPackage.load(OLD, "debian-12-bookworm", store, Settings())
    assert step.distro.model_dump() == BOOKWORM | {
        "architecture": "amd64",
        "claims": (),
        "dependencies_sha256": "",
    }
    with pytest.raises(KeyError):
        MakeBinaryPackage.load(OLD, "debian-13-trixie", store, Settings())


def test_the_steps_that_are_mapped_are_those_of_a_distribution() -> None:
    of_a_distro = {script for script, step in STEPS.items() if issubclass(step, DistroStep)}
    assert of_a_distro == {
        "make-binary-package",
        "make-dependencies-image",
        "verify-candidate",
        "verify-published",
        "look-as-user",
    }
