"""Two publishers at once, as processes: neither loses what the other one published."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from demo import signing_key
from hhvm_packaging.apt import index, release_file, signing
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Bucket
from testing import publisher
from testing import s3 as s3_server
from testing.debs import Deb
from testing.publisher import publish
from testing.s3 import rclone
from testing.s3_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from testing.publisher import PublisherProcess

SUITES = [f"race-{number:02}" for number in range(50)]
"""Two publishers race to each suite twice: at its first commit, and at a later one."""
how_many = pytest.mark.parametrize(
    "suites", [pytest.param(SUITES[:10], id="20"), pytest.param(SUITES, id="100", marks=pytest.mark.slow)]
)
BUCKET = "races"


def packages(suite: str, race: int) -> list[Deb]:
    """The package of each racer in the suite's first or second race."""
    return [Deb(f"1.{race}.{racer}-1~{suite}") for racer in range(2)]


EVERYTHING = [deb for suite in SUITES for race in range(2) for deb in packages(suite, race)]


@pytest.fixture(scope="module")
def key() -> tuple[str, str]:
    return signing_key.make("HHVM tests <hhvm@example.org>")


@pytest.fixture
def conditional(conditional_s3: S3Client) -> Iterator[str]:
    """The endpoint of a store with conditional writes, which checks and writes in one step, as S3 does."""
    conditional_s3.create_bucket(Bucket=BUCKET)
    for deb in EVERYTHING:
        conditional_s3.put_object(Bucket=BUCKET, Key=deb.key, Body=deb.content)
    # moto by itself may make another write between the check of a condition and its write.
    with Proxy(conditional_s3.meta.endpoint_url, one_write_at_a_time=True).running() as proxy:
        yield proxy.endpoint


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[str]:
    """The endpoint of the embedded store, which ignores the conditions of writes."""
    for deb in EVERYTHING:
        path = tmp_path / BUCKET / deb.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(deb.content)
    with rclone(tmp_path) as endpoint:
        yield endpoint


class Racers:
    """Two publishers, in the order in which they were told to begin."""

    def __init__(self, processes: list[PublisherProcess]) -> None:
        self.processes = processes

    def race(self, suite: str, debs: list[Deb]) -> list[list[str] | str]:
        """Have each racer publish one of the packages. Returns their answers."""
        for process, deb in zip(self.processes, debs, strict=True):
            process.start((suite, [deb]), bucket=BUCKET, fork=False)
        return [process.answer() for process in self.processes]

    def publish(self, suite: str, debs: list[Deb]) -> None:
        """Publish with nobody else around."""
        self.processes[0].start((suite, debs), bucket=BUCKET, fork=False)
        assert sorted(self.processes[0].answer()) == sorted(name for [name] in names(debs))


@contextlib.contextmanager
def racing(endpoint: str, private_key: str, locks: tuple[Path, Path]) -> Generator[Racers]:
    """Two racers. With the same directory for locks they are on the same machine."""
    with (
        publisher.running(endpoint, private_key, locks[0]) as one,
        publisher.running(endpoint, private_key, locks[1]) as other,
    ):
        yield Racers([one, other])


def versions(bucket: Bucket, suite: str) -> set[str]:
    """The versions that a suite offers. Checks that every file agrees with InRelease."""
    directory = keys.suite("debian", suite)
    text = bucket.get(f"{directory}Release") or b""
    assert text in (bucket.get(f"{directory}InRelease") or b"")
    for name, digest in release_file.Release.parse(text).sha256.items():
        for key in (directory + name, keys.by_hash(directory + name, digest)):
            assert index.sha256(bucket.get(key) or b"") == digest, key
    stanzas = Suite(bucket, bucket, "debian", suite).read().packages["amd64"].stanzas
    for stanza in stanzas:
        assert index.sha256(bucket.get(f"debian/{stanza.filename}") or b"") == stanza.sha256
    return {stanza.version for stanza in stanzas}


