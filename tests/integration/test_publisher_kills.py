"""The publisher is killed after each of its writes, and real apt looks at what it left."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import os
import queue
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from debian import deb822

from demo import signing_key
from testing import publisher
from testing.apt_client import AptFailed, Machine, Website, machine, website
from testing.debs import Deb, source
from testing.publisher import MUTANTS, PublisherProcess
from testing.s3 import client, rclone
from testing.s3_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testing.debs import Built

SUITES = ("bookworm", "trixie")
FRESH, WITHDRAWN, NIGHTLIES = "fresh", "withdrawn", "nightlies"
"""Suites in which nothing is published yet, something is withdrawn, and an old nightly is offered."""
OLDEST = {suite: Deb(f"0.9.0-1~{suite}") for suite in SUITES}
OLD = {suite: Deb(f"1.0.0-1~{suite}") for suite in SUITES}
NEW = {suite: Deb(f"1.0.1-1~{suite}") for suite in (*SUITES, FRESH)}
"""One release: a package for each suite, and its source."""
AGED, LAST = (Deb(f"2020.01.0{day}-1", package="hhvm-nightly") for day in (1, 2))
"""Two nightlies. Both are too old to be offered, but the newest one stays."""
APT_COMPLAINS = r"Hash Sum mismatch|unexpected size|404"


@pytest.fixture(scope="module")
def key() -> tuple[str, str]:
    return signing_key.make("HHVM tests <hhvm@example.org>")


@pytest.fixture(scope="module")
def keyring(key: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public key as gpgv reads it."""
    path = tmp_path_factory.mktemp("keyring") / "hhvm.gpg"
    subprocess.run(["gpg", "--dearmor", "--output", path], check=True, input=key[1].encode())
    return path


@pytest.fixture(scope="module")
def machines(base_images: None, key: tuple[str, str]) -> Iterator[list[Machine]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(machine(suite, key[1])) for suite in SUITES]


@dataclass(frozen=True)
class State:
    """What InRelease says of a suite: versions of packages and of withdrawn packages."""

    offered: list[str]
    withdrawn: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Operation:
    """What a publisher does, and the states of the suites before and after it."""

    name: str
    suites: tuple[str, ...]
    before: Callable[[str], State]
    after: Callable[[str], State]

    def __str__(self) -> str:
        return f"{self.name} {' and '.join(self.suites)}"


def old_state(suite: str) -> State:
    """The state of a suite with two old releases."""
    return State([OLDEST[suite].version, OLD[suite].version])


PUBLISH = Operation(
    "publish",
    SUITES,
    old_state,
    lambda suite: State([*old_state(suite).offered, NEW[suite].version]),
)
FIRST_PUBLISH = Operation("publish", (FRESH,), lambda _: State([]), lambda suite: State([NEW[suite].version]))
UNDO = Operation(
    "undo",
    SUITES,
    old_state,
    lambda suite: State([OLDEST[suite].version], [OLD[suite].version]),
)
REINSTATE = Operation(
    "reinstate",
    (WITHDRAWN,),
    lambda _: State([OLDEST["bookworm"].version], [OLD["bookworm"].version]),
    lambda _: State([OLDEST["bookworm"].version]),
)
SIGN_AGAIN = Operation("sign again", SUITES, old_state, old_state)
AGE_OUT = Operation(
    "age out",
    (NIGHTLIES,),
    lambda _: State([AGED.version, LAST.version]),
    lambda _: State([LAST.version]),
)


