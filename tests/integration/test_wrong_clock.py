"""A clock that is wrong for one publish is noticed by the next, which is dated right."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from demo import signing_key
from hhvm_packaging.apt import release_file, undo
from hhvm_packaging.apt.sign_again import sign_again
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.apt.suite import Suite, WrongClock
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import buckets
from hhvm_packaging.store.buckets import Store
from testing import apt_client, foreign
from testing.debs import Deb
from testing.publisher import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

OLD, NEW, NEXT = Deb("1.0.0-1"), Deb("1.0.1-1"), Deb("1.0.2-1")
HOURS = timedelta(hours=6)


class Clocked(Suite):
    """A suite whose publisher has another clock."""

    ahead = timedelta()

    def clock(self) -> datetime:
        return super().clock() + self.ahead


class Bench:
    def __init__(self, s3: S3Client, signer: Signer) -> None:
        store = Store(s3, Settings())
        self.signer, self.suite = signer, Clocked(store.downloads, store.scratch, "debian", "bookworm")

    def publish(self, deb: Deb, *, ahead: timedelta = timedelta()) -> None:
        self.suite.scratch.put(deb.key, deb.content)
        self.suite.ahead = ahead
        publish(self.suite, {deb.key: deb.artifact}, self.signer)

    @property
    def date(self) -> datetime:
        release = self.suite.read(signer=self.signer).release
        assert release
        return release.date


@pytest.fixture(scope="module")
def key() -> tuple[str, str]:
    return signing_key.make("HHVM tests <hhvm@example.org>")


@pytest.fixture
def bench(s3: S3Client, key: tuple[str, str]) -> Iterator[Bench]:
    with Signer(key[0]) as signer:
        yield Bench(s3, signer)


def again(bench: Bench) -> None:
    bench.publish(NEXT)


def back(bench: Bench) -> None:
    bench.suite.ahead = timedelta()
    undo.undo(bench.suite, undo.read_history(bench.suite)[1].name, bench.signer)


def sign(bench: Bench) -> None:
    bench.suite.ahead = timedelta()
    sign_again(bench.suite, bench.signer)


@pytest.mark.parametrize("then", [again, back, sign])
def test_a_publish_by_a_clock_that_was_ahead_is_named_and_the_next_is_dated_now(
    bench: Bench, then: Callable[[Bench], None], caplog: pytest.LogCaptureFixture
) -> None:
    bench.publish(OLD)
    good = bench.date
    bench.publish(NEW, ahead=HOURS)
    assert bench.date > datetime.now(UTC) + HOURS - timedelta(minutes=1)
    with caplog.at_level(logging.WARNING):
        then(bench)
    assert good < bench.date <= datetime.now(UTC) + release_file.MAX_FUTURE
    assert "debian bookworm: its Release is dated" in caplog.text
    assert "in the future: a clock was wrong" in caplog.text


def test_users_get_what_follows_a_publish_by_a_clock_that_was_ahead(
    bench: Bench, key: tuple[str, str], s3_directory: Path, tmp_path: Path
) -> None:
    bench.publish(OLD)
    with apt_client.website(s3_directory / Settings().downloads_bucket) as site:
        apt = foreign.local_apt(tmp_path / "apt", f"{site.url}/debian", "bookworm", key[1])
        apt.update()
        bench.publish(NEW, ahead=HOURS)
        with pytest.raises(foreign.AptFailed, match="not valid yet"):
            apt.update()
        bench.publish(NEXT)
        apt.update()
        assert apt.candidate("hhvm") == NEXT.version


def test_a_suite_with_an_end_is_valid_from_now_on_as_long_as_before(bench: Bench) -> None:
    bench.publish(OLD)
    state = bench.suite.read()
    until = f"Valid-Until: {datetime.now(UTC) + timedelta(days=7):%a, %d %b %Y %H:%M:%S} UTC\n"
    text = state.text.replace(b"Acquire-By-Hash", until.encode() + b"Acquire-By-Hash")
    bench.suite.downloads.put(bench.suite.key("InRelease"), bench.signer.clearsign(text))
    bench.publish(NEW, ahead=HOURS)
    bench.publish(NEXT)
    release = bench.suite.read().release
    assert release
    assert release.valid_until
    left = release.valid_until - datetime.now(UTC)
    assert timedelta(days=7, minutes=-5) < left < timedelta(days=7, minutes=5)


def test_what_is_dated_now_is_later_than_everything_that_users_may_have(bench: Bench) -> None:
    """Users had the state of ten seconds ahead, which apt accepts."""
    bench.publish(OLD, ahead=timedelta(seconds=8))
    had = bench.date
    bench.publish(NEW, ahead=HOURS)
    bench.publish(NEXT)
    assert bench.date > had


def test_a_publisher_whose_own_clock_is_behind_is_told_and_publishes_nothing(bench: Bench) -> None:
    bench.publish(OLD)
    with pytest.raises(WrongClock, match="set this machine's clock right"):
        bench.publish(NEW, ahead=-HOURS)
    bench.publish(NEW)
    assert [stanza.version for stanza in bench.suite.read().packages["amd64"].stanzas] == [
        "1.0.0-1",
        "1.0.1-1",
    ]


def test_a_store_that_does_not_say_the_time_is_no_obstacle(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets.Bucket, "now", lambda _: None)
    bench.publish(OLD)
    bench.publish(NEW, ahead=HOURS)
    bench.publish(NEXT)
    assert bench.date <= datetime.now(UTC) + release_file.MAX_FUTURE
