"""A version that is held does not become public, whoever tries, and however."""

from __future__ import annotations

import datetime
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from hhvm_packaging.apt import undo
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import hold_records, target_suites
from hhvm_packaging.planning.hold_records import Answer, Asker, Held, Hold, Holds, Person
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.planning.request import Request
from hhvm_packaging.publishing import candidates, holds
from hhvm_packaging.publishing.steps import PublishReleaseSource
from hhvm_packaging.store import keys
from testing.built import BOOKWORM, TRIXIE, Bench, bench

if TYPE_CHECKING:
    from collections.abc import Callable

    from hhvm_packaging.planning.plans import PublishPlan

__all__ = ["bench"]

NOW = datetime.datetime.now(datetime.UTC)
RUN = Asker(dag_id="hhvm_build_and_publish", run_id="a-run", by="anna", at=NOW)
TERMS: list[dict[str, Any]] = [
    {"hold_until": NOW + datetime.timedelta(days=7)},
    {"require_approval": True},
]


def request(version: str = "1.0.1", **terms: Any) -> Request:
    return Request(version=version, distros=(BOOKWORM, TRIXIE), today=NOW.date(), **terms)


def built(bench: Bench, version: str = "1.0.1", extra: str = "") -> PublishPlan:
    plan = bench.build(version, extra)
    bench.sign_source(plan)
    return plan


def hold(bench: Bench, version: str = "1.0.1", **terms: Any) -> None:
    holds.ask_for_holds([request(version, **terms)], RUN, bench.store)


def approve(bench: Bench, version: str = "1.0.1", by: str = "ben") -> None:
    """All of an approval, as Airflow does it."""
    asked = [request(version, require_approval=True)]
    holds.ask_for_holds(asked, RUN, bench.store)
    found = holds.find_ready(asked, bench.store, bench.settings)
    question = holds.ask(asked, found, RUN, bench.store, bench.settings)[-1]
    who = Person(id=by, name=by)
    holds.record_answer(question, who, NOW, bench.store, bench.settings, approved=True)


def records(bench: Bench, directory: str) -> list[str]:
    return list(bench.store.scratch.keys(directory))


# Whoever asks


def make_candidate(bench: Bench, plan: PublishPlan) -> None:
    """hhvm_publish_release, triggered directly."""
    candidates.make_all(plan, bench.store, bench.signer, bench.settings)


def release_again(bench: Bench, plan: PublishPlan) -> None:
    """Its other action that publishes."""
    again = plan.model_copy(update={"action": "release again"})
    candidates.make_all(again, bench.store, bench.signer, bench.settings)


def dry_run(bench: Bench, plan: PublishPlan) -> None:
    """Not even where no user sees it."""
    candidates.make_all(plan.model_copy(update={"dry_run": True}), bench.store, bench.signer, bench.settings)


def publish_source(bench: Bench, plan: PublishPlan) -> None:
    """The tarball, the tag and the branch."""
    PublishReleaseSource(plan, bench.store, bench.settings).job(AttemptId.new())


def run_the_wrapper_without_terms(bench: Bench, plan: PublishPlan) -> None:
    """A second run, or the first one after its XCom was edited."""
    asked = request(plan.version)
    holds.ensure_publishable(asked, [asked], now=NOW, store=bench.store, settings=bench.settings)


WAYS = (make_candidate, release_again, dry_run, publish_source, run_the_wrapper_without_terms)