@dataclass(frozen=True)
class Stage:
    """Buckets with the old release, a publisher that can be killed, and machines that use apt."""

    directory: Path
    proxy: Proxy
    process: PublisherProcess
    website: Website
    machines: list[Machine]

    def run(
        self, bucket: str, operation: Operation = PUBLISH, *, die_after: int | None = None, mutant: str = ""
    ) -> int:
        """Carry out the operation in a process, killed after so many writes. Returns its exit status."""
        started: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.proxy.reset()
        if die_after is not None:
            self.proxy.end_after(die_after, lambda: os.kill(started.get(), signal.SIGKILL))
        release = [
            (suite, built(NEW[suite]) if operation.name == "publish" else []) for suite in operation.suites
        ]
        self.process.start(*release, bucket=bucket, mutant=mutant, fork=True, operation=operation.name)
        started.put(self.process.answer())
        status: int = self.process.answer()
        return status

    def die(self, point: int, operation: Operation = PUBLISH, *, mutant: str = "") -> str:
        """Kill a publisher after the write of this number. Returns the bucket."""
        bucket = f"point-{point}"
        assert self.run(bucket, operation, die_after=point, mutant=mutant) == -signal.SIGKILL
        assert self.proxy.traffic.writes == point
        return bucket

    def installed(self, bucket: str) -> list[str]:
        """The version that users of each suite get. Raises AptFailed."""
        url = f"{self.website.url}/{bucket}/debian"
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda machine: machine.install(url), self.machines))

    def suite(self, bucket: str, suite: str) -> Suite:
        return Suite(self.directory / bucket / "debian", suite)


@dataclass(frozen=True)
class Suite:
    """A suite's files, read without the code that wrote them."""

    repository: Path
    suite: str

    @property
    def path(self) -> Path:
        return self.repository / "dists" / self.suite

    def in_release(self) -> bytes:
        """The signed file; empty if nothing is published."""
        path = self.path / "InRelease"
        return path.read_bytes() if path.exists() else b""

    def state(self) -> State:
        """The state that InRelease describes. Checks that every file that it names exists."""
        if not self.in_release():
            return State([])
        self.assert_whole()
        release = deb822.Deb822(self.in_release())
        withdrawn = [line.split() for line in release.get("HHVM-Withdrawn", "").strip().splitlines()]
        return State(
            self._offered(),
            [version for _, version, architecture in withdrawn if architecture == "amd64"],
        )

    def _offered(self) -> list[str]:
        [name] = [entry for entry in self.entries() if entry["name"] == "main/binary-amd64/Packages.gz"]
        packages = (self.path / "main/binary-amd64/by-hash/SHA256" / name["sha256"]).read_bytes()
        stanzas = deb822.Packages.iter_paragraphs(gzip.decompress(packages), use_apt_pkg=False)
        return [stanza["Version"] for stanza in stanzas]

    def assert_whole(self) -> None:
        """Every index exists under its digest as InRelease says, and every file that an index names."""
        for entry in self.entries():
            directory = (self.path / entry["name"]).parent
            content = (directory / "by-hash/SHA256" / entry["sha256"]).read_bytes()
            assert (len(content), sha256(content)) == (int(entry["size"]), entry["sha256"])
            if entry["name"].endswith("/Packages.gz"):
                self._assert_packages(gzip.decompress(content))
            if entry["name"].endswith("/Sources.gz"):
                self._assert_sources(gzip.decompress(content))

    def _assert_packages(self, packages: bytes) -> None:
        for stanza in deb822.Packages.iter_paragraphs(packages, use_apt_pkg=False):
            self._assert_file(stanza["Filename"], stanza["Size"], stanza["SHA256"])

    def _assert_sources(self, sources: bytes) -> None:
        for stanza in deb822.Sources.iter_paragraphs(sources, use_apt_pkg=False):
            for file in stanza["Checksums-Sha256"]:
                self._assert_file(f"{stanza['Directory']}/{file['name']}", file["size"], file["sha256"])

    def _assert_file(self, name: str, size: str, digest: str) -> None:
        content = (self.repository / name).read_bytes()
        assert (len(content), sha256(content)) == (int(size), digest)

    def assert_complete(self, state: State, keyring: Path) -> None:
        """This is the suite's state, signatures are good, and the plain names agree with InRelease."""
        assert self.state() == state
        release = self.path / "Release"
        gpgv = ["gpgv", "--quiet", "--keyring", str(keyring)]
        text = subprocess.run(
            [*gpgv, "--output", "-", self.path / "InRelease"], check=True, capture_output=True
        )
        assert text.stdout == release.read_bytes()
        subprocess.run([*gpgv, self.path / "Release.gpg", release], check=True, capture_output=True)
        for entry in self.entries():
            assert sha256((self.path / entry["name"]).read_bytes()) == entry["sha256"]
        packages = (self.path / "main/binary-amd64/Packages").read_bytes()
        offered = deb822.Packages.iter_paragraphs(packages, use_apt_pkg=False)
        assert [stanza["Version"] for stanza in offered] == state.offered

    def entries(self) -> list[dict[str, str]]:
        entries: list[dict[str, str]] = deb822.Release(self.in_release())["SHA256"]
        assert entries
        return entries


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def built(deb: Deb) -> list[Built]:
    """The package and its source package."""
    return [deb, *source(deb)]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory, key: tuple[str, str]) -> Path:
    """A bucket's directory: two old releases and two nightlies, published, and the new release, built."""
    directory = tmp_path_factory.mktemp("old")
    bucket = directory / "bucket"
    for deb in [*OLDEST.values(), *OLD.values(), *NEW.values(), AGED, LAST]:
        for file in built(deb):
            path = bucket / file.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
    with (
        rclone(directory) as endpoint,
        publisher.running(endpoint, key[0], tmp_path_factory.mktemp("locks")) as process,
    ):
        for release in (OLDEST, OLD):
            process.start(*((suite, built(release[suite])) for suite in SUITES), bucket="bucket", fork=False)
            assert len(process.answer()) == 2 * len(SUITES)
        for suite, deb in (
            (WITHDRAWN, OLDEST["bookworm"]),
            (WITHDRAWN, OLD["bookworm"]),
            (NIGHTLIES, AGED),
            (NIGHTLIES, LAST),
        ):
            process.start((suite, [deb]), bucket="bucket", fork=False)
            assert len(process.answer()) == 1
        process.start((WITHDRAWN, []), bucket="bucket", fork=False, operation="undo")
        assert process.answer() == []
    return bucket


