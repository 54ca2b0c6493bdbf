"""Somebody puts a signed InRelease where, or when, it does not belong."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.apt import undo
from hhvm_packaging.apt.snapshots import Snapshot
from hhvm_packaging.apt.suite import Damaged, NotNewest
from hhvm_packaging.publishing.candidates import Candidate, NoCandidate
from testing.built import BOOKWORM, Bench

if TYPE_CHECKING:
    from hhvm_packaging.planning.plans import PublishPlan

BOTH = ("debian/dists/bookworm/InRelease", "debian/dists/trixie/InRelease")


def refusal(bench: Bench, plan: PublishPlan) -> str:
    """Why bookworm has no candidate; empty if it has one."""
    with contextlib.suppress(NoCandidate):
        bench.propose(plan)
    candidate = Candidate.read(bench.store, plan.release, BOOKWORM)
    assert candidate
    return candidate.fault or ""


def release(bench: Bench, *versions: str) -> None:
    for version in versions:
        bench.update(bench.build(version))


def get(bench: Bench, key: str) -> bytes:
    found = bench.store.downloads.get(key)
    assert found
    return found


def test_the_inrelease_of_another_suite_is_refused(bench: Bench) -> None:
    release(bench, "1.0.0")
    bench.store.downloads.put(BOTH[0], get(bench, BOTH[1]))
    said = refusal(bench, bench.build("1.0.1"))
    assert "the InRelease is that of the suite trixie, which is another one" in said
    assert "bin/apt-suite restore debian bookworm" in said


def test_the_inrelease_of_another_suite_is_no_suite_of_another_tool(bench: Bench) -> None:
    release(bench, "1.0.0")
    bench.store.downloads.put("debian/dists/sid/InRelease", get(bench, BOTH[0]))
    with pytest.raises(NotNewest, match="that of the suite bookworm"):
        bench.suite("sid").read(signer=bench.signer)


@pytest.mark.parametrize("back", [1, 2])
def test_an_older_inrelease_is_refused(bench: Bench, back: int) -> None:
    release(bench, "1.0.0")
    old = get(bench, BOTH[0])
    release(bench, *(f"1.0.{number + 1}" for number in range(back)))
    bench.store.downloads.put(BOTH[0], old)
    said = refusal(bench, bench.build("1.0.9"))
    assert "somebody put back an older one" in said
    assert "bin/apt-suite restore debian bookworm" in said


def test_a_suite_that_was_published_and_is_gone_is_not_begun_anew(bench: Bench) -> None:
    release(bench, "1.0.0")
    for name in ("InRelease", "Release", "Release.gpg"):
        bench.store.downloads.delete(f"debian/dists/bookworm/{name}")
    assert "its InRelease is not there" in refusal(bench, bench.build("1.0.1"))


@pytest.mark.parametrize("damage", ["older", "another suite's", "gone"])
def test_what_was_published_last_is_put_back_and_goes_on(bench: Bench, damage: str) -> None:
    release(bench, "1.0.0")
    old = get(bench, BOTH[0])
    release(bench, "1.0.1")
    good = get(bench, BOTH[0])
    if damage == "gone":
        bench.store.downloads.delete(BOTH[0])
    else:
        bench.store.downloads.put(BOTH[0], old if damage == "older" else get(bench, BOTH[1]))
    suite = bench.suite("bookworm")
    assert suite.restore(bench.signer) == suite.read(signer=bench.signer).snapshot
    assert get(bench, BOTH[0]) == good
    assert suite.restore(bench.signer)
    release(bench, "1.0.2")
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm", "1.0.1-1~bookworm", "1.0.2-1~bookworm"]


def test_an_undo_is_no_replay(bench: Bench) -> None:
    release(bench, "1.0.0", "1.0.1")
    suite = bench.suite("bookworm")
    undo.undo(suite, bench.snapshots("bookworm")[-1], bench.signer)
    assert suite.read(signer=bench.signer)
    release(bench, "1.0.2")
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm", "1.0.2-1~bookworm"]


def test_a_commit_that_died_before_users_got_it_prevents_nothing(bench: Bench) -> None:
    release(bench, "1.0.0")
    suite = bench.suite("bookworm")
    (current,) = undo.read_history(suite)
    date = current.date + timedelta(hours=1)
    died = replace(
        current, name=Snapshot.name_of(date, b"died"), date=date, previous=current.name, committed=False
    )
    died.write(bench.store.scratch, "debian", "bookworm")
    assert suite.read(signer=bench.signer).snapshot == current.name


def test_snapshots_of_an_earlier_revision_refuse_all_but_the_last_step_back(bench: Bench) -> None:
    """They do not say that they were committed, but a later one that follows them does."""
    release(bench, "1.0.0")
    old = get(bench, BOTH[0])
    release(bench, "1.0.1", "1.0.2")
    suite = bench.suite("bookworm")
    for snapshot in undo.read_history(suite):
        replace(snapshot, committed=False).write(bench.store.scratch, "debian", "bookworm")
    assert suite.read(signer=bench.signer)
    bench.store.downloads.put(BOTH[0], old)
    with pytest.raises(NotNewest):
        suite.read(signer=bench.signer)


def test_a_snapshot_with_the_state_of_another_name_is_not_undone_to(bench: Bench) -> None:
    release(bench, "1.0.0", "1.0.1", "1.0.2")
    suite = bench.suite("bookworm")
    newest, middle, first = undo.read_history(suite)
    replace(middle, in_release=first.in_release).write(bench.store.scratch, "debian", "bookworm")
    with pytest.raises(Damaged, match="is not the state that its name says"):
        undo.undo(suite, middle.name, bench.signer)
    assert suite.read(signer=bench.signer).snapshot == newest.name
