"""What the index says of versions, whoever changed them, and how it is built again."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.planning import status_index
from hhvm_packaging.planning.hold_records import Asker, Hold, Person, Question, lift
from hhvm_packaging.planning.request import Request
from hhvm_packaging.planning.status_index import FailureEntry, HoldEntry, Index, VersionEntry
from hhvm_packaging.publishing import holds
from hhvm_packaging.release import Release
from hhvm_packaging.reporting import status
from hhvm_packaging.reporting.status import State, Status
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from testing.built import BOOKWORM, TRIXIE, Bench, bench
from testing.s3 import Died, client, recorded, writes
from testing.s3_proxy import Proxy

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

__all__ = ["bench"]

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
RUN = Asker(dag_id="hhvm_build_and_publish", run_id="a-run", by="anna", at=NOW)


def index(bench: Bench) -> Index:
    """What was recorded, and nothing that was found."""
    found = status_index.read(bench.store)
    assert found
    return found


def states(bench: Bench, version: str, known: Index | None = None) -> dict[str, State]:
    """What the version is for each distribution."""
    release = Release.find(version)
    assert release
    row = Status(known or index(bench), (BOOKWORM, TRIXIE), NOW).row(release)
    return {cell.distro: cell.state for cell in row.cells}


def both(state: State) -> dict[str, State]:
    return {BOOKWORM: state, TRIXIE: state}


def ask(bench: Bench, version: str) -> None:
    """Ask for an approval of what is built."""
    request = Request(version=version, distros=(BOOKWORM, TRIXIE), today=NOW.date(), require_approval=True)
    holds.ask_for_holds([request], RUN, bench.store)
    ready = holds.find_ready([request], bench.store, bench.settings)
    holds.ask([request], ready, RUN, bench.store, bench.settings)


def answer(bench: Bench, *, approved: bool = True) -> None:
    """What a person answers to the last question."""
    question = Question.read_all(bench.store, RUN.dag_id, RUN.run_id)[-1]
    ben = Person(id="ben", name="ben")
    holds.record_answer(question, ben, NOW, bench.store, bench.settings, approved=approved)


def test_a_version_is_built_then_published_then_withdrawn(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    assert states(bench, "1.0.0") == both(State.BUILT)
    bench.update(plan)
    assert states(bench, "1.0.0") == both(State.PUBLISHED)
    bench.update(plan.model_copy(update={"action": "undo"}))
    assert states(bench, "1.0.0") == both(State.WITHDRAWN)


def test_what_nobody_built_is_not_built(bench: Bench) -> None:
    bench.build("1.0.0")
    assert states(bench, "1.0.1") == both(State.NOT_BUILT)


def test_a_version_is_held_until_the_builds_that_it_has_are_approved(bench: Bench) -> None:
    bench.sign_source(bench.build("1.0.0"))
    ask(bench, "1.0.0")
    assert states(bench, "1.0.0") == both(State.HELD)
    answer(bench)
    assert states(bench, "1.0.0") == both(State.BUILT)
    bench.sign_source(bench.build("1.0.0", "Section: other\n"))
    assert states(bench, "1.0.0") == both(State.HELD)


def test_a_rejection_after_an_approval_counts(bench: Bench) -> None:
    bench.sign_source(bench.build("1.0.0"))
    ask(bench, "1.0.0")
    answer(bench)
    answer(bench, approved=False)
    assert states(bench, "1.0.0") == both(State.HELD)


def test_a_version_is_held_until_a_time_unless_that_is_lifted(bench: Bench) -> None:
    bench.build("1.0.0")
    Hold(version="1.0.0", asker=RUN, until=NOW + datetime.timedelta(hours=1)).write(bench.store)
    assert states(bench, "1.0.0") == both(State.HELD)
    lift("1.0.0", RUN, "it is urgent", bench.store, bench.settings)
    assert states(bench, "1.0.0") == both(State.BUILT)


def test_a_failure_counts_until_something_is_built_after_it(bench: Bench) -> None:
    failure = FailureEntry(
        step="make_binary_package",
        reason="no",
        dag_id="hhvm_build",
        run_id="r",
        at=datetime.datetime.now(datetime.UTC),
    )
    status_index.record_version(bench.store, "1.0.0", VersionEntry(failures={TRIXIE: failure}))
    assert states(bench, "1.0.0") == {BOOKWORM: State.NOT_BUILT, TRIXIE: State.FAILED}
    bench.build("1.0.0")
    assert states(bench, "1.0.0") == both(State.BUILT)


def test_what_is_being_built_is_told_although_it_failed_before(bench: Bench) -> None:
    bench.build("1.0.0")
    known = Status(index(bench), (BOOKWORM,), NOW, building={"1.0.0": frozenset({TRIXIE})})
    [release] = known.versions
    assert {cell.distro: cell.state for cell in known.row(release).cells} == {
        BOOKWORM: State.BUILT,
        TRIXIE: State.BUILDING,
    }


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"format": 0}', b'{"versions": []}'])
def test_an_index_that_is_lost_or_damaged_is_built_again_from_the_facts(
    bench: Bench, content: bytes | None
) -> None:
    plan = bench.build("1.0.0")
    bench.sign_source(plan)
    bench.update(plan)
    bench.sign_source(bench.build("1.0.1"))
    ask(bench, "1.0.1")
    before = index(bench)
    if content is None:
        bench.store.scratch.delete(keys.STATUS)
    else:
        bench.store.scratch.put(keys.STATUS, content)
    found = status.read_index(bench.store, bench.settings)
    assert found == index(bench)
    assert states(bench, "1.0.0") == both(State.PUBLISHED)
    assert states(bench, "1.0.1") == both(State.HELD)
    assert found.suites == before.suites
    assert [release.version for release in Status(found, (), NOW).versions] == ["1.0.1", "1.0.0"]


def test_an_index_that_was_begun_after_a_loss_is_not_taken_for_whole(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    bench.store.scratch.delete(keys.STATUS)
    bench.build("1.0.1")
    assert set(index(bench).versions) == {"1.0.1"}
    assert set(status.read_index(bench.store, bench.settings).versions) == {"1.0.0", "1.0.1"}


def test_what_a_writer_did_not_live_to_record_is_found_when_the_index_is_built_again(bench: Bench) -> None:
    bench.build("1.0.0")
    with recorded(bench.store.scratch.s3) as requests:
        bench.build("1.0.1")
    manifest = f"PutObject {keys.manifest(Release('1.0.1', nightly=False), BOOKWORM)}"
    with (
        pytest.raises(Died),
        recorded(bench.store.scratch.s3, die_after=writes(requests).index(manifest) + 1),
    ):
        bench.build("1.0.2")
    assert "1.0.2" not in index(bench).versions
    status.rebuild_index(bench.store, bench.settings)
    assert states(bench, "1.0.2") == {BOOKWORM: State.BUILT, TRIXIE: State.NOT_BUILT}


def test_an_older_index_that_is_merged_late_takes_nothing_back(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    old = status.find_facts(bench.store, bench.settings)
    bench.update(plan)
    bench.build("1.0.0", "Section: other\n")
    now = index(bench)
    merged = status_index.merge_in(bench.store, old)
    assert merged.suites == now.suites
    assert merged.versions == now.versions


def test_writers_of_several_machines_lose_nothing(conditional_s3: S3Client, tmp_path: Path) -> None:
    for bucket in (Settings().scratch_bucket, Settings().downloads_bucket):
        conditional_s3.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
        )
    # S3 checks a condition and writes at once, and moto one after the other.
    with Proxy(conditional_s3.meta.endpoint_url, one_write_at_a_time=True).running() as proxy:
        s3 = client(proxy.endpoint)

        def write(number: int) -> None:
            # Of a machine of its own: it shares no lock with the others.
            store = Store(s3, Settings(lock_directory=tmp_path / str(number), several_hosts=True))
            entry = VersionEntry(holds={"a" * 64: HoldEntry(by=str(number))})
            status_index.record_version(store, f"1.0.{number}", entry)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(1, 17)))
    found = status_index.read(Store(conditional_s3, Settings()))
    assert found
    assert len(found.versions) == 16


def test_a_failure_to_record_is_no_failure_of_who_records(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Store(bench.store.scratch.s3, Settings(scratch_bucket="no-such-bucket"))
    status_index.record_version(gone, "1.0.0", VersionEntry())
    assert "is found when the index is rebuilt" in caplog.text


def test_the_old_service_is_told_what_is_public_and_where_the_rest_would_be(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    row = Status(index(bench), (BOOKWORM, TRIXIE, "ubuntu-24.04-noble"), NOW).row(
        Release("1.0.0", nightly=False)
    )
    found = status.find_build_status(row, bench.store, bench.settings)
    assert not found.success
    assert found.succeeded == (BOOKWORM, TRIXIE)
    url = bench.settings.published("ubuntu/pool/main/h/hhvm/hhvm_1.0.0-1~noble_amd64.deb")
    assert found.failed["ubuntu-24.04-noble"] == url
    assert found.failed["source"] == bench.settings.published("source/hhvm-1.0.0.tar.gz")
    assert set(found.failed) == {"source", "source_gpg", "ubuntu-24.04-noble"}