@pytest.fixture
def conditional() -> bool:
    """Whether the store supports conditional writes."""
    return False


@pytest.fixture
def stage(
    old: Path, key: tuple[str, str], machines: list[Machine], tmp_path: Path, conditional: bool
) -> Iterator[Stage]:
    # The server caches directories, so all buckets must exist before it starts.
    for bucket in ["untouched", "counted", *(f"point-{point}" for point in range(1, MOST_WRITES + 1))]:
        shutil.copytree(old, tmp_path / bucket)
    with (
        rclone(tmp_path) as endpoint,
        Proxy(
            endpoint, one_write_at_a_time=True, looking=client(endpoint) if conditional else None
        ).running() as proxy,
        publisher.running(proxy.endpoint, key[0], tmp_path / "locks") as process,
        website(tmp_path) as server,
    ):
        yield Stage(tmp_path, proxy, process, server, machines)


MOST_WRITES = 80
"""How many buckets there are, one for each write after which the publisher is killed."""


def count_writes(stage: Stage, operation: Operation = PUBLISH, *, mutant: str = "") -> int:
    """How many writes the operation takes if nobody kills its publisher."""
    assert stage.run("counted", operation, mutant=mutant) == 0
    assert 4 < stage.proxy.traffic.writes <= MOST_WRITES
    return stage.proxy.traffic.writes


