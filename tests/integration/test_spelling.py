"""One release has one spelling, that of its tag: with real git and S3."""

from __future__ import annotations

import inspect
import subprocess
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from hhvm_packaging.orchestration import connections
from hhvm_packaging.planning import plans, spelling
from hhvm_packaging.planning.request import UNDO, Refused
from hhvm_packaging.planning.source_tarball import SourceError, find_tagged
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.release import Release
from hhvm_packaging.settings import settings
from hhvm_packaging.store import keys
from tests.integration.test_resuming import ROOT, Bench, bench

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["bench"]

PADDED, PLAIN = Release("26.09.29", nightly=False), Release("26.9.29", nightly=False)


def tag(bench: Bench, version: str) -> None:
    """Tag a release on staging, on the branch of its series."""
    directory = bench.settings.staging_repository.rpartition("/")[0]
    subprocess.run([ROOT / "demo/make-git-repositories", directory, version], check=True)


def git(bench: Bench, *arguments: str) -> None:
    subprocess.run(["git", "-C", bench.settings.staging_repository, *arguments], check=True)


@pytest.mark.parametrize(("tagged", "typed"), [(PADDED, PLAIN), (PLAIN, PADDED)])
def test_a_second_spelling_is_built_as_the_release_that_the_tag_names(
    bench: Bench, tagged: Release, typed: Release
) -> None:
    tag(bench, tagged.version)
    plan = bench.plan(typed)
    assert plan.release == tagged
    bench.make_source(plan)
    bench.sign(plan)
    bench.make_packages(plan)
    assert not [key for key in bench.store.scratch.keys("") if typed.version in key]
    assert plans.plan_publish(bench.request(typed), bench.store, bench.settings).release == tagged


def test_the_wrappers_know_the_spelling_before_anything_is_built(bench: Bench) -> None:
    tag(bench, PADDED.version)
    settled = spelling.settle(bench.request(PLAIN), bench.store, bench.settings, ask_tags=True)
    assert settled == bench.request(PADDED)


@pytest.mark.parametrize(
    ("wrapper", "asked", "planned"),
    [
        ("hhvm_build_and_publish", {"version": "26.9.29"}, ["26.09.29"]),
        ("hhvm_build_and_publish_multi", {"versions": ["1.0.0", "26.9.29"]}, ["1.0.0", "26.09.29"]),
    ],
)
def test_a_wrapper_plans_the_release_in_the_spelling_of_its_tag(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, wrapper: str, asked: dict[str, Any], planned: list[str]
) -> None:
    tag(bench, PADDED.version)
    monkeypatch.setenv("HHVM_PACKAGING_STAGING_REPOSITORY", bench.settings.staging_repository)
    settings.cache_clear()
    bag = DagBag(ROOT / f"dags/{wrapper}.py", bundle_path=ROOT / "dags", bundle_name="dags-folder")
    dag = bag.dags[wrapper]
    time = datetime(2026, 11, 24, tzinfo=UTC)
    run = SimpleNamespace(dag_id=wrapper, run_id="spelled", conf=asked, run_after=time, logical_date=time)
    context = {"dag": dag, "dag_run": run, "run_id": run.run_id, "params": dag.params.dump() | asked}
    plan: Any = dag.get_task(WrapperTask.PLAN)
    monkeypatch.setattr(connections, "store", lambda: bench.store)
    monkeypatch.setitem(
        inspect.unwrap(plan.python_callable).__globals__, "get_current_context", lambda: context
    )
    found = plan.python_callable()
    settings.cache_clear()
    assert [one["version"] for one in (found if isinstance(found, list) else [found])] == planned


def test_what_the_store_knows_is_found_although_staging_is_away(bench: Bench) -> None:
    tag(bench, PADDED.version)
    bench.plan(PADDED)
    away = bench.settings.model_copy(update={"staging_repository": "/nowhere"})
    assert spelling.settle(bench.request(PLAIN), bench.store, away, ask_tags=True).release == PADDED
    with pytest.raises(SourceError, match=r"git ls-remote -- /nowhere .*: fatal: "):
        spelling.settle(bench.request(Release("26.9.30", nightly=False)), bench.store, away, ask_tags=True)


