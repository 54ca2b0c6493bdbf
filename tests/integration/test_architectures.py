"""A release for two architectures: both are built, checked and published as one change of each suite."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.building.steps import MakeBinaryPackage
from hhvm_packaging.orchestration import connections
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.planning.plans import BuildPlan, expand_distros
from hhvm_packaging.planning.request import Request
from hhvm_packaging.publishing import exposure
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.workers.docker import WrongArchitecture
from hhvm_packaging.workers.job import Job, JobFailed, Result
from testing.built import BOOKWORM, Bench, bench
from testing.debs import Deb

if TYPE_CHECKING:
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.planning.plans import PublishPlan

__all__ = ["bench"]
BOTH = ["amd64", "arm64"]
ON_ARM = f"{BOOKWORM}_arm64"


def build(bench: Bench, version: str) -> PublishPlan:
    """A plan to publish a version that was built for both distributions and both architectures."""
    bench.settings = bench.settings.model_copy(update={"architectures": BOTH})
    plan = bench.build(version)
    on_arm = [distro.on("arm64") for distro in plan.distros]
    for distro in on_arm:
        leave(bench, plan, distro, Deb(distro.package_version(plan.release), "hhvm", "arm64"))
    return plan.model_copy(update={"distros": (*plan.distros, *on_arm)})


def leave(bench: Bench, plan: PublishPlan, distro: Distro, deb: Deb) -> None:
    """What building leaves of a distribution."""
    directory = keys.outputs(plan.release, distro.name, AttemptId.new())
    bench.store.scratch.put(directory + deb.name, deb.content)
    PackageManifest(
        version=plan.version,
        distro=distro.name,
        package_version=distro.package_version(plan.release),
        inputs="",
        source_sha256="",
        docker_base=distro.docker_base,
        directory=directory,
        artifacts=(deb.artifact,),
    ).write(bench.store, plan.release, etag=None)


def test_a_suite_offers_what_was_built_for_each_architecture(bench: Bench) -> None:
    bench.update(build(bench, "1.0.0"))
    assert bench.offered("bookworm", "amd64") == bench.offered("bookworm", "arm64") == ["1.0.0-1~bookworm"]
    assert "debian/dists/bookworm/main/binary-arm64/Packages.xz" in bench.public()
    release = bench.store.downloads.get("debian/dists/bookworm/Release") or b""
    assert b"\nArchitectures: amd64 arm64\n" in release
    assert len(bench.snapshots("bookworm")) == len(bench.snapshots("trixie"))


def test_each_architecture_is_checked_by_itself_and_its_apt_reads_all_of_the_candidate(bench: Bench) -> None:
    found = bench.propose(build(bench, "1.0.0"))
    assert set(found) == {BOOKWORM, ON_ARM, "debian-13-trixie", "debian-13-trixie_arm64"}
    assert found[BOOKWORM].suites == found[ON_ARM].suites
    assert found[BOOKWORM].directory != found[ON_ARM].directory


def test_an_undo_takes_all_architectures_back(bench: Bench) -> None:
    bench.update(build(bench, "1.0.0"))
    plan = build(bench, "1.0.1")
    bench.update(plan)
    bench.update(plan.model_copy(update={"action": "undo"}))
    assert bench.offered("bookworm", "amd64") == bench.offered("bookworm", "arm64") == ["1.0.0-1~bookworm"]


def test_an_architecture_whose_candidate_fails_holds_the_other_of_its_suites_but_no_other_distribution(
    bench: Bench,
) -> None:
    plan = build(bench, "1.0.0").model_copy(update={"hold_all": False})
    for name, candidate in bench.propose(plan).items():
        if name != ON_ARM:
            candidate.accept(bench.store)
    assert bench.expose(plan) == ["debian-13-trixie", "debian-13-trixie_arm64"]
    with pytest.raises(exposure.Held, match=f"{BOOKWORM}, .*{ON_ARM}"):
        bench.expose(plan.model_copy(update={"hold_all": True}))


def test_the_first_architecture_has_the_names_keys_and_digests_that_it_always_had(bench: Bench) -> None:
    [bookworm, _] = bench.build("1.0.0").distros
    assert bookworm.on("amd64") == bookworm
    assert [bookworm.on("arm64").name, bookworm.on("arm64").directory] == [ON_ARM, BOOKWORM]
    job = Job(version="1.0.0", script="a-job", packaging="", environment={}, time_limit=1)
    assert job.digest == job.model_copy(update={"architecture": "amd64"}).digest
    assert job.digest == "c2ab807deded4442610b488bee1a78e9291dee758b8b080330d04dd14f3eade2"
    assert job.digest != job.model_copy(update={"architecture": "arm64"}).digest


def test_a_request_is_for_all_architectures_of_the_settings() -> None:
    request = Request.model_construct(distros=(BOOKWORM,))
    assert expand_distros(request, (), Settings()) == (BOOKWORM,)
    assert expand_distros(request, (), Settings(architectures=BOTH)) == (BOOKWORM, ON_ARM)


def test_what_is_for_all_architectures_is_made_by_the_first_ones_build_alone(bench: Bench) -> None:
    planned = build(bench, "1.0.0")
    bench.sign_source(planned)
    plan = BuildPlan.model_validate(planned.model_dump())
    step = MakeBinaryPackage(plan, bench.store, bench.settings, plan.distro(ON_ARM))
    job = step.job(AttemptId.new())
    assert (job.architecture, job.environment["HHVM_BUILD"]) == ("arm64", "any")
    assert job.environment["DISTRO"] == BOOKWORM
    debs = [Deb("1.0.0-1~bookworm", "hhvm", "arm64"), Deb("1.0.0-1~bookworm", "hhvm-doc", "all")]
    for deb in debs:
        bench.store.scratch.put(f"{job.outputs}{deb.name}", deb.content)
    now, made = datetime.now(UTC), tuple(deb.artifact for deb in debs)
    result = Result(exit_status=0, started=now, finished=now, artifacts=made)
    with pytest.raises(
        JobFailed, match=r"the build left hhvm-doc_.*_all\.deb, which the build for amd64 makes"
    ):
        step.accept(job, result)
    assert step.accept(job, result.model_copy(update={"artifacts": made[:1]})).endswith("_arm64.deb")


def test_a_docker_engine_is_not_asked_for_what_it_cannot_run(docker_engine: None) -> None:
    with pytest.raises(
        WrongArchitecture, match=r"architectures has .*, but the Docker engine at .* runs .* only"
    ):
        connections.docker_worker().ensure_architectures(BOTH)


def test_each_architecture_has_machines_and_an_image_of_its_own() -> None:
    ec2 = Settings(workers="ec2", architectures=BOTH).ec2
    assert ec2.image("amd64").endswith("/amd64")
    assert ec2.image("arm64").endswith("/arm64")
    for script in ("make-binary-package", "verify-candidate"):
        on_amd, on_arm = (set(ec2.machine(script, name).instance_types) for name in BOTH)
        assert on_amd.isdisjoint(on_arm)


@pytest.mark.parametrize(
    ("architectures", "words"),
    [(["arm64"], "amd64 must be among them"), (["amd64", "riscv64"], "ec2.other_images and .* do not")],
)
def test_architectures_that_cannot_be_built_are_refused_in_words(
    architectures: list[str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Settings(workers="ec2", architectures=architectures)
