""".buildinfo files: they are published beside the packages that they describe, and stay as long as these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.publishing import pages
from hhvm_packaging.publishing.candidates import Candidate, NoCandidate
from hhvm_packaging.store import keys
from testing.built import BOOKWORM, bench
from testing.debs import Deb, build_record

__all__ = ["bench"]

if TYPE_CHECKING:
    from hhvm_packaging.planning.plans import PublishPlan
    from testing.built import Bench
    from testing.debs import SourceFile

VERSION = "1.0.0-1~bookworm"
PACKAGE = Deb(VERSION)
RECORD = build_record(VERSION, [PACKAGE])
PUBLIC = f"debian/pool/main/h/hhvm/hhvm_{VERSION}_amd64.buildinfo"


def build(bench: Bench, record: SourceFile = RECORD) -> PublishPlan:
    """Version 1.0.0 for bookworm, whose build left a .buildinfo."""
    plan = bench.build("1.0.0")
    plan = plan.model_copy(update={"distros": (plan.distro(BOOKWORM),)})
    manifest = PackageManifest.read(bench.store, plan.release, BOOKWORM)
    assert manifest
    bench.store.scratch.put(keys.output(manifest.directory, record.name), record.content)
    etag = PackageManifest.etag(bench.store, plan.release, BOOKWORM)
    artifacts = (*manifest.artifacts, record.artifact)
    manifest.model_copy(update={"artifacts": artifacts}).write(bench.store, plan.release, etag=etag)
    return plan


def test_it_is_published_beside_the_packages_with_its_digest_in_the_listing(bench: Bench) -> None:
    plan = build(bench)
    bench.update(plan)
    assert bench.store.downloads.get(PUBLIC) == RECORD.content
    assert pages.list_changed(plan, bench.store, bench.settings)[PUBLIC] == RECORD.artifact


def test_the_candidate_says_that_it_will_be_public(bench: Bench) -> None:
    candidate = bench.propose(build(bench))[BOOKWORM]
    assert PUBLIC.removeprefix("debian/") in candidate.difference


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (build_record(VERSION, [Deb(VERSION, extra="X-Other: yes\n")]), f"it says of {PACKAGE.name} SHA-256"),
        (build_record(VERSION, [Deb(VERSION, "elsewhere")]), "it describes none of the packages"),
        (build_record(VERSION, []), "is no .buildinfo"),
    ],
    ids=["other bytes", "other packages", "nothing"],
)
def test_one_that_does_not_describe_the_packages_stops_them_by_its_name(
    bench: Bench, record: SourceFile, said: str
) -> None:
    plan = build(bench, record)
    with pytest.raises(NoCandidate):
        bench.propose(plan)
    candidate = Candidate.read(bench.store, plan.release, BOOKWORM)
    assert candidate
    fault = str(candidate.fault)
    assert RECORD.name in fault
    assert said in fault


def test_one_of_long_ago_that_was_never_published_is_no_obstacle(bench: Bench) -> None:
    plan = build(bench)
    manifest = PackageManifest.read(bench.store, plan.release, BOOKWORM)
    assert manifest
    bench.store.scratch.delete(keys.output(manifest.directory, RECORD.name))
    bench.update(plan)
    assert bench.offered("bookworm") == [VERSION]
    assert PUBLIC not in bench.public()