@pytest.mark.parametrize(
    "left", ["source/hhvm-26.09.29.tar.gz", "ubuntu/pool/main/h/hhvm/hhvm_26.09.29-2~noble_amd64.deb"]
)
def test_a_release_of_which_only_what_is_public_is_left_keeps_its_spelling(bench: Bench, left: str) -> None:
    bench.store.downloads.put(left, b"made by another system")
    assert spelling.settle(bench.request(PLAIN), bench.store, bench.settings).release == PADDED


def test_what_nobody_knows_stays_as_it_was_typed_and_is_refused_by_its_tag(bench: Bench) -> None:
    assert spelling.settle(bench.request(PLAIN), bench.store, bench.settings, ask_tags=True).release == PLAIN
    with pytest.raises(SourceError, match=r"^HHVM-26\.9\.29 is not tagged in .*\. Tag it there"):
        bench.plan(PLAIN)


def test_a_tag_that_was_renamed_after_a_build_is_refused_with_both_spellings(bench: Bench) -> None:
    tag(bench, PLAIN.version)
    bench.plan(PLAIN)
    git(bench, "tag", "HHVM-26.09.29", "HHVM-26.9.29")
    git(bench, "tag", "--delete", "HHVM-26.9.29")
    with pytest.raises(SourceError, match=r"^HHVM-26\.9\.29 is not tagged in .*, but HHVM-26\.09\.29 is"):
        bench.plan(PADDED)


def test_two_tags_of_one_release_are_refused_with_both(bench: Bench) -> None:
    tag(bench, PADDED.version)
    git(bench, "tag", "HHVM-26.9.29", "HHVM-26.09.29")
    with pytest.raises(SourceError, match=r"^HHVM-26\.9\.29 and HHVM-26\.09\.29 in .* are tags of one"):
        bench.plan(PLAIN)


@pytest.mark.parametrize("series", ["its branch", "a tag"])
def test_a_tag_that_is_spelled_otherwise_than_its_series_is_refused(bench: Bench, series: str) -> None:
    tag(bench, "26.09.28")
    git(bench, "tag", "HHVM-26.9.29", "HHVM-26.09.28")
    if series == "its branch":
        git(bench, "tag", "--delete", "HHVM-26.09.28")
    else:
        git(bench, "branch", "-D", "HHVM-26.09")
    with pytest.raises(SourceError, match=r"than its series, HHVM-26\.09\. Tag HHVM-26\.09\.29 instead"):
        bench.plan(PADDED)
    git(bench, "branch", "HHVM-26.9", "HHVM-26.9.29")
    assert bench.plan(PADDED).release == PLAIN


def test_the_packaging_branch_of_a_series_may_be_spelled_either_way(bench: Bench) -> None:
    root = bench.settings.packaging_root
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", "init", "--quiet", "--initial-branch=HHVM-26.9", root], check=True)
    subprocess.run(["git", "-C", root, "add", "."], check=True)
    subprocess.run(["git", "-C", root, *who, "commit", "--quiet", "-m", "Packaging"], check=True)
    tag(bench, PADDED.version)
    assert bench.plan(PLAIN).packaging_ref == "refs/heads/HHVM-26.9"


def test_a_store_with_both_spellings_refuses_all_but_the_undo_of_either(bench: Bench) -> None:
    for release in (PADDED, PLAIN):
        bench.store.scratch.put(keys.plan(release), b"{}")
    with pytest.raises(Refused, match=r"^version: .* have one release as 26\.9\.29 and as 26\.09\.29"):
        spelling.settle(bench.request(PLAIN), bench.store, bench.settings)
    undo = bench.request(PADDED).model_copy(update={"action": UNDO})
    assert spelling.settle(undo, bench.store, bench.settings) == undo


def test_a_nightly_has_one_spelling_and_nobody_is_asked(bench: Bench) -> None:
    away = bench.settings.model_copy(update={"scratch_bucket": "none", "staging_repository": "/nowhere"})
    request = bench.request(Release("2026.09.08", nightly=True))
    assert spelling.settle(request, bench.store, away, ask_tags=True) is request


def test_the_demo_tags_a_release_once_however_it_is_spelled(tmp_path: Path) -> None:
    for version in ("26.09.29", "26.9.29"):
        subprocess.run([ROOT / "demo/make-git-repositories", tmp_path, version], check=True)
    found = find_tagged(PLAIN, str(tmp_path / "hhvm-staging.git"))
    assert found == [PADDED]
