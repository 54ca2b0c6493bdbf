"""Which revision of distros/ and bin/ a run uses, with a real git repository."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from hhvm_packaging.distros import InvalidTargets
from hhvm_packaging.planning import plans
from hhvm_packaging.planning.packaging_files import WORKTREE, UnknownRef
from hhvm_packaging.planning.request import Refused
from hhvm_packaging.publishing.holds import Ready
from hhvm_packaging.settings import PACKAGING_REFS
from hhvm_packaging.workers import packaging_archive
from tests.integration.test_resuming import BOOKWORM, NIGHTLY, RELEASE, TRIXIE, Bench, bench
from tests.unit.test_packaging_files import git

if TYPE_CHECKING:
    from pathlib import Path

    from hhvm_packaging.planning.plans import BuildPlan, Plan

__all__ = ["bench"]

BOTH = (BOOKWORM, TRIXIE)
MAIN = "main"
BRANCH = "HHVM-1.0"


@pytest.fixture
def root(bench: Bench) -> Path:
    """The bench's packaging files in git: on the branch main, as they are here."""
    root = bench.settings.packaging_root
    allowed = [*PACKAGING_REFS, "refs/heads/topic", "refs/heads/pages"]
    bench.settings = bench.settings.model_copy(update={"packaging_refs": allowed})
    git(root, "init", "--quiet", f"--initial-branch={MAIN}")
    commit(root, "All")
    return root


def commit(root: Path, message: str) -> str:
    """The name of a commit of all that is there now."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
    return git(root, "rev-parse", "HEAD")


def branch(root: Path, name: str = BRANCH, *, pkgver: str = "7~bookworm", without: str | None = None) -> str:
    """The head of a new branch, which has another PKGVER and maybe lacks a distribution."""
    git(root, "checkout", "--quiet", "-b", name)
    (root / "distros" / BOOKWORM / "PKGVER").write_text(f"{pkgver}\n")
    if without:
        shutil.rmtree(root / "distros" / without)
    head = commit(root, name)
    git(root, "checkout", "--quiet", MAIN)
    return head


def unpacked(bench: Bench, plan: Plan, directory: Path) -> Path:
    """What the plan's workers get."""
    packaging_archive.unpack(bench.store, plan.packaging, directory)
    return directory


def test_the_same_files_make_the_same_archive_committed_or_not(bench: Bench, root: Path) -> None:
    # Git records no more of a file's mode than whether it is executable.
    (root / "bin/make-source-tarball").chmod(0o700)
    worktree = bench.plan()
    git(root, "branch", BRANCH)
    committed = bench.plan()
    assert (worktree.packaging_ref, committed.packaging_ref) == (WORKTREE, f"refs/heads/{BRANCH}")
    assert worktree.packaging == committed.packaging
    assert worktree.distros == committed.distros


def test_a_release_uses_its_own_branch(bench: Bench, root: Path, tmp_path: Path) -> None:
    head = branch(root)
    (root / "jobs/run").write_text("the jobs of the code that calls them")
    plan = bench.plan()
    assert (plan.packaging_ref, plan.packaging_revision) == (f"refs/heads/{BRANCH}", head)
    assert plan.distro(BOOKWORM).pkgver == "7~bookworm"
    files = unpacked(bench, plan, tmp_path / "unpacked")
    assert (files / "distros" / BOOKWORM / "PKGVER").read_text() == "7~bookworm\n"
    assert (files / "distros" / BOOKWORM / "make-package").is_symlink()
    assert (files / "jobs/run").read_text() == "the jobs of the code that calls them"


def test_a_release_without_a_branch_and_a_nightly_use_the_checkout_with_its_edits(
    bench: Bench, root: Path
) -> None:
    branch(root, "HHVM-2.0")
    branch(root, "HHVM-2026.11")
    bench.edit(f"distros/{BOOKWORM}/PKGVER", "5~bookworm\n")
    for release in (RELEASE, NIGHTLY):
        plan = bench.plan(release)
        assert plan.packaging_ref == WORKTREE
        assert plan.packaging_revision == f"{git(root, 'rev-parse', 'HEAD')}-dirty"
        assert plan.distro(BOOKWORM).pkgver == "5~bookworm"


