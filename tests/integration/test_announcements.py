"""What people are told of a publish: once, and only what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.orchestration import announcing, connections
from hhvm_packaging.reporting import announcements
from testing.built import BOOKWORM, RUN, TRIXIE, Bench, bench

if TYPE_CHECKING:
    import pytest

__all__ = ["bench"]


def test_a_publish_is_announced_once(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    assert announcements.take_news(plan, bench.store) == {
        BOOKWORM: "1.0.0-1~bookworm",
        TRIXIE: "1.0.0-1~trixie",
    }
    assert announcements.take_news(plan, bench.store) == {}


def test_a_distribution_that_comes_later_is_announced_by_itself(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    first = plan.model_copy(update={"distros": plan.distros[:1]})
    assert list(announcements.take_news(first, bench.store)) == [BOOKWORM]
    assert list(announcements.take_news(plan, bench.store)) == [TRIXIE]


def test_what_was_undone_is_news_when_it_is_released_again(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    announcements.take_news(plan, bench.store)
    assert announcements.take_news(plan.model_copy(update={"action": "undo"}), bench.store) == {}
    again = plan.model_copy(update={"action": "release again"})
    assert list(announcements.take_news(again, bench.store)) == [BOOKWORM, TRIXIE]


def test_the_message_has_the_version_the_distributions_and_where_to_look(bench: Bench) -> None:
    plan = bench.build("4.172.1")
    news = announcements.take_news(plan, bench.store)
    message = announcements.write_released(plan, news, RUN, bench.settings)
    assert (message.event, message.versions) == ("released", ["4.172.1"])
    assert message.subject == "HHVM packaging: HHVM 4.172.1 is released"
    assert message.text.splitlines()[1:5] == [
        "Debian 12 (bookworm): 4.172.1-1~bookworm",
        "Debian 13 (trixie): 4.172.1-1~trixie",
        "How to install it: https://dl.hhvm.com/",
        "Its source: https://dl.hhvm.com/source/hhvm-4.172.1.tar.gz",
    ]
    assert "Its changes: https://github.com/facebook/hhvm/commits/HHVM-4.172.1" in message.text


def test_a_repository_elsewhere_has_no_page_of_changes(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    settings = bench.settings.model_copy(update={"public_repository": "/srv/hhvm.git"})
    assert "changes" not in announcements.write_released(plan, {}, RUN, settings).text


class Events:
    """Keeps the events that a task adds to its outlet."""

    def __init__(self) -> None:
        self.added: list[dict[str, object]] = []

    def add(self, asset: object, extra: dict[str, object]) -> None:
        assert asset == announcing.PACKAGES
        self.added.append(extra)


def test_other_dags_are_told_what_was_published_and_nothing_of_a_dry_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "store", lambda: bench.store)
    events = Events()
    context = {"outlet_events": {announcing.PUBLISHED: events}}
    plan = bench.build("1.0.0")
    announcing.announce(plan.model_copy(update={"dry_run": True}), context)
    assert events.added == []
    announcing.announce(plan, context)
    assert events.added == [{"version": "1.0.0", "action": "publish", "distros": [BOOKWORM, TRIXIE]}]