@pytest.mark.parametrize("terms", TERMS, ids=["until", "approval"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_is_held_is_refused_whichever_way_it_is_tried(
    bench: Bench, way: Callable[[Bench, PublishPlan], None], terms: dict[str, Any]
) -> None:
    plan, before = built(bench), bench.public()
    hold(bench, **terms)
    with pytest.raises(PackagingError, match=r"HHVM 1\.0\.1 is (held until|not approved)"):
        way(bench, plan)
    assert bench.public() == before


@pytest.mark.parametrize("terms", TERMS, ids=["until", "approval"])
def test_a_candidate_from_before_the_hold_is_not_exposed(bench: Bench, terms: dict[str, Any]) -> None:
    plan, before = built(bench), bench.public()
    for candidate in bench.propose(plan).values():
        candidate.accept(bench.store)
    hold(bench, **terms)
    with pytest.raises(Held):
        bench.expose(plan)
    assert bench.public() == before


def test_what_was_built_again_after_the_approval_is_not_exposed(bench: Bench) -> None:
    """The child run, cleared after another build."""
    approve_first = built(bench)
    approve(bench)
    bench.update(approve_first)
    bench.update(approve_first.model_copy(update={"action": "undo"}))
    rebuilt, before = built(bench, extra="Section: other\n"), bench.public()
    with pytest.raises(candidates.NoCandidate, match=r"HHVM 1\.0\.1 is not what ben approved"):
        make_candidate(bench, rebuilt.model_copy(update={"action": "release again"}))
    assert bench.public() == before


def test_what_is_approved_becomes_public(bench: Bench) -> None:
    plan = built(bench)
    hold(bench, require_approval=True)
    approve(bench)
    assert bench.update(plan) == [BOOKWORM, TRIXIE]
    assert bench.offered("bookworm") == ["1.0.1-1~bookworm"]


def test_a_manifest_that_is_rewritten_between_candidate_and_commit_is_refused(bench: Bench) -> None:
    plan = built(bench)
    approve(bench)
    for candidate in bench.propose(plan).values():
        candidate.accept(bench.store)
    before = bench.public()
    built(bench, extra="Section: other\n")
    with pytest.raises(PackagingError):
        bench.expose(plan)
    assert bench.public() == before


@pytest.mark.parametrize("terms", TERMS, ids=["until", "approval"])
def test_an_undo_offers_no_version_that_is_held(bench: Bench, terms: dict[str, Any]) -> None:
    """bin/apt-suite undo."""
    bench.update(built(bench, "1.0.0"))
    bench.update(built(bench))
    suite = target_suites.named_suite(bench.store, "debian", "bookworm", bench.settings)
    had_both = bench.snapshots("bookworm")[0]
    undo.undo(suite, bench.snapshots("bookworm")[1], bench.signer)
    undo.reinstate(suite, "1.0.1-1~bookworm", bench.signer)
    hold(bench, **terms)
    with pytest.raises(Held):
        undo.undo(suite, had_both, bench.signer)
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm"]


def test_a_hold_in_another_spelling_holds_the_release(bench: Bench) -> None:
    plan = built(bench, "26.09.29")
    hold(bench, "26.9.29", require_approval=True)
    with pytest.raises(candidates.NoCandidate, match="is not approved"):
        make_candidate(bench, plan)


# Records


def test_asking_again_for_less_ends_no_hold(bench: Bench) -> None:
    plan = built(bench)
    hold(bench, **TERMS[0], **TERMS[1])
    hold(bench)
    hold(bench, hold_until=NOW - datetime.timedelta(days=7))
    approve(bench)
    with pytest.raises(candidates.NoCandidate, match="is held until"):
        make_candidate(bench, plan)


@pytest.mark.parametrize("weaker", [{"needs_approval": False}, {"version": "9.9.9"}])
def test_a_hold_that_is_rewritten_holds_all_the_same(bench: Bench, weaker: dict[str, Any]) -> None:
    plan = built(bench)
    hold(bench, require_approval=True)
    [key] = records(bench, "holds/")
    kept = bench.store.scratch.get_json(key)
    assert kept
    bench.store.scratch.put_json(key, kept | weaker)
    with pytest.raises(candidates.NoCandidate, match=f"s3://{bench.store.scratch.name}/{key} is damaged"):
        make_candidate(bench, plan)


def test_an_approval_that_is_rewritten_for_other_builds_approves_nothing(bench: Bench) -> None:
    built(bench)
    approve(bench)
    [key] = records(bench, "approvals/")
    approved = bench.store.scratch.get_json(key)
    assert approved
    plan = built(bench, extra="Section: other\n")
    manifest = PackageManifest.read(bench.store, plan.release, BOOKWORM)
    assert manifest
    files = {artifact.name: artifact.sha256 for artifact in manifest.packages}
    approved["asked"]["packages"][BOOKWORM]["files"] = files
    bench.store.scratch.put_json(key, approved)
    with pytest.raises(candidates.NoCandidate, match=f"{key} is damaged"):
        make_candidate(bench, plan)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"null", b"[1]", b"\xff", b'{"version": "1.0.1"}', b"{" * 100_000]
)
@pytest.mark.parametrize("kind", ["holds", "approvals"])
def test_a_damaged_record_holds_its_version_and_no_other(bench: Bench, kind: str, content: bytes) -> None:
    plan, other = built(bench), built(bench, "1.0.2")
    hold(bench, require_approval=True)
    approve(bench)
    bench.store.scratch.put(f"{kind}/1.0.1/{'0' * 64}.json", content)
    with pytest.raises(candidates.NoCandidate, match=f"{kind}/1.0.1/{'0' * 64}.json is damaged"):
        make_candidate(bench, plan)
    make_candidate(bench, other)


