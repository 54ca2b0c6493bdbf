"""Which image with build dependencies a build on EC2 begins with, and when it is made anew."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest

from hhvm_packaging import distros
from hhvm_packaging.apt.index import sha256
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.building import dependencies_images
from hhvm_packaging.building.dependencies_images import FILE, MakeDependenciesImage
from hhvm_packaging.planning.plans import DependenciesPlan
from hhvm_packaging.settings import Ec2
from hhvm_packaging.workers.job import Artifact, JobFailed, Result
from testing.built import BOOKWORM, TRIXIE, bench

__all__ = ["bench"]

if TYPE_CHECKING:
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.workers.job import Input
    from testing.built import Bench

ON = {"workers": "ec2", "ec2": Ec2(dependencies_images=True), "dependencies_image_days": 7}


def settings_of(bench: Bench, **changes: Any) -> Settings:
    return bench.settings.model_copy(update={**ON, **changes})


def step(bench: Bench, **changes: Any) -> MakeDependenciesImage:
    settings = settings_of(bench, **changes)
    distro = distros.load(settings.packaging_root, BOOKWORM)
    plan = DependenciesPlan(packaging="0" * 64, packaging_revision="", distros=(distro,))
    return MakeDependenciesImage(plan, bench.store, settings, distro)


def make(bench: Bench, *names: str) -> Input:
    """Have a job make bookworm's image. Returns what a build should begin with."""
    made = step(bench)
    attempt = AttemptId.new()
    job = made.job(attempt)
    files = tuple(
        Artifact(name=name, size=1, sha256=sha256(name.encode()), md5="") for name in names or (FILE,)
    )
    now = datetime.datetime.now(datetime.UTC)
    made.accept(job, Result(exit_status=0, started=now, finished=now, artifacts=files))
    found = choose(bench)
    assert found
    assert found.key == f"{job.outputs}{FILE}"
    return found


def choose(bench: Bench, days: float = 0, **changes: Any) -> Input | None:
    """What a build of bookworm begins with in so many days."""
    distro = step(bench).distro.model_copy(update=changes.pop("distro", {}))
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    return dependencies_images.choose(distro, bench.store, settings_of(bench, **changes), now)


def test_a_build_begins_with_the_newest_image_until_it_is_too_old(bench: Bench) -> None:
    assert choose(bench) is None
    make(bench)
    newest = make(bench)
    assert choose(bench) == newest
    assert choose(bench, days=6.9) == newest
    assert choose(bench, days=7) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"distro": {"dependencies_sha256": "0" * 64}},
        {"distro": {"dependencies_sha256": ""}},
        {"distro": {"docker_base": "debian:another"}},
        {"distro": {"name": TRIXIE}},
        {"build_profiles": ["nocheck"]},
        {"workers": "docker"},
        {"ec2": Ec2()},
        {"dependencies_image_days": 0},
    ],
    ids=str,
)
def test_an_image_is_for_what_it_was_made_from_and_for_deployments_that_want_it(
    bench: Bench, changes: dict[str, Any]
) -> None:
    make(bench)
    assert choose(bench, **changes) is None


def test_an_image_is_made_anew_a_day_before_it_is_too_old(bench: Bench) -> None:
    assert step(bench).done() is None
    make(bench)
    assert "is young enough" in str(step(bench).done())
    assert step(bench, dependencies_image_days=1).done() is None


def test_a_damaged_record_stops_no_build_and_is_replaced(bench: Bench) -> None:
    make(bench)
    [record] = [key for key in bench.store.scratch.keys("dependencies/") if key.endswith(".json")]
    bench.store.scratch.put(record, b"{")
    assert choose(bench) is None
    assert step(bench).done() is None
    assert make(bench) == choose(bench)


def test_a_job_that_leaves_anything_else_makes_no_image(bench: Bench) -> None:
    with pytest.raises(JobFailed, match=r"expected dependencies\.tar\.gz alone, but the job left .*a-file"):
        make(bench, FILE, "a-file")
    assert choose(bench) is None


def test_images_are_made_for_what_is_built_by_default_on_each_architecture(bench: Bench) -> None:
    plan = dependencies_images.plan(bench.store, settings_of(bench, architectures=["amd64", "arm64"]))
    names = [distro.name for distro in plan.distros]
    assert {BOOKWORM, f"{BOOKWORM}_arm64", TRIXIE, f"{TRIXIE}_arm64"} <= set(names)
    assert plan.faults == {}
    assert {step(bench).job(AttemptId.new()).kind} == {"build"}