def test_what_the_form_says_comes_before_the_releases_branch(bench: Bench, root: Path) -> None:
    branch(root)
    other = branch(root, "topic", pkgver="8~bookworm")
    for release in (RELEASE, NIGHTLY):
        plan = bench.plan(release, packaging_ref="topic")
        assert (plan.packaging_revision, plan.distro(BOOKWORM).pkgver) == (other, "8~bookworm")


def test_an_unknown_ref_is_refused_and_nothing_is_planned(bench: Bench, root: Path) -> None:
    with pytest.raises(UnknownRef, match=r"^packaging_ref: .* 'no-such-branch'"):
        bench.plan(packaging_ref="no-such-branch")
    assert list(bench.store.scratch.keys()) == []


def test_a_revision_of_something_else_is_refused(bench: Bench, root: Path) -> None:
    git(root, "checkout", "--quiet", "--orphan", "pages")
    git(root, "rm", "--quiet", "--cached", "-r", "distros")
    git(root, "commit", "--quiet", "--message", "No distributions")
    with pytest.raises(
        UnknownRef, match=r"^packaging_ref: refs/heads/pages \([0-9a-f]{40}\) has no directory"
    ):
        bench.plan(packaging_ref="pages")


def test_all_distributions_are_all_that_an_older_branch_has(bench: Bench, root: Path) -> None:
    branch(root, without=TRIXIE)
    plan = bench.plan(RELEASE, *BOTH)
    assert plan.asked == plan.current == (BOOKWORM,)
    assert plans.expand_distros(bench.request(RELEASE, *BOTH), plan.current, bench.settings) == (BOOKWORM,)
    assert plans.expand_distros(bench.request(RELEASE, TRIXIE), plan.current, bench.settings) == (TRIXIE,)


def test_all_distributions_are_also_those_that_only_the_branch_has(bench: Bench, root: Path) -> None:
    git(root, "branch", BRANCH)
    shutil.rmtree(root / "distros" / TRIXIE)
    assert bench.plan(RELEASE, BOOKWORM).asked == BOTH
    assert [distro.name for distro in bench.plan(NIGHTLY, BOOKWORM).distros] == [BOOKWORM]


def test_a_distribution_that_the_revision_lacks_is_a_fault_if_it_is_asked_for(
    bench: Bench, root: Path
) -> None:
    head = branch(root, without=TRIXIE)
    plan = bench.plan(RELEASE, TRIXIE)
    assert plan.distros == ()
    assert plan.faults[TRIXIE].startswith(
        f"distros/{TRIXIE}: there is no such directory. There are: {BOOKWORM}"
    )
    assert plan.faults[TRIXIE].endswith(f"(packaging revision {head}, refs/heads/{BRANCH})")


def test_a_fault_in_the_revision_keeps_only_that_distribution_back(bench: Bench, root: Path) -> None:
    branch(root, pkgver="1~buster")
    plan = bench.plan(RELEASE, *BOTH)
    assert [distro.name for distro in plan.distros] == [TRIXIE]
    assert "DISTRIBUTION says; it says 1~buster" in plan.faults[BOOKWORM]


def test_a_plan_keeps_its_revision_when_the_branch_moves_and_the_next_plan_does_not(
    bench: Bench, root: Path, tmp_path: Path
) -> None:
    first = branch(root)
    plan = bench.plan()
    git(root, "checkout", "--quiet", BRANCH)
    bench.edit(f"distros/{BOOKWORM}/PKGVER", "9~bookworm\n")
    second = commit(root, "Moved")
    files = unpacked(bench, plan, tmp_path / "unpacked")
    assert (plan.packaging_revision, (files / "distros" / BOOKWORM / "PKGVER").read_text()) == (
        first,
        "7~bookworm\n",
    )
    anew = bench.plan()
    assert (anew.packaging_revision, anew.distro(BOOKWORM).pkgver) == (second, "9~bookworm")


@pytest.fixture
def built(bench: Bench, root: Path) -> BuildPlan:
    """The plan that 1.0.0 was built by for bookworm, from its own branch, which then moved."""
    branch(root)
    plan = bench.plan()
    bench.make_source(plan)
    bench.sign(plan)
    bench.make_packages(plan)
    git(root, "branch", "--force", BRANCH, MAIN)
    return plan


