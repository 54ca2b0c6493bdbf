"""One stray or malformed object stops only what needs it, and is named."""

from __future__ import annotations

import pytest

from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.publishing import pages
from hhvm_packaging.publishing.candidates import Candidate
from hhvm_packaging.publishing.exposure import Held
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import DamagedObject
from hhvm_packaging.upkeep.pruning import NotPruned, Pruning
from testing.built import BOOKWORM, TRIXIE, Bench

DAMAGE = [b"", b"{", b"[]", b"null", b'"text"', b'{"version": 1}', b"\xff\xfe", b"{}"]


@pytest.mark.parametrize("content", DAMAGE)
def test_a_malformed_manifest_is_named_and_the_other_distribution_has_its_candidate(
    bench: Bench, content: bytes
) -> None:
    plan = bench.build("1.0.0")
    key = keys.manifest(plan.release, BOOKWORM)
    bench.store.scratch.put(key, content)
    with pytest.raises(DamagedObject, match=f"s3://{bench.store.scratch.name}/{key} is damaged"):
        PackageManifest.read(bench.store, plan.release, BOOKWORM)
    found = bench.propose(plan)
    assert key in (found[BOOKWORM].fault or "")
    assert found[TRIXIE].fault is None


@pytest.mark.parametrize("content", DAMAGE)
def test_a_malformed_plan_is_named(bench: Bench, content: bytes) -> None:
    release = bench.build("1.0.0").release
    bench.store.scratch.put(keys.plan(release), content)
    with pytest.raises(
        DamagedObject, match=f"s3://{bench.store.scratch.name}/{keys.plan(release)} is damaged"
    ):
        BuildPlan.read(bench.store, release)


def test_a_malformed_candidate_holds_only_its_distribution(bench: Bench) -> None:
    plan = bench.build("1.0.0").model_copy(update={"hold_all": False})
    for candidate in bench.propose(plan).values():
        candidate.accept(bench.store)
    bench.store.scratch.put(keys.candidate(plan.release, BOOKWORM), b"{")
    assert bench.expose(plan) == [TRIXIE]
    with pytest.raises(DamagedObject):
        Candidate.read(bench.store, plan.release, BOOKWORM)
    with pytest.raises(Held):
        bench.expose(plan.model_copy(update={"hold_all": True}))


@pytest.mark.parametrize("content", [b"", b"no Release", b"\xff\xfe"])
def test_a_stray_suite_keeps_no_other_from_being_published_pruned_and_listed(
    bench: Bench, content: bytes
) -> None:
    bench.store.downloads.put("debian/dists/x/InRelease", content)
    bench.update(bench.build("1.0.0"))
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm"]
    pruning = Pruning(bench.store, bench.settings, dry_run=False)
    with pytest.raises(NotPruned, match="debian x"):
        pruning.age_out(bench.signer)
    assert "debian x" in "\n".join(pruning.delete_files())
    written = pages.rebuild_pages(bench.store, bench.settings).written
    assert "debian/dists/bookworm/index.html" in written