@pytest.mark.parametrize(
    ("operation", "conditional"),
    [
        pytest.param(PUBLISH, False, marks=pytest.mark.slow),
        (FIRST_PUBLISH, True),
        pytest.param(UNDO, False, marks=pytest.mark.slow),
        (REINSTATE, True),
        (SIGN_AGAIN, False),
        (AGE_OUT, True),
    ],
    ids=str,
)
def test_killed_after_any_write_it_leaves_the_old_or_the_new_and_the_next_run_completes_it(
    stage: Stage, keyring: Path, operation: Operation, capsys: pytest.CaptureFixture[str]
) -> None:
    points = range(1, count_writes(stage, operation) + 1)
    before = [operation.before(suite) for suite in operation.suites]
    after = [operation.after(suite) for suite in operation.suites]
    runs_before = sum(machine.runs for machine in stage.machines)
    left: list[list[State]] = []
    for point in points:
        bucket = stage.die(point, operation)
        states = [stage.suite(bucket, suite).state() for suite in operation.suites]
        # The files were checked above. Apt also installs: after each write of a publish, else once per state.
        if operation.suites == SUITES and (operation == PUBLISH or states not in left):
            assert stage.installed(bucket) == [state.offered[-1] for state in states]
        left.append(states)

        assert stage.run(bucket, operation) == 0
        for suite, state in zip(operation.suites, after, strict=True):
            stage.suite(bucket, suite).assert_complete(state, keyring)
            untouched = stage.suite("untouched", suite).in_release()
            assert stage.suite(bucket, suite).in_release() != untouched
    # Each suite has the old state up to some write and the new one from then on, one suite after the other.
    steps = [[*after[:count], *before[count:]] for count in range(len(before) + 1)]
    assert without_repeats(left) == without_repeats(steps)
    runs = sum(machine.runs for machine in stage.machines) - runs_before
    with capsys.disabled():
        print(f"\n{operation}: killed at {len(points)} points; apt installed {runs} times, never wrongly")


def without_repeats(states: list[list[State]]) -> list[list[State]]:
    return [state for state, _ in itertools.groupby(states)]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_apt_fails_at_some_point_if_a_rule_of_the_commit_is_broken(stage: Stage, mutant: str) -> None:
    """A test of the tests: apt fails after at least one of the writes."""
    points = range(1, count_writes(stage, mutant=mutant) + 1)

    def install_at_each_point() -> None:
        for point in points:
            stage.installed(stage.die(point, mutant=mutant))

    with pytest.raises(AptFailed, match=APT_COMPLAINS):
        install_at_each_point()


def test_missing_by_hash_files_are_noticed_also_where_apt_falls_back_to_others(stage: Stage) -> None:
    """A test of the tests: once everything is written, apt succeeds with the plain names."""
    count_writes(stage, mutant="no_by_hash")
    stage.installed("counted")
    with pytest.raises(FileNotFoundError, match="by-hash"):
        stage.suite("counted", "bookworm").assert_whole()


# A client that has read InRelease when the suite changes


def install_while(stage: Stage, change: Callable[[], object]) -> str:
    """What a user of bookworm installs if the change happens after apt read InRelease, before the indices."""
    stage.website.before_in_release = change
    return stage.machines[0].install(f"{stage.website.url}/counted/debian")


def test_a_client_between_two_states_is_served_the_old_one_as_by_hash_files_are_kept(stage: Stage) -> None:
    assert install_while(stage, lambda: stage.run("counted")) == OLD["bookworm"].version
    assert stage.suite("counted", "bookworm").entries()
    assert stage.installed("counted") == [NEW[suite].version for suite in SUITES]


def test_a_client_between_two_states_would_fail_if_by_hash_files_were_purged(stage: Stage) -> None:
    """A test of the tests."""
    suite = stage.suite("counted", "bookworm")
    before = {
        (suite.path / entry["name"]).parent / "by-hash/SHA256" / entry["sha256"] for entry in suite.entries()
    }

    def switch() -> None:
        stage.run("counted")
        for path in before:
            path.unlink()

    with pytest.raises(AptFailed, match=APT_COMPLAINS):
        install_while(stage, switch)