def test_a_version_is_published_with_the_revision_that_it_was_built_by(
    bench: Bench, built: BuildPlan, tmp_path: Path
) -> None:
    bench.edit("jobs/run", "the jobs of the code that calls them")
    plan = plans.plan_publish(bench.request(), bench.store, bench.settings)
    assert (plan.packaging_revision, plan.packaging_ref) == (built.packaging_revision, built.packaging_ref)
    assert plan.distros == built.distros
    files = unpacked(bench, plan, tmp_path / "unpacked")
    assert (files / "distros" / BOOKWORM / "PKGVER").read_text() == "7~bookworm\n"
    assert (files / "jobs/run").read_text() == "the jobs of the code that calls them"


def test_a_version_is_published_with_another_revision_if_that_is_asked_for(
    bench: Bench, built: BuildPlan
) -> None:
    request = bench.request().model_copy(update={"packaging_ref": MAIN})
    assert plans.plan_publish(request, bench.store, bench.settings).packaging_ref == f"refs/heads/{MAIN}"


def build(bench: Bench, run_id: str, *distros: str, **more: Any) -> BuildPlan:
    """Build a release for these distributions in a run of that id."""
    asked = bench.request(RELEASE, *distros).model_copy(update=more)
    plan = plans.plan_build(asked, bench.store, bench.settings, run_id)
    bench.make_source(plan)
    bench.sign(plan)
    for distro in plan.distros:
        bench.make_packages(plan, distro=distro.name)
    return plan


def test_a_run_publishes_what_it_built_whatever_another_run_has_built_since(bench: Bench, root: Path) -> None:
    branch(root, "topic", pkgver="8~bookworm")
    own = build(bench, "a-run", BOOKWORM, packaging_ref="topic")
    build(bench, "another-run", *BOTH)
    for ref in ("topic", None):
        asked = bench.request(RELEASE, BOOKWORM).model_copy(update={"packaging_ref": ref})
        plan = plans.plan_publish(asked, bench.store, bench.settings, "a-run")
        assert (plan.packaging_revision, plan.distros) == (own.packaging_revision, own.distros)
    other = plans.plan_publish(bench.request(RELEASE, BOOKWORM), bench.store, bench.settings, "a-third-run")
    assert other.packaging_ref == WORKTREE


def test_a_distribution_that_is_added_while_a_run_builds_is_not_asked_of_its_publish(
    bench: Bench, root: Path
) -> None:
    """Its list was the form's default, which the branch has otherwise."""
    branch(root, without=TRIXIE)
    own = build(bench, "a-run", *BOTH)
    assert own.asked == (BOOKWORM,)
    shutil.copytree(root / "distros" / TRIXIE, root / "distros/debian-14-forky", symlinks=True)
    more = [*BOTH, "debian-14-forky"]
    settings = bench.settings.model_copy(update={"current_targets": more})
    asked = bench.request(RELEASE, *BOTH)
    assert plans.propose_distros(settings) == more
    assert plans.plan_publish(asked, bench.store, settings, "a-run").asked == (BOOKWORM,)
    named = asked.model_copy(update={"build_run": "a-run"})
    assert list(Ready.find(named, bench.store, settings).packages) == [BOOKWORM]
    assert Ready.find(named, bench.store, settings).missing == ()


def test_a_publish_of_some_of_what_was_built_is_of_those(bench: Bench, root: Path) -> None:
    build(bench, "a-run", *BOTH)
    plan = plans.plan_publish(bench.request(RELEASE, TRIXIE), bench.store, bench.settings, "a-run")
    assert plan.asked == (TRIXIE,)


def test_what_a_plan_means_otherwise_than_the_last_one_is_named(bench: Bench, root: Path) -> None:
    before = build(bench, "a-run", BOOKWORM)
    assert plans.describe_changes(before, build(bench, "a-run", BOOKWORM)) == []
    bench.edit(f"distros/{BOOKWORM}/PKGVER", "5~bookworm\n")
    lines = plans.describe_changes(before, bench.plan(RELEASE, *BOTH))
    head = git(root, "rev-parse", "HEAD")
    assert lines == [
        f"{TRIXIE}: was not part of the last plan",
        f"{BOOKWORM}: its packaging files have changed",
        f"the packaging revision was {head}, and is {head}-dirty now",
    ]
    assert plans.describe_changes(bench.plan(RELEASE, *BOTH), bench.plan(RELEASE, TRIXIE)) == [
        f"{BOOKWORM}: is not part of it any more"
    ]


