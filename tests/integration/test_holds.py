"""When a release may be published, by what the store holds."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest

from hhvm_packaging.planning.hold_records import Asker, Held, Person, Question
from hhvm_packaging.planning.request import Request
from hhvm_packaging.publishing import holds
from hhvm_packaging.publishing.holds import Ready
from hhvm_packaging.store import keys
from testing.built import BOOKWORM, TRIXIE, Bench, bench

if TYPE_CHECKING:
    from hhvm_packaging.planning.plans import PublishPlan

__all__ = ["bench"]

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
RUN = Asker(dag_id="hhvm_build_and_publish", run_id="a-run", by="anna", at=NOW)
LATER_RUN = RUN.model_copy(update={"run_id": "a-later-run"})


def built(bench: Bench, version: str, *missing: str, again: bool = False) -> PublishPlan:
    """Build and sign a version, without the ``missing`` distributions; ``again`` gives other bytes."""
    plan = bench.build(version, "Section: other\n" if again else "")
    bench.sign_source(plan)
    for distro in missing:
        bench.store.scratch.delete(keys.manifest(plan.release, distro))
    return plan


def request(version: str, **more: Any) -> Request:
    return Request(version=version, distros=(BOOKWORM, TRIXIE), today=NOW.date(), **more)


def release(bench: Bench, asked: Request, *others: Request, run: Asker = RUN) -> None:
    """Return if the version may be published now, as one of those that were asked for together."""
    requests = [asked, *others]
    holds.ask_for_holds(requests, run, bench.store)
    holds.ensure_publishable(asked, requests, now=NOW, store=bench.store, settings=bench.settings)


def ask(bench: Bench, *asked: Request, run: Asker = RUN) -> list[Question]:
    """What the tasks ``plan`` and ``ready`` leave: all questions of the run."""
    holds.ask_for_holds(asked, run, bench.store)
    found = holds.find_ready(asked, bench.store, bench.settings)
    return holds.ask(asked, holds.select_publishable(asked, found), run, bench.store, bench.settings)


def answer(
    bench: Bench, question: Question, who: str = "ben", *, approved: bool = True, after: int = 0
) -> None:
    """What a person answers, so many seconds after NOW."""
    at = NOW + datetime.timedelta(seconds=after)
    holds.record_answer(
        question, Person(id=who, name=who), at, bench.store, bench.settings, approved=approved
    )


def approve(bench: Bench, *asked: Request, run: Asker = RUN) -> None:
    answer(bench, ask(bench, *asked, run=run)[-1])


def test_a_version_that_is_built_goes_at_once(bench: Bench) -> None:
    built(bench, "1.0.0")
    release(bench, request("1.0.0"))


def test_what_is_not_built_is_named_and_held(bench: Bench) -> None:
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is not built for debian-12-bookworm, debian-13-trixie"):
        release(bench, request("1.0.0"))
    built(bench, "1.0.0", TRIXIE)
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is not built for debian-13-trixie; the others are held"):
        release(bench, request("1.0.0"))


def test_without_a_signed_source_nothing_counts_as_built(bench: Bench) -> None:
    bench.build("1.0.0")
    with pytest.raises(Held, match="not built for debian-12-bookworm, debian-13-trixie"):
        release(bench, request("1.0.0"))


@pytest.mark.parametrize(("version", "terms"), [("1.0.0", "publish the others"), ("2026.11.23", "as usual")])
def test_the_others_go_where_the_runs_terms_have_it(bench: Bench, version: str, terms: Any) -> None:
    built(bench, version, TRIXIE)
    release(bench, request(version, if_one_fails=terms))


def test_what_the_last_plan_wants_otherwise_is_not_built(bench: Bench) -> None:
    plan = built(bench, "1.0.0")
    bumped = [distro.model_copy(update={"pkgver": "2~bookworm"}) for distro in plan.distros[:1]]
    planned = plan.model_copy(update={"distros": (*bumped, *plan.distros[1:])})
    bench.store.scratch.put_json(keys.plan(plan.release), planned.model_dump(mode="json"))
    found = Ready.find(request("1.0.0"), bench.store, bench.settings)
    assert BOOKWORM in found.missing


def test_nothing_goes_before_its_time(bench: Bench) -> None:
    built(bench, "1.0.0")
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is held until 2026-11-24 12:00:01 UTC"):
        release(bench, request("1.0.0", hold_until=NOW + datetime.timedelta(seconds=1)))
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is held until 2026-11-24 12:00:01 UTC"):
        release(bench, request("1.0.0"), run=LATER_RUN)
    built(bench, "1.0.1")
    release(bench, request("1.0.1", hold_until=NOW))


def test_nothing_goes_without_the_approval_that_was_asked_for(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is not approved"):
        release(bench, asked)
    approve(bench, asked)
    release(bench, asked)


def test_an_approval_is_for_the_builds_that_were_there(bench: Bench) -> None:
    built(bench, "1.0.0", TRIXIE)
    asked = request("1.0.0", require_approval=True, if_one_fails="publish the others")
    approve(bench, asked)
    release(bench, asked)
    built(bench, "1.0.0")
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is not what ben approved"):
        release(bench, asked)


def test_an_approval_from_before_a_hold_was_asked_for_does_not_count(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    approve(bench, asked)
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is not approved, as was asked for in .*, a-later-run"):
        release(bench, asked, run=LATER_RUN)
    approve(bench, asked, run=LATER_RUN)
    release(bench, asked)
    release(bench, asked, run=LATER_RUN)


def test_what_is_held_for_one_run_is_held_for_another_that_asks_for_nothing(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    holds.ask_for_holds([asked], RUN, bench.store)
    with pytest.raises(Held, match="not approved, as was asked for in hhvm_build_and_publish, a-run"):
        release(bench, request("1.0.0"), run=LATER_RUN)
    [question] = ask(bench, request("1.0.0"), run=LATER_RUN)
    answer(bench, question)
    release(bench, request("1.0.0"), run=LATER_RUN)
    release(bench, asked)


def test_what_was_approved_is_not_asked_again(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    [question] = ask(bench, asked)
    assert ask(bench, asked) == [question]
    answer(bench, question)
    assert ask(bench, asked) == [question]
    outcome = holds.find_outcome(question, 1, bench.store, bench.settings)
    assert outcome == (True, "ben approved it already")


def test_of_several_versions_only_the_one_that_was_built_again_is_asked_again(bench: Bench) -> None:
    built(bench, "1.0.0")
    built(bench, "1.0.1")
    asked = [request(version, require_approval=True) for version in ("1.0.0", "1.0.1")]
    [first] = ask(bench, *asked)
    answer(bench, first)
    built(bench, "1.0.1", again=True)
    release(bench, asked[0], asked[1])
    with pytest.raises(Held, match=r"HHVM 1\.0\.1 is not what ben approved: it was built again"):
        release(bench, asked[1], asked[0])
    [_, second] = ask(bench, *asked)
    assert [about.version for about in second.asked] == ["1.0.1"]
    outcome = holds.find_outcome(first, 1, bench.store, bench.settings)
    assert outcome == (False, "HHVM 1.0.1 was built again after this was asked: it is not asked any more")
    answer(bench, second)
    release(bench, asked[1], asked[0])


def test_the_same_bytes_built_again_need_no_new_approval(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    approve(bench, asked)
    built(bench, "1.0.0")
    release(bench, asked)


def test_who_answers_an_old_question_approves_the_old_builds(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    [old] = ask(bench, asked)
    built(bench, "1.0.0", again=True)
    ask(bench, asked)
    answer(bench, old)
    with pytest.raises(Held, match="is not what ben approved"):
        release(bench, asked)


def test_a_rejection_ends_all_approvals_before_it(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    approve(bench, asked)
    [question] = ask(bench, asked, run=LATER_RUN)
    answer(bench, question, "carl", approved=False, after=1)
    with pytest.raises(Held, match="is not approved"):
        release(bench, asked)
    answer(bench, question, after=2)
    release(bench, asked)


def test_what_an_older_revision_recorded_is_asked_for_again(bench: Bench) -> None:
    built(bench, "1.0.0")
    former = {"version": "1.0.0", "by": "ben", "source": "1.0.0", "packages": {}, "at": NOW.isoformat()}
    bench.store.scratch.put_json("approvals/1.0.0/hhvm_build_and_publish/a-run.json", former)
    with pytest.raises(Held, match="is not approved"):
        release(bench, request("1.0.0", require_approval=True))


def test_two_people_must_approve_where_the_settings_say_so(bench: Bench) -> None:
    built(bench, "1.0.0")
    bench.settings = bench.settings.model_copy(update={"approvals": 2})
    asked = request("1.0.0", require_approval=True)
    [question] = ask(bench, asked)
    answer(bench, question)
    with pytest.raises(Held, match=r"is not approved, .*: 1 of 2 people approved it \(ben\)"):
        release(bench, asked)
    with pytest.raises(Held, match="ben approved it already"):
        answer(bench, question, after=1)
    assert holds.find_outcome(question, 2, bench.store, bench.settings) is None
    answer(bench, question, "carl")
    release(bench, asked)


def test_nobody_approves_what_they_triggered_where_the_settings_say_so(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    approved_by_herself = ask(bench, asked)[-1]
    answer(bench, approved_by_herself, "anna")
    release(bench, asked)
    bench.settings = bench.settings.model_copy(update={"approve_own": False})
    with pytest.raises(Held, match="is not approved"):
        release(bench, asked)
    others_run = LATER_RUN.model_copy(update={"by": "ben"})
    for question in (ask(bench, asked)[-1], ask(bench, request("1.0.0"), run=others_run)[-1]):
        with pytest.raises(Held, match=r"anna triggered HHVM 1\.0\.0"):
            answer(bench, question, "anna", after=1)
    answer(bench, question, "carl", after=1)
    release(bench, asked)


def test_only_approvers_approve(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    approve(bench, asked)
    bench.settings = bench.settings.model_copy(update={"approvers": ["carl"]})
    with pytest.raises(Held, match="is not approved"):
        release(bench, asked)
    [question] = ask(bench, asked)
    with pytest.raises(Held, match="ben may not approve: the setting approvers names carl"):
        answer(bench, question)
    answer(bench, question, "carl")
    release(bench, asked)


def test_a_version_that_is_not_built_holds_the_others_only_where_that_was_asked_for(bench: Bench) -> None:
    built(bench, "1.0.0")
    release(bench, request("1.0.0"), request("1.0.1"))
    held: dict[str, Any] = {"if_a_version_fails": "hold all"}
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is held, as if_a_version_fails says: HHVM 1\.0\.1 is not"):
        release(bench, request("1.0.0", **held), request("1.0.1", **held))


def test_only_what_may_go_on_is_shown_for_approval_and_nothing_is_if_nothing_may(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = [request("1.0.0"), request("1.0.1")]
    found = holds.find_ready(asked, bench.store, bench.settings)
    [shown] = holds.select_publishable(asked, found)
    assert str(shown) == "HHVM 1.0.0: debian-12-bookworm 1.0.0-1~bookworm, debian-13-trixie 1.0.0-1~trixie"
    with pytest.raises(Held, match=r"HHVM 1\.0\.1 is not built"):
        holds.select_publishable(asked[1:], found[1:])
