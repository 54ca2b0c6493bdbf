"""What apt itself says of a candidate, in a clean container of the distribution."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import pytest

from demo import jobs_network, signing_key
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration import connections
from hhvm_packaging.publishing.candidates import Candidate
from hhvm_packaging.publishing.steps import VerifyCandidate, VerifyPublished
from hhvm_packaging.store.keys import PUBLIC_KEY
from hhvm_packaging.workers.docker import DockerWorker
from hhvm_packaging.workers.job import JobFailed
from testing.apt_client import website
from testing.built import BOOKWORM, TRIXIE, Bench, bench
from testing.debs import Deb

if TYPE_CHECKING:
    from pathlib import Path

    from hhvm_packaging.planning.plans import PublishPlan

__all__ = ["bench"]

ATTEMPT = AttemptId.new()


@pytest.fixture
def worker(job_image: str, bench: Bench, tmp_path: Path) -> DockerWorker:
    settings = bench.settings.model_copy(update={"docker_work_directory": tmp_path / "work"})
    return DockerWorker(connections.docker_worker().engine, settings)


def verify(
    worker: DockerWorker,
    bench: Bench,
    plan: PublishPlan,
    distro: str,
    kind: type[VerifyCandidate | VerifyPublished] = VerifyCandidate,
) -> str:
    """What the task of a step does, from its start to its end. Raises JobFailed."""
    step = kind(plan, bench.store, worker.settings, plan.distro(distro))
    name, job = f"hhvm-test-{uuid.uuid4().hex}", step.job(ATTEMPT)
    try:
        worker.start(name, ATTEMPT, job, {"hhvm.test": "yes"}, bench.store)
        deadline = time.monotonic() + 120
        while worker.state(name).phase != "ended":
            assert time.monotonic() < deadline, "apt did not end"
            time.sleep(0.1)
        return step.accept(job, worker.collect(name, ATTEMPT, job, bench.store))
    finally:
        worker.remove(name)


@pytest.mark.parametrize("distro", [BOOKWORM, TRIXIE])
def test_what_apt_can_install_is_accepted_with_the_distributions_own_packages(
    bench: Bench, worker: DockerWorker, distro: str
) -> None:
    plan = bench.build("1.0.0", extra="Depends: libc6 (>= 2.30), ca-certificates\n")
    bench.propose(plan)
    assert VerifyCandidate(plan, bench.store, bench.settings, plan.distro(distro)).done() is None
    verify(worker, bench, plan, distro)
    assert VerifyCandidate(plan, bench.store, bench.settings, plan.distro(distro)).done()


def build_all(version: str) -> list[Deb]:
    """What else a build may make: debug packages of each kind, one for all, and one that excludes another."""
    same = f"Depends: hhvm (= {version})\n"
    return [
        Deb(version, "hhvm-dbg", extra=same),
        Deb(version, "hhvm-dbgsym", extra=same, suffix="ddeb"),
        Deb(version, "hhvm-doc", "all"),
        Deb(version, "hhvm-other", extra="Conflicts: hhvm\n"),
    ]


def test_all_packages_of_a_build_are_offered_in_its_suite_and_can_be_had(
    bench: Bench, worker: DockerWorker, s3_directory: Path
) -> None:
    plan = bench.build("1.0.0", more=build_all)
    bench.propose(plan)
    verify(worker, bench, plan, BOOKWORM)
    bench.update(plan)
    with website(s3_directory / bench.settings.downloads_bucket, jobs_network.gateway()) as public:
        worker.settings = worker.settings.model_copy(update={"public_url": public.url})
        verify(worker, bench, plan, BOOKWORM, VerifyPublished)
    offered = {stanza.package for stanza in bench.suite("bookworm").read().packages["amd64"].stanzas}
    assert offered == {"hhvm", *(deb.package for deb in build_all("1"))}


def test_what_apt_cannot_install_is_not_exposed_and_apts_words_are_shown(
    bench: Bench, worker: DockerWorker
) -> None:
    plan = bench.build("1.0.0", extra="Depends: no-such-package\n")
    bench.propose(plan)
    with pytest.raises(JobFailed, match=r"(?s)HHVM 1\.0\.0, debian-12-bookworm, .*Depends: no-such-package"):
        verify(worker, bench, plan, BOOKWORM)
    assert not Candidate.is_accepted(bench.propose(plan)[BOOKWORM], bench.store)


def test_a_candidate_that_the_published_key_does_not_verify_is_not_exposed(
    bench: Bench, worker: DockerWorker
) -> None:
    plan = bench.build("1.0.0")
    bench.store.downloads.put(PUBLIC_KEY, signing_key.make("Somebody else <else@example.org>")[1].encode())
    bench.propose(plan)
    with pytest.raises(JobFailed, match="apt refuses what the suite is to become"):
        verify(worker, bench, plan, BOOKWORM)


def test_an_undos_candidate_offers_the_last_good_version_and_not_the_bad_one(
    bench: Bench, worker: DockerWorker
) -> None:
    bench.update(bench.build("1.0.0"))
    bad = bench.build("1.0.1")
    bench.update(bad)
    undo = bad.model_copy(update={"action": "undo"})
    bench.propose(undo)
    verify(worker, bench, undo, BOOKWORM)
    bench.propose(bad)
    with pytest.raises(JobFailed, match=r"apt still offers hhvm=1\.0\.1-1~bookworm, which was withdrawn"):
        verify(worker, bench, _expecting_an_undo(bench, bad), BOOKWORM)


def _expecting_an_undo(bench: Bench, bad: PublishPlan) -> PublishPlan:
    """The candidate of a publish with the expectations of an undo."""
    candidate = Candidate.read(bench.store, bad.release, BOOKWORM)
    assert candidate
    suites = {
        name: suite.model_copy(update={"offered": (), "withdrawn": suite.offered})
        for name, suite in candidate.suites.items()
    }
    candidate.model_copy(update={"suites": suites}).write(bench.store, bad.release)
    return bad