def test_an_approval_in_the_form_of_before_approves_nothing(bench: Bench) -> None:
    plan = built(bench)
    hold(bench, require_approval=True)
    manifests = {distro: PackageManifest.read(bench.store, plan.release, distro) for distro in plan.asked}
    packages = {
        distro: {"version": manifest.package_version, "build": manifest.directory}
        for distro, manifest in manifests.items()
        if manifest
    }
    source = bench.sign_source(plan).tarball.sha256
    forged = {"version": "1.0.1", "run": "x, y", "by": "ben", "at": f"{NOW}", "source": source}
    bench.store.scratch.put_json(
        "approvals/1.0.1/hhvm_build_and_publish/a-run.json", forged | {"packages": packages}
    )
    with pytest.raises(candidates.NoCandidate, match="is not approved"):
        make_candidate(bench, plan)


def test_an_approval_by_somebody_who_may_not_approve_counts_for_nothing(bench: Bench) -> None:
    plan = built(bench)
    approve(bench, by="mallory")
    bench.settings = bench.settings.model_copy(update={"approvers": ["ben"]})
    with pytest.raises(candidates.NoCandidate, match="is not approved"):
        make_candidate(bench, plan)


def test_a_record_is_created_and_not_rewritten(bench: Bench) -> None:
    scratch = bench.store.scratch
    assert scratch.create("a-key", b"first", "text/plain")
    assert not scratch.create("a-key", b"second", "text/plain")
    assert scratch.get("a-key") == b"first"


def test_every_record_is_named_by_its_content(bench: Bench) -> None:
    built(bench)
    approve(bench)
    for directory, kind in (("holds/", Hold), ("approvals/", Answer)):
        [key] = records(bench, directory)
        content = bench.store.scratch.get(key)
        assert content
        name = keys.parse(keys.Scratch, key)
        assert name
        assert kind.model_validate_json(content).name == name.fields["sha256"]


def test_all_that_is_held_is_found_in_the_store_alone(bench: Bench) -> None:
    """Airflow's database may be lost, and what it holds may be edited."""
    built(bench)
    hold(bench, **TERMS[0], **TERMS[1])
    found = Holds.read(bench.store, "1.0.1", bench.settings)
    assert found.until == TERMS[0]["hold_until"]
    assert [held.asker for held in found.needing_approval.values()] == [RUN]
    assert json.loads(bench.store.scratch.get(records(bench, "holds/")[0]) or b"")["asker"]["by"] == "anna"


# Lifting


def lift(bench: Bench, by: str = "carl", run_id: str = "lifting") -> tuple[str, ...]:
    asker = Asker(dag_id="hhvm_publish_release", run_id=run_id, by=by, at=NOW)
    return hold_records.lift("1.0.1", asker, "the fix is public elsewhere", bench.store, bench.settings)


def test_who_lifts_holds_says_why_and_is_in_the_report(bench: Bench) -> None:
    plan = built(bench)
    hold(bench, **TERMS[0], **TERMS[1])
    [said] = lift(bench)
    assert said.startswith("HHVM 1.0.1: carl lifted what until ")
    bench.update(plan)
    report = bench.report(plan)
    assert "asked for in hhvm_build_and_publish, a-run, which anna triggered" in report
    assert "lifted 1 holds by hhvm_publish_release, lifting, which carl triggered" in report
    assert "the fix is public elsewhere" in report


def test_the_report_says_who_approved_what(bench: Bench) -> None:
    plan = built(bench)
    approve(bench)
    bench.update(plan)
    assert re.search(
        r"yes    by ben at .* UTC, asked in hhvm_build_and_publish, a-run: its source and 2 files for "
        r"debian-12-bookworm, debian-13-trixie",
        bench.report(plan),
    )


def test_a_run_that_lifted_holds_does_not_lift_later_ones_when_it_is_resumed(bench: Bench) -> None:
    plan = built(bench)
    hold(bench, require_approval=True)
    assert lift(bench)
    hold(bench, hold_until=NOW + datetime.timedelta(days=7))
    assert lift(bench) == ()
    with pytest.raises(candidates.NoCandidate, match="is held until"):
        make_candidate(bench, plan)


@pytest.mark.parametrize(
    ("settings", "by"),
    [({"approvers": ["ben"]}, "carl"), ({"approvers": ["ben"]}, ""), ({"approve_own": False}, "anna")],
)
def test_who_may_not_approve_cannot_lift_what_needs_an_approval(
    bench: Bench, settings: dict[str, Any], by: str
) -> None:
    plan = built(bench)
    hold(bench, require_approval=True)
    bench.settings = bench.settings.model_copy(update=settings)
    with pytest.raises(Held, match=r"the holds of HHVM 1\.0\.1 are not lifted: "):
        lift(bench, by)
    with pytest.raises(candidates.NoCandidate, match="is not approved"):
        make_candidate(bench, plan)
