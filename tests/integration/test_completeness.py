"""Whether all that a run was asked for is public: what the store says, whatever tasks say."""

from __future__ import annotations

import datetime
import hashlib
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.planning.request import Request
from hhvm_packaging.publishing import completeness
from hhvm_packaging.publishing.completeness import NotPublic
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Artifact
from testing.built import BOOKWORM, TRIXIE, Bench, bench

if TYPE_CHECKING:
    from pathlib import Path

    from hhvm_packaging.planning.plans import PublishPlan
    from hhvm_packaging.release import Release

__all__ = ["bench"]

TODAY = datetime.date(2026, 11, 28)
RELEASE, NIGHTLY = "1.0.0", "2026.11.28"


@dataclass(frozen=True)
class Place:
    """A store, and the public git repository that it belongs to."""

    bench: Bench
    git: Path

    def build(self, version: str) -> PublishPlan:
        """Build and sign a version for both distributions."""
        bench, plan = self.bench, self.bench.build(version)
        tarball = Artifact(name="a-tarball", size=1, sha256=version, md5="")
        built = BuildPlan.model_validate(plan.model_dump(mode="json"))
        bench.store.scratch.put_json(keys.plan(plan.release), built.model_dump(mode="json"))
        SourceManifest(version=version, commit=self.commit(), tarball=tarball, signed_by="somebody").write(
            bench.store, plan.release
        )
        for distro in plan.distros:
            made = PackageManifest.read(bench.store, plan.release, distro.name)
            assert made
            inputs = "\n".join([version, distro.files_sha256, distro.docker_base])
            made = made.model_copy(update={"inputs": hashlib.sha256(inputs.encode()).hexdigest()})
            etag = PackageManifest.etag(bench.store, plan.release, distro.name)
            made.write(bench.store, plan.release, etag=etag)
        return plan

    def publish(self, version: str) -> PublishPlan:
        """Build a version and make all of it public."""
        plan = self.build(version)
        self.bench.update(plan)
        self.publish_source(plan.release)
        return plan

    def publish_source(self, release: Release) -> None:
        """The tarball, the signature, and of a release the tag."""
        for key in (keys.public_tarball(release), keys.public_signature(release)):
            self.bench.store.downloads.put(key, b"")
        if not release.nightly:
            self._git("tag", release.tag, self.commit())

    def commit(self) -> str:
        """The commit that everything is built from."""
        return self._git("rev-parse", "HEAD")

    def missing(self, version: str, **more: Any) -> list[str]:
        """What is not public of a version that was asked for, for both distributions."""
        request = Request(version=version, distros=(BOOKWORM, TRIXIE), today=TODAY, **more)
        return completeness.find_missing(request, self.bench.store, self.bench.settings)

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(["git", "-C", self.git, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()


@pytest.fixture
def place(bench: Bench, tmp_path: Path) -> Place:
    """Nothing is built or public there."""
    git = tmp_path / "public"
    who = ["-c", "user.name=Tests", "-c", "user.email=tests@hhvm.invalid"]
    subprocess.run(["git", "init", "--quiet", git], check=True)
    commit = ["commit", "--quiet", "--allow-empty", "--message", "A commit"]
    subprocess.run(["git", "-C", git, *who, *commit], check=True)
    bench.settings = bench.settings.model_copy(update={"public_repository": str(git)})
    return Place(bench, git)


@pytest.mark.parametrize("version", [RELEASE, NIGHTLY])
def test_nothing_is_missing_of_a_version_of_which_everything_is_public(place: Place, version: str) -> None:
    place.publish(version)
    assert place.missing(version) == []


def test_what_was_never_built_is_named_with_what_to_clear(place: Place) -> None:
    [line] = place.missing(RELEASE)
    assert "HHVM 1.0.0: nothing was built for debian-12-bookworm, debian-13-trixie" in line
    assert "clear `build` and what follows" in line


def test_a_distribution_that_is_not_built_is_named(place: Place) -> None:
    plan = place.publish(RELEASE)
    place.bench.store.scratch.delete(keys.manifest(plan.release, TRIXIE))
    [line] = place.missing(RELEASE)
    assert line == "HHVM 1.0.0, debian-13-trixie: it is not built; clear `build` and what follows"


@pytest.mark.parametrize("version", [RELEASE, NIGHTLY])
def test_each_distribution_that_is_built_and_not_published_is_named(place: Place, version: str) -> None:
    plan = place.build(version)
    place.publish_source(plan.release)
    lines = place.missing(version)
    assert [line.partition(":")[0] for line in lines] == [
        f"HHVM {version}, {BOOKWORM}",
        f"HHVM {version}, {TRIXIE}",
    ]
    assert all("it is built, but debian" in line and "clear `publish`" in line for line in lines)


def test_a_suite_that_lacks_the_version_is_enough(place: Place) -> None:
    """Its packages are in the pool, and in another suite of the same distribution."""
    plan = place.publish(RELEASE)
    suite = place.bench.suite("trixie-1.0")
    place.bench.store.downloads.delete(suite.key(keys.IN_RELEASE))
    place.bench.store.downloads.delete(suite.key(keys.RELEASE))
    [line] = place.missing(plan.version)
    assert "debian-13-trixie: it is built, but debian trixie-1.0 does not offer it" in line


def test_another_build_of_the_same_version_is_not_what_is_public(place: Place) -> None:
    """As after a bump of PKGVER whose publish did not run."""
    plan = place.publish(RELEASE)
    made = PackageManifest.read(place.bench.store, plan.release, BOOKWORM)
    assert made
    [package] = made.artifacts
    other = made.model_copy(update={"artifacts": (package.model_copy(update={"sha256": "0" * 64}),)})
    place.bench.store.scratch.put_json(keys.manifest(plan.release, BOOKWORM), other.model_dump(mode="json"))
    [line] = place.missing(RELEASE)
    assert "HHVM 1.0.0, debian-12-bookworm" in line


def test_what_was_withdrawn_is_not_public_and_clearing_does_not_bring_it_back(place: Place) -> None:
    plan = place.publish(RELEASE)
    place.bench.update(plan.model_copy(update={"action": "undo"}))
    lines = place.missing(RELEASE)
    assert len(lines) == 2
    assert all("it was withdrawn from debian" in line and "`release again`" in line for line in lines)


@pytest.mark.parametrize("what", ["tarball", "signature", "tag"])
def test_a_release_is_public_only_with_its_source(place: Place, what: str) -> None:
    plan = place.publish(RELEASE)
    match what:
        case "tarball":
            place.bench.store.downloads.delete(keys.public_tarball(plan.release))
        case "signature":
            place.bench.store.downloads.delete(keys.public_signature(plan.release))
        case _:
            subprocess.run(["git", "-C", place.git, "tag", "--delete", plan.release.tag], check=True)
    assert place.missing(RELEASE) == [
        "HHVM 1.0.0: its source is not public; clear `publish` and what follows"
    ]


def test_a_distribution_that_is_not_published_at_all_need_only_be_built(place: Place) -> None:
    plan = place.publish(RELEASE)
    fedora = plan.distros[0].model_copy(update={"name": "fedora-42", "distribution": ""})
    assert fedora.not_published
    planned = BuildPlan.model_validate(plan.model_dump(mode="json") | {"distros": [fedora.model_dump()]})
    place.bench.store.scratch.put_json(keys.plan(plan.release), planned.model_dump(mode="json"))
    made = PackageManifest.read(place.bench.store, plan.release, BOOKWORM)
    assert made
    request = Request(version=RELEASE, distros=("fedora-42",), today=TODAY)
    bench = place.bench
    [line] = completeness.find_missing(request, bench.store, bench.settings)
    assert line == "HHVM 1.0.0, fedora-42: it is not built; clear `build` and what follows"
    made = made.model_copy(update={"distro": "fedora-42"})
    bench.store.scratch.put_json(keys.manifest(plan.release, "fedora-42"), made.model_dump(mode="json"))
    assert completeness.find_missing(request, bench.store, bench.settings) == []


def test_the_reason_names_all_versions_that_lack_something(place: Place) -> None:
    place.publish(RELEASE)
    requests = [
        Request(version=version, distros=(BOOKWORM, TRIXIE), today=TODAY) for version in (RELEASE, "1.0.1")
    ]
    bench = place.bench
    assert completeness.ensure_public(requests[:1], bench.store, bench.settings)
    with pytest.raises(NotPublic, match=r"HHVM 1\.0\.1: nothing was built") as error:
        completeness.ensure_public(requests, bench.store, bench.settings)
    assert "1.0.0" not in str(error.value)
