"""A distribution for whose packages there is no publisher is built, kept and reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.planning import plans
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.planning.request import Refused
from hhvm_packaging.reporting import reports
from hhvm_packaging.workers.job import JobFailed, Result
from tests.integration.test_resuming import BOOKWORM, RELEASE, RUN, TIME, Bench, artifact, bench

if TYPE_CHECKING:
    from hhvm_packaging.planning.plans import BuildPlan

__all__ = ["bench"]

FEDORA = "fedora-40"
RPM = "hhvm-1.0.0-1.fc40.x86_64.rpm"


@pytest.fixture
def plan(bench: Bench) -> BuildPlan:
    """The plan to build 1.0.0, whose source is there, for Debian and for a directory with the two files."""
    directory = bench.settings.packaging_root / "distros" / FEDORA
    directory.mkdir()
    (directory / "DOCKER_BASE").write_text("fedora:40\n")
    (directory / "make-package").write_text("#!/bin/sh\n")
    (directory / "make-package").chmod(0o755)
    plan = bench.plan(RELEASE, FEDORA, BOOKWORM)
    bench.make_source(plan)
    bench.sign(plan)
    return plan


def make_rpm(bench: Bench, plan: BuildPlan, *names: str) -> PackageManifest:
    step = bench.step(plan, FEDORA)
    job = step.job(AttemptId.new())
    for name in names:
        bench.store.scratch.put(f"{job.outputs}{name}", b"an rpm")
    made = tuple(artifact(name, b"an rpm") for name in names)
    step.accept(job, Result(exit_status=0, started=TIME, finished=TIME, artifacts=made))
    manifest = PackageManifest.read(bench.store, RELEASE, FEDORA)
    assert manifest
    return manifest


def test_its_job_has_no_repository_to_upgrade_from(bench: Bench, plan: BuildPlan) -> None:
    assert "REPOSITORY" not in bench.step(plan, FEDORA).job(AttemptId.new()).environment
    assert bench.step(plan, BOOKWORM).job(AttemptId.new()).environment["REPOSITORY"] == "debian"


def test_what_it_leaves_is_built_and_not_public(bench: Bench, plan: BuildPlan) -> None:
    manifest = make_rpm(bench, plan, RPM)
    assert manifest.is_built(bench.store, RELEASE)
    assert not manifest.is_published(bench.store, RELEASE)
    assert "is built already" in str(bench.step(plan, FEDORA).done())


def test_a_build_that_leaves_nothing_fails(bench: Bench, plan: BuildPlan) -> None:
    with pytest.raises(JobFailed, match="left nothing in /var/out"):
        make_rpm(bench, plan)


def test_it_can_be_built_again(bench: Bench, plan: BuildPlan) -> None:
    make_rpm(bench, plan, RPM)
    forced = bench.plan(RELEASE, FEDORA, force=True)
    assert forced.faults == {}
    assert bench.step(forced, FEDORA).done() is None


def test_the_reports_say_that_there_is_no_publisher_and_a_publish_goes_on_with_the_others(
    bench: Bench, plan: BuildPlan
) -> None:
    make_rpm(bench, plan, RPM)
    bench.make_packages(plan)
    assert "none for fedora" in reports.report_build(plan, bench.store, bench.settings, RUN)
    publish = plans.plan_publish(bench.request(RELEASE, FEDORA, BOOKWORM), bench.store, bench.settings)
    assert [distro.name for distro in publish.distros] == [BOOKWORM]
    assert publish.faults == {}
    assert publish.kept == {FEDORA: "there is a publisher for debian and ubuntu, but none for fedora"}


def test_a_publish_of_nothing_else_is_refused(bench: Bench, plan: BuildPlan) -> None:
    make_rpm(bench, plan, RPM)
    with pytest.raises(Refused, match=r"nothing is published\. fedora-40: there is a publisher for debian"):
        plans.plan_publish(bench.request(RELEASE, FEDORA), bench.store, bench.settings)
