"""Publishing a plan: which suites its packages go to, what holds them back, and what takes them away."""

from __future__ import annotations

import lzma
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.apt import index, packages_index, release_file, signing, undo
from hhvm_packaging.apt.sources_index import SOURCES
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.publishing import candidates, exposure
from hhvm_packaging.publishing.candidates import Candidate
from hhvm_packaging.reporting import reports
from hhvm_packaging.runs.run import Run
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Failure
from testing.built import BOOKWORM, RUN, SUITES, TRIXIE, Bench, bench, fail
from testing.debs import Deb

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest

    from hhvm_packaging.planning.plans import PublishPlan

__all__ = ["bench"]


def test_a_release_goes_to_the_distribution_and_to_its_series(bench: Bench) -> None:
    assert bench.update(bench.build("1.0.0")) == ["debian-12-bookworm", "debian-13-trixie"]
    bench.update(bench.build("1.1.0"))
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm", "1.1.0-1~bookworm"]
    assert bench.offered("bookworm-1.0") == ["1.0.0-1~bookworm"]
    assert bench.offered("trixie-1.1") == ["1.1.0-1~trixie"]


def test_a_suite_has_the_architectures_that_the_settings_name(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    bench.settings = bench.settings.model_copy(update={"architectures": ["amd64", "arm64"]})
    bench.update(bench.build("1.0.1", architectures=["amd64", "arm64"]))
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm", "1.0.1-1~bookworm"]
    assert bench.offered("bookworm", "arm64") == ["1.0.1-1~bookworm"]


def test_an_architecture_that_the_settings_do_not_name_is_refused(bench: Bench) -> None:
    plan = bench.build("1.0.0", architectures=["amd64", "arm64"])
    with pytest.raises(candidates.NoCandidate, match=r"_arm64\.deb: the suite is for amd64 and all"):
        bench.propose(plan)


def test_what_was_built_before_sources_were_described_is_published_without_them(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    assert bench.suite("bookworm").read().sources.stanzas == ()


def test_a_second_publish_changes_nothing(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    bench.update(plan)
    before = bench.snapshots("bookworm")
    assert bench.update(plan) == [BOOKWORM, TRIXIE]
    assert bench.snapshots("bookworm") == before
    assert "debian bookworm, now " in bench.propose(plan)[BOOKWORM].difference
    assert "nothing changes" in bench.propose(plan)[BOOKWORM].difference


def test_distributions_are_published_side_by_side_and_share_the_requests_at_once(bench: Bench) -> None:
    under_way: dict[int, str] = {}
    seen: list[list[str]] = []
    lock = threading.Lock()

    def begun(request: AWSPreparedRequest, **_: object) -> None:
        with lock:
            under_way[threading.get_ident()] = request.url
            seen.append(list(under_way.values()))

    def answered(**_: object) -> None:
        with lock:
            del under_way[threading.get_ident()]

    plan = bench.build("1.0.0")
    bench.settings = bench.settings.model_copy(update={"requests_at_once": 4})
    bench.store.downloads.s3.meta.events.register("before-send.s3", begun)
    bench.store.downloads.s3.meta.events.register("response-received.s3", answered)
    bench.update(plan)
    assert under_way == {}
    assert max(len(urls) for urls in seen) <= 4
    assert any(all(any(suite in url for url in urls) for suite in SUITES) for urls in seen)


# The candidate


def test_a_candidate_is_signed_and_has_what_apt_reads_and_no_user_sees_it(bench: Bench) -> None:
    before = bench.public()
    candidate = bench.propose(bench.build("1.0.0"))[BOOKWORM]
    assert bench.public() == before
    files = {file.name: bench.store.scratch.get(file.key) or b"" for file in candidate.files}
    in_release = release_file.Release.parse(
        signing.signed_text(files["dists/bookworm-1.0/InRelease"], files["hhvm.gpg.key"])
    )
    indices = [f"{name}.xz" for name in (packages_index.PACKAGES, SOURCES)]
    for name in indices:
        content = files[f"dists/bookworm-1.0/{name}"]
        assert index.sha256(content) == in_release.sha256[name]
        assert index.sha256(lzma.decompress(content)) == in_release.sha256[name.removesuffix(".xz")]
    assert {name.removeprefix("dists/bookworm-1.0/") for name in files if "bookworm-1.0/" in name} == {
        "InRelease",
        *indices,
    }
    assert candidate.suites["bookworm-1.0"].offered == ("hhvm=1.0.0-1~bookworm",)


def test_a_candidate_says_every_package_index_and_file_that_changes(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    difference = bench.propose(bench.build("1.0.1"))[BOOKWORM].difference
    deb = Deb("1.0.1-1~bookworm")
    assert "  + hhvm 1.0.1-1~bookworm amd64" in difference
    assert "  main/binary-amd64/Packages: 1 to 2 packages, " in difference
    assert f"  pool: debian/pool/main/h/hhvm/{deb.name}, {deb.artifact.size:,} bytes" in difference


def test_where_publishing_was_not_planned_nothing_is_exposed_and_it_says_what_to_do(bench: Bench) -> None:
    before = bench.public()
    with pytest.raises(exposure.Held, match=r"`plan` failed: its log says why\. Fix that and clear"):
        exposure.update(None, bench.store, bench.signer, bench.settings)
    assert bench.public() == before


def test_a_candidate_that_apt_has_not_accepted_is_not_exposed(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    bench.propose(plan)[BOOKWORM].accept(bench.store)
    with pytest.raises(exposure.Held, match=r"nothing is exposed, because debian-13-trixie failed"):
        bench.expose(plan)
    assert bench.offered("bookworm") == []
    with pytest.raises(reports.Incomplete) as red:
        bench.report(plan)
    assert "FAILED HHVM 1.0.0, debian-13-trixie, verify_candidate" in str(red.value)
    assert "held   HHVM 1.0.0, debian-12-bookworm: users do not get it from bookworm" in str(red.value)


def test_the_others_are_exposed_where_the_run_says_so_and_the_report_is_red(bench: Bench) -> None:
    plan = bench.build("1.0.0").model_copy(update={"hold_all": False})
    bench.propose(plan)[BOOKWORM].accept(bench.store)
    assert bench.expose(plan) == [BOOKWORM]
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm"]
    assert bench.offered("trixie") == []
    with pytest.raises(reports.Incomplete) as red:
        bench.report(plan)
    assert "FAILED HHVM 1.0.0, debian-13-trixie, verify_candidate" in str(red.value)
    assert "public HHVM 1.0.0, debian-12-bookworm: bookworm, bookworm-1.0" in str(red.value)


def test_a_distribution_without_a_candidate_is_named_with_the_reason(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    manifest = PackageManifest.read(bench.store, plan.release, TRIXIE)
    assert manifest
    bench.store.scratch.delete(manifest.directory + manifest.packages[0].name)
    candidate = bench.propose(plan)[TRIXIE]
    assert "build it again" in str(candidate.fault)
    with pytest.raises(
        reports.Incomplete, match=r"FAILED HHVM 1\.0\.0, debian-13-trixie, candidate: .* build it"
    ):
        bench.report(plan)


def test_where_no_distribution_has_a_candidate_publishing_ends_there(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    for distro in plan.distros:
        bench.store.scratch.delete(keys.manifest(plan.release, distro.name))
    with pytest.raises(candidates.NoCandidate, match=r"debian-12-bookworm: .*its manifest is gone"):
        bench.propose(plan)


def test_a_suite_that_changed_since_its_candidate_is_left_alone(bench: Bench) -> None:
    slow, fast = bench.build("1.0.0"), bench.build("1.0.1")
    for candidate in bench.propose(slow).values():
        candidate.accept(bench.store)
    bench.update(fast)
    with pytest.raises(exposure.Outdated, match="clear `candidate` and what follows"):
        bench.expose(slow)
    assert bench.offered("bookworm") == ["1.0.1-1~bookworm"]
    bench.update(slow)
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm", "1.0.1-1~bookworm"]


def test_a_publish_that_died_between_two_suites_goes_on_with_the_same_candidate(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    for candidate in bench.propose(plan).values():
        candidate.accept(bench.store)
    bench.settings = bench.settings.model_copy(update={"suites": {"release": ["DISTRO"]}})
    bench.expose(plan.model_copy(update={"distros": plan.distros[:1], "hold_all": False}))
    assert bench.expose(plan) == [BOOKWORM, TRIXIE]
    assert bench.offered("trixie") == ["1.0.0-1~trixie"]


def test_a_dry_run_reports_what_would_change(bench: Bench) -> None:
    plan = bench.build("1.0.0").model_copy(update={"dry_run": True})
    before = bench.public()
    for candidate in bench.propose(plan).values():
        candidate.accept(bench.store)
    said = bench.report(plan)
    assert "would change debian-13-trixie:\ndebian trixie, now not there:\n  + hhvm 1.0.0-1~trixie" in said
    assert bench.public() == before


# The report


def test_a_refused_candidate_is_reported_with_its_class_its_reason_and_the_end_of_its_log(
    bench: Bench,
) -> None:
    plan = bench.build("1.0.0")
    bench.propose(plan)[BOOKWORM].accept(bench.store)
    other = Run(RUN.url, RUN.dag_id, "another-run")
    fail(bench.store, other, "verify_candidate", "verify-candidate", TRIXIE, Failure.TIME, "not of this run")
    said = "".join(f"line {number}\n" for number in range(100))
    log = fail(bench.store, RUN, "verify_candidate", "verify-candidate", TRIXIE, Failure.JOB, said)
    with pytest.raises(reports.Incomplete) as red:
        bench.report(plan)
    lines = str(red.value).splitlines()
    first = lines.index("FAILED HHVM 1.0.0, debian-13-trixie, verify_candidate: the job failed: a reason")
    assert lines[first + 1 : first + 5] == [
        "  page: https://airflow.example/dags/hhvm_publish_release/runs/a-run/tasks/verify_candidate/mapped/1",
        f"  log: {log}",
        "  its last lines:",
        "  | line 70",
    ]
    assert "  | line 99" in lines


def test_what_fails_after_the_packages_are_public_is_reported_too(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    bench.update(plan)
    failing = ("publish_release_source", "invalidate_cdn", "update_indices", "verify_published_1")
    states = dict.fromkeys(failing, "failed")
    run = Run(RUN.url, RUN.dag_id, RUN.run_id, states, lambda task, index: f"why {task} {index}\nand more")
    with pytest.raises(reports.Incomplete) as red:
        bench.report(plan, run)
    failed = [line for line in str(red.value).splitlines() if line.startswith("FAILED")]
    assert failed == [
        "FAILED HHVM 1.0.0, invalidate_cdn: why invalidate_cdn -1",
        "FAILED HHVM 1.0.0, update_indices: why update_indices -1",
        "FAILED HHVM 1.0.0, publish_release_source: why publish_release_source -1",
        "FAILED HHVM 1.0.0, debian-13-trixie, verify_published: why verify_published 1",
    ]


def test_the_first_nightly_after_an_outage_names_the_days_that_have_none(bench: Bench) -> None:
    first, last = (bench.build(version) for version in ("2026.11.20", "2026.11.24"))
    bench.update(first)
    assert "there is no nightly" not in bench.report(first)
    bench.update(last)
    assert (
        "note   there is no nightly of 2026.11.21, 2026.11.22, 2026.11.23, although nightly_schedule has it. "
        "To build one after all, trigger hhvm_build_and_publish with that version"
    ) in bench.report(last)


def test_a_plan_that_failed_is_reported_in_its_own_words(bench: Bench) -> None:
    run = Run(RUN.url, RUN.dag_id, RUN.run_id, {"plan": "failed"}, lambda task, _: f"why {task}")
    with pytest.raises(reports.Incomplete, match=r"nothing was published, because `plan` failed: why plan\n"):
        reports.report_publish(None, bench.store, bench.settings, run)


# Taking back


def undoing(plan: PublishPlan, to: str | None = None) -> PublishPlan:
    return plan.model_copy(update={"action": "undo", "undo_to": to})


def test_an_undo_takes_back_one_version_from_all_its_suites_and_leaves_what_came_since(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    bad = bench.build("1.0.1")
    bench.update(bad)
    bench.update(bench.build("1.0.2"))
    bench.update(undoing(bad))
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm", "1.0.2-1~bookworm"]
    assert bench.offered("bookworm-1.0") == ["1.0.0-1~bookworm", "1.0.2-1~bookworm"]
    assert bench.offered("trixie") == ["1.0.0-1~trixie", "1.0.2-1~trixie"]


def test_an_undo_and_a_release_again_mean_the_release_however_it_is_spelled(bench: Bench) -> None:
    bench.update(bench.build("26.09.28"))
    bad = bench.build("26.09.29")
    bench.update(bad)
    suite = bench.suite("bookworm")
    withdrawn = undo.withdraw(suite, suite.read(), "26.9.29").removed
    assert withdrawn == {("hhvm", "26.09.29-1~bookworm", "amd64")}
    bench.update(undoing(bad))
    assert undo.reinstate(suite, "no version", bench.signer) == ()
    assert undo.reinstate(suite, "26.9.29-1~bookworm", bench.signer) == ("hhvm 26.09.29-1~bookworm amd64",)


def test_a_release_is_not_published_in_a_second_spelling_also_if_the_first_was_withdrawn(
    bench: Bench,
) -> None:
    first = bench.build("26.09.29")
    bench.update(first)
    for plan in (first, undoing(first)):
        bench.update(plan)
        with pytest.raises(
            candidates.NoCandidate,
            match=r"hhvm 26\.9\.29-1~bookworm is the same version as 26\.09\.29-1~book",
        ):
            bench.propose(bench.build("26.9.29"))


def test_an_undo_to_a_time_puts_the_suites_back_to_all_that_they_were(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    # The distributions are published beside one another; either may be the last.
    good = max(bench.snapshots(suite)[0].partition("-")[0] for suite in ("bookworm-1.0", "trixie-1.0"))
    while f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}" <= good:
        time.sleep(0.05)  # States of one second are not told apart by time.
    bad = bench.build("1.0.1")
    bench.update(bad)
    bench.update(bench.build("1.0.2"))
    bench.update(undoing(bad, good))
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm"]
    assert bench.offered("trixie-1.0") == ["1.0.0-1~trixie"]


def test_an_undo_to_before_the_first_publish_is_refused_with_the_states_there_were(bench: Bench) -> None:
    plan = bench.build("1.0.0")
    bench.update(plan)
    with pytest.raises(candidates.NoCandidate, match=f"newest first: {bench.snapshots('bookworm')[0]}"):
        bench.propose(undoing(plan, "20200101T000000Z"))


def test_an_undo_of_what_was_never_published_is_refused(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    with pytest.raises(candidates.NoCandidate, match=r"HHVM 1\.0\.1 is not published there"):
        bench.propose(undoing(bench.build("1.0.1")))


def test_an_undo_expects_apt_to_offer_the_last_good_version_and_tells_users_how_to_get_it(
    bench: Bench,
) -> None:
    bench.update(bench.build("1.0.0"))
    bad = bench.build("1.0.1")
    bench.update(bad)
    for plan in (undoing(bad), undoing(bad)):  # again does no harm
        bench.update(plan)
        candidate = Candidate.read(bench.store, plan.release, BOOKWORM)
        assert candidate
        assert candidate.expected.splitlines()[0] == "bookworm hhvm=1.0.0-1~bookworm !hhvm=1.0.1-1~bookworm"
    bench.update(bad.model_copy(update={"action": "release again"}))
    bench.update(undoing(bad))
    downgrade = "apt-get update && apt-get install --allow-downgrades hhvm=1.0.0-1~bookworm"
    assert f"who installed what was withdrawn goes back with: {downgrade}" in bench.report(undoing(bad))


def test_users_of_a_suite_are_told_what_was_withdrawn_until_it_is_released_again(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    bad = bench.build("1.0.1")
    bench.update(bad)
    assert undo.read_notice(bench.suite("bookworm")) is None
    bench.update(undoing(bad))
    told = undo.read_notice(bench.suite("bookworm"))
    assert told
    assert told.withdrawn == ("hhvm 1.0.1-1~bookworm amd64",)
    assert told.downgrade.endswith("--allow-downgrades hhvm=1.0.0-1~bookworm")
    bench.update(bad.model_copy(update={"action": "release again"}))
    assert undo.read_notice(bench.suite("bookworm")) is None


def test_what_was_withdrawn_comes_back_only_when_somebody_releases_it_again(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    bad = bench.build("1.0.1")
    bench.update(bad)
    bench.update(undoing(bad))
    withdrawn = "was withdrawn from debian bookworm: hhvm 1.0.1-1~bookworm amd64"
    with pytest.raises(candidates.NoCandidate, match=withdrawn):
        bench.propose(bad)
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm"]
    bench.update(bad.model_copy(update={"action": "release again"}))
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm", "1.0.1-1~bookworm"]
    assert bench.update(bad) == [BOOKWORM, TRIXIE]