def assert_signed(bucket: Bucket, suite: str, public_key: str) -> None:
    """InRelease and Release.gpg are signatures of Release."""
    directory = keys.suite("debian", suite)
    text = bucket.get(f"{directory}Release") or b""
    assert signing.signed_text(bucket.get(f"{directory}InRelease") or b"", public_key.encode()) == text
    signing.verify(text, bucket.get(f"{directory}Release.gpg") or b"", public_key.encode())


@how_many
def test_whoever_loses_a_race_has_overwritten_nothing_and_publishes_on_top_when_run_again(
    conditional: str,
    key: tuple[str, str],
    tmp_path: Path,
    suites: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bucket = Bucket(s3_server.client(conditional), BUCKET)
    conflicts = 0
    with racing(conditional, key[0], (tmp_path / "one", tmp_path / "other")) as racers:
        for suite in suites:
            won, lost = set[str](), list[Deb]()
            for race in range(2):
                debs = packages(suite, race)
                answers = racers.race(suite, debs)
                losers = [
                    deb
                    for deb, answer, won_by in zip(debs, answers, names(debs), strict=True)
                    if answer != won_by
                ]
                others = [str(answer) for answer in answers if answer not in names(debs)]
                assert [answer for answer in others if not answer.startswith("Conflict: ")] == []
                assert len(losers) < 2
                conflicts += len(losers)
                lost += losers
                won |= {deb.version for deb in debs if deb not in losers}
                assert versions(bucket, suite) == won
            racers.publish(suite, lost)
            assert versions(bucket, suite) == {
                deb.version for deb in [*packages(suite, 0), *packages(suite, 1)]
            }
            assert_signed(bucket, suite, key[1])
    assert conflicts
    with capsys.disabled():
        print(
            f"\n{2 * len(suites)} races on conditional writes, {conflicts} of which one lost; no package was"
        )


def names(debs: list[Deb]) -> list[list[str]]:
    """The answers of racers that publish these packages successfully."""
    return [[f"{deb.package} {deb.version} {deb.architecture}"] for deb in debs]


@how_many
def test_on_one_machine_a_lock_lets_one_publish_after_the_other_whatever_the_store(
    embedded: str,
    key: tuple[str, str],
    tmp_path: Path,
    suites: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bucket = Bucket(s3_server.client(embedded), BUCKET)
    with racing(embedded, key[0], (tmp_path / "locks", tmp_path / "locks")) as racers:
        for suite in suites:
            wanted = set[str]()
            for race in range(2):
                debs = packages(suite, race)
                assert racers.race(suite, debs) == names(debs)
                wanted |= {deb.version for deb in debs}
                assert versions(bucket, suite) == wanted
            assert_signed(bucket, suite, key[1])
    with capsys.disabled():
        print(f"\n{2 * len(suites)} races under a lock; no package was lost")


def test_who_finds_a_first_publish_half_done_publishes_on_top_of_it(
    conditional: str, key: tuple[str, str], tmp_path: Path
) -> None:
    """It asked for InRelease too early, and then found Release, but not its signature yet."""
    s3 = s3_server.client(conditional)
    bucket, (first, second) = Bucket(s3, BUCKET), packages("half", 0)
    with Signer(key[0]) as signer:

        def overtake(params: dict[str, Any], **_: object) -> None:
            if params["Key"] == f"{suite.directory}Release":
                s3.meta.events.unregister("before-parameter-build.s3.GetObject", overtake)
                other = Suite(bucket, bucket, "debian", "half", locks=tmp_path / "other")
                publish(other, {first.key: first.artifact}, signer)
                bucket.delete(f"{suite.directory}Release.gpg")

        for deb in (first, second):
            bucket.put(deb.key, deb.content)
        suite = Suite(bucket, bucket, "debian", "half", locks=tmp_path / "one")
        s3.meta.events.register("before-parameter-build.s3.GetObject", overtake)
        publish(suite, {second.key: second.artifact}, signer)
        assert versions(bucket, "half") == {first.version, second.version}