def test_a_plan_of_an_older_revision_which_lacks_a_field_means_the_same(bench: Bench) -> None:
    plan = build(bench, "a-run", BOOKWORM)
    older = [distro.model_copy(update={"dependencies_sha256": ""}) for distro in plan.distros]
    assert older != list(plan.distros)
    assert plans.describe_changes(plan.model_copy(update={"distros": tuple(older)}), plan) == []


def test_a_distribution_that_was_not_built_is_refused_also_where_all_were_asked_for(
    bench: Bench, built: BuildPlan
) -> None:
    with pytest.raises(Refused, match=f"{TRIXIE}: HHVM 1.0.0 is not built for it"):
        plans.plan_publish(bench.request(RELEASE, *BOTH), bench.store, bench.settings)


def test_without_a_list_all_distributions_are_meant_that_are_not_retired(bench: Bench) -> None:
    settings = bench.settings.model_copy(update={"current_targets": []})
    bench.edit(f"distros/{TRIXIE}/RETIRED", "Debian no longer supports it.\n")
    proposed = plans.propose_distros(settings)
    assert BOOKWORM in proposed
    assert TRIXIE not in proposed


def test_the_revisions_own_list_says_which_distributions_are_meant(bench: Bench, root: Path) -> None:
    """The form proposes the checkout's, which stands for those of the branch."""
    settings = bench.settings.model_copy(update={"current_targets": []})
    bench.edit("distros/CURRENT_TARGETS", f"# What we release\r\n\n{BOOKWORM} # for now\n")
    commit(root, "Only bookworm")
    git(root, "checkout", "--quiet", "-b", BRANCH)
    bench.edit("distros/CURRENT_TARGETS", f"{TRIXIE}\n{BOOKWORM}\n{TRIXIE}\n")
    commit(root, "Both")
    git(root, "checkout", "--quiet", MAIN)
    assert plans.propose_distros(settings) == [BOOKWORM]
    plan = plans.plan_build(bench.request(RELEASE, BOOKWORM), bench.store, settings, "a run")
    assert (plan.current, plan.asked) == ((TRIXIE, BOOKWORM), (TRIXIE, BOOKWORM))


def test_a_listed_distribution_that_is_not_there_is_a_fault_and_no_form_breaks(bench: Bench) -> None:
    bench.edit("distros/CURRENT_TARGETS", f"{BOOKWORM}\ndebian-12-bookwrom\n")
    for settings in (
        bench.settings.model_copy(update={"current_targets": []}),
        bench.settings.model_copy(update={"current_targets": [BOOKWORM, "debian-12-bookwrom"]}),
    ):
        assert plans.propose_distros(settings) == [BOOKWORM]
        plan = plans.plan_build(bench.request(RELEASE, BOOKWORM), bench.store, settings, "a run")
        assert [distro.name for distro in plan.distros] == [BOOKWORM]
        assert plan.faults["debian-12-bookwrom"].startswith(
            "distros/debian-12-bookwrom: there is no such directory"
        )


def test_a_list_that_cannot_be_read_is_said_by_the_plan(bench: Bench) -> None:
    settings = bench.settings.model_copy(update={"current_targets": []})
    (settings.packaging_root / "distros/CURRENT_TARGETS").symlink_to("/etc/passwd")
    assert set(plans.propose_distros(settings)) >= set(BOTH)
    with pytest.raises(
        InvalidTargets, match=r"CURRENT_TARGETS cannot be read: .* out of the packaging files"
    ):
        plans.plan_build(
            bench.request(RELEASE, *plans.propose_distros(settings)), bench.store, settings, "a run"
        )


def test_a_retired_distribution_is_not_built_but_what_was_built_is_published(bench: Bench) -> None:
    plan = bench.plan(RELEASE, *BOTH)
    bench.make_source(plan)
    bench.sign(plan)
    for name in BOTH:
        bench.make_packages(plan, distro=name)
    bench.edit(f"distros/{TRIXIE}/RETIRED", "Debian no longer\nsupports it.\n")
    publish = plans.plan_publish(bench.request(RELEASE, BOOKWORM, TRIXIE), bench.store, bench.settings)
    assert [distro.name for distro in publish.distros] == list(BOTH)
    assert bench.plan(RELEASE, *plans.propose_distros(bench.settings)).asked == (BOOKWORM,)
    assert bench.plan(RELEASE, TRIXIE).faults[TRIXIE] == (
        f"distros/{TRIXIE}: it is retired (Debian no longer supports it.). "
        "To build it again, remove its file RETIRED."
    )
