"""The canary over a repository that was really published, with one thing wrong at a time."""

from __future__ import annotations

import re
import subprocess
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import HttpUrl

from demo import jobs_network, signing_key
from hhvm_packaging.apt import index
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration import connections
from hhvm_packaging.publishing.steps import LookAsUser
from hhvm_packaging.reporting import reports
from hhvm_packaging.runs.run import Run
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import PUBLIC_KEY
from hhvm_packaging.upkeep import canary
from hhvm_packaging.upkeep.pruning import Pruning
from hhvm_packaging.workers.docker import DockerWorker
from hhvm_packaging.workers.job import JobFailed
from testing.apt_client import Website, website
from testing.built import BOOKWORM, SUITES, TRIXIE, Bench, bench
from testing.sinks import web_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from hhvm_packaging.planning.plans import CanaryPlan

__all__ = ["bench"]

DEB = "debian/pool/main/h/hhvm/hhvm_1.0.0-1~bookworm_amd64.deb"
PACKAGES = "debian/dists/bookworm/main/binary-amd64/Packages"
NOW = datetime.now(UTC)
PATIENCE = canary.Patience()
ATTEMPT = AttemptId.new()


class Public:
    """What users see of a bench, and may find broken."""

    def __init__(self, bench: Bench, site: Website, directory: Path) -> None:
        self.bench, self.site, self.directory = bench, site, directory
        bench.settings = bench.settings.model_copy(
            update={
                "public_url": HttpUrl(site.url),
                "suites": {"nightly": ["DISTRO"], "release": ["DISTRO"]},
                "nightly_schedule": "",
                "canary_patience": 0,
            }
        )

    def file(self, key: str) -> Path:
        """Where the object is."""
        return self.directory / key

    def plan(self) -> CanaryPlan:
        """What the task ``plan`` finds."""
        return canary.plan_canary(self.bench.store, self.bench.settings)

    def check(self, now: datetime | None = None, patience: canary.Patience = PATIENCE) -> list[str]:
        """What the task ``check`` finds."""
        found = canary.check(self.plan(), self.bench.store, self.bench.settings, now=now, patience=patience)
        return [finding.replace(self.site.url, "") for finding in found]

    def expect_nightlies(self) -> None:
        """From now on one is expected every day."""
        self.bench.settings = self.bench.settings.model_copy(update={"nightly_schedule": "@daily"})

    def sign(self, suite: str, text: bytes) -> None:
        """Make this the suite's Release, as if it had been published."""
        directory = self.file(f"debian/dists/{suite}")
        (directory / "Release").write_bytes(text)
        (directory / "Release.gpg").write_bytes(self.bench.signer.detach(text))
        (directory / "InRelease").write_bytes(self.bench.signer.clearsign(text))


@pytest.fixture
def public(bench: Bench, s3_directory: Path, docker_engine: None) -> Iterator[Public]:
    """1.0.0, published for both distributions."""
    directory = s3_directory / bench.settings.downloads_bucket
    with website(directory, jobs_network.gateway()) as site:
        public = Public(bench, site, directory)
        bench.update(bench.build("1.0.0"))
        yield public


def test_nothing_is_wrong_with_what_was_published(public: Public) -> None:
    assert [distro.name for distro in public.plan().distros] == [BOOKWORM, TRIXIE]
    assert public.check() == []


def test_a_new_deployment_has_nothing_to_look_at(bench: Bench) -> None:
    with pytest.raises(canary.NothingPublished, match=f"{bench.settings.downloads_bucket} has no suite yet"):
        canary.plan_canary(bench.store, bench.settings)


def test_a_pool_file_that_is_missing_is_named(public: Public) -> None:
    public.file(DEB).unlink()
    assert public.check() == [f"debian bookworm: /{DEB}: HTTP 404"]


def test_a_pool_file_that_is_cut_short_is_named_with_both_lengths(public: Public) -> None:
    content = public.file(DEB).read_bytes()
    public.file(DEB).write_bytes(content[:-1])
    assert public.check() == [
        f"debian bookworm: /{DEB}: {len(content) - 1} bytes, but the index says {len(content)}"
    ]


@pytest.mark.parametrize("form", ["", ".gz", ".xz"])
def test_an_index_that_is_not_what_inrelease_says_is_named_with_both_digests(
    public: Public, form: str
) -> None:
    public.file(PACKAGES + form).write_bytes(b"stale")
    [finding] = public.check()
    assert finding.startswith(
        f"debian bookworm: /{PACKAGES}{form}: SHA-256 is {index.sha256(b'stale')}, but InRelease says "
    )


def test_an_index_that_is_missing_under_its_digest_is_named(public: Public) -> None:
    [by_hash, *_] = public.file("debian/dists/bookworm/main/binary-amd64/by-hash/SHA256").iterdir()
    by_hash.unlink()
    assert public.check() == [f"debian bookworm: /{by_hash.relative_to(public.directory)}: HTTP 404"]


def test_everything_that_is_wrong_is_told_at_once(public: Public) -> None:
    public.file(DEB).unlink()
    public.file(PACKAGES).unlink()
    public.file("debian/dists/trixie/Release").write_bytes(b"stale")
    assert sorted(public.check()) == [
        f"debian bookworm: /{PACKAGES}: HTTP 404",
        f"debian bookworm: /{DEB}: HTTP 404",
        "debian trixie: /debian/dists/trixie/Release is not what InRelease says",
    ]


def test_a_suite_that_vanished_is_named(public: Public) -> None:
    public.file("debian/dists/trixie/InRelease").unlink()
    assert public.check() == ["debian trixie: /debian/dists/trixie/InRelease: HTTP 404"]


def test_a_signature_that_the_published_key_did_not_make_is_named(public: Public) -> None:
    other = signing_key.make("Somebody else <else@example.org>")[1]
    public.file(PUBLIC_KEY).write_text(other)
    found = public.check()
    assert {finding.partition("/InRelease: ")[0] for finding in found if "/InRelease: " in finding} == {
        f"debian {suite}: /debian/dists/{suite}" for suite in ("bookworm", "trixie")
    }


def test_a_public_key_that_is_missing_is_named(public: Public) -> None:
    public.file(PUBLIC_KEY).unlink()
    assert public.check() == [f"/{PUBLIC_KEY}: HTTP 404"]


@pytest.mark.parametrize(
    ("after", "said"), [(0, "in 29 days, expires on"), (31, "expired on")], ids=["soon", "expired"]
)
def test_a_key_that_expires_is_named_with_what_it_signs(
    s3: S3Client, s3_directory: Path, tmp_path: Path, after: int, said: str
) -> None:
    private, key = signing_key.make("HHVM tests <hhvm@example.org>", "30d")
    settings = Settings(lock_directory=tmp_path)
    directory = s3_directory / settings.downloads_bucket
    with Signer(private) as signer, website(directory) as site:
        bench = Bench(s3, signer, settings)
        bench.store.downloads.put(PUBLIC_KEY, key.encode())
        public = Public(bench, site, directory)
        bench.update(bench.build("1.0.0"))
        [finding] = public.check(now=datetime.now(UTC) + timedelta(days=after))
        assert finding.startswith(f"/{PUBLIC_KEY}: the key {signer.fingerprint} {said} ")
        assert "it signs debian bookworm, debian trixie." in finding


def test_a_release_file_that_names_an_index_outside_the_suite_is_named(public: Public) -> None:
    text = public.file("debian/dists/bookworm/Release").read_bytes()
    public.sign("bookworm", text + f" {'0' * 64} 0 ../Packages\n".encode())
    [finding] = public.check()
    assert finding.startswith("debian bookworm: InRelease: index: '../Packages' is not allowed")


def test_a_release_file_of_the_future_is_named(public: Public) -> None:
    found = public.check(now=datetime.now(UTC) - timedelta(hours=1))
    assert len(found) == 2
    assert re.fullmatch(r"debian bookworm: Release is of [-0-9: ]+ UTC, which is in the future", found[0])


def test_a_release_file_that_is_valid_no_more_is_named(public: Public) -> None:
    text = public.file("debian/dists/bookworm/Release").read_bytes()
    until = b"Valid-Until: Thu, 01 Oct 2020 00:00:00 GMT\n"
    public.sign("bookworm", text.replace(b"Acquire-By-Hash", until + b"Acquire-By-Hash"))
    assert public.check() == [
        "debian bookworm: Release was valid until 2020-10-01 00:00 UTC: apt refuses it. Publish to it, or "
        "run bin/apt-suite sign debian bookworm"
    ]


def test_a_release_file_that_is_soon_valid_no_more_is_named(public: Public) -> None:
    text = public.file("debian/dists/bookworm/Release").read_bytes()
    until = NOW + timedelta(days=8)
    field = f"Valid-Until: {until:%a, %d %b %Y %H:%M:%S} GMT\n".encode()
    public.sign("bookworm", text.replace(b"Acquire-By-Hash", field + b"Acquire-By-Hash"))
    assert public.check(NOW + timedelta(days=5)) == []
    assert public.check(NOW + timedelta(days=7)) == [
        f"debian bookworm: Release is valid until {until:%Y-%m-%d %H:%M} UTC only. Publish to it, or run "
        "bin/apt-suite sign debian bookworm"
    ]


def test_a_published_key_that_debian_13_refuses_is_named(public: Public, tmp_path: Path) -> None:
    """The private key was mended, but users have the public one of before."""
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", f"--homedir={home}", "--batch", "--pinentry-mode=loopback", "--passphrase="]

    def run(*arguments: str) -> bytes:
        return subprocess.run([*gpg, *arguments], check=True, capture_output=True).stdout

    run("--cert-digest-algo=SHA1", "--quick-generate-key", "HHVM <hhvm@example.org>", "rsa3072", "sign")
    published = run("--armor", "--export")
    fingerprint = next(
        line for line in run("--list-keys", "--with-colons").decode().splitlines() if "fpr:" in line
    )
    run("--quick-set-expire", fingerprint.split(":")[9], "2y")
    text = public.file("debian/dists/bookworm/Release").read_bytes()
    with Signer(run("--export-secret-keys")) as public.bench.signer:
        for suite in SUITES:
            public.sign(suite, text)
    public.file(PUBLIC_KEY).write_bytes(published)
    found = [finding for finding in public.check() if PUBLIC_KEY in finding and "Debian 13" in finding]
    # One finding for both, unless they were signed in different seconds: the reason has the time.
    assert " ".join(found).count("debian bookworm") == " ".join(found).count("debian trixie") == 1
    for finding in found:
        assert finding.startswith(f"/{PUBLIC_KEY}: apt of Debian 13 refuses what signs debian ")
        assert "SHA1 is not considered secure" in finding
        assert "docs/signing.md" in finding


@pytest.mark.parametrize("content", [b"", b"\n\n", b"<html>we will be back</html>"])
def test_an_in_release_that_is_none_is_named(public: Public, content: bytes) -> None:
    public.file("debian/dists/bookworm/InRelease").write_bytes(content)
    found = public.check()
    assert any(finding.startswith("debian bookworm: InRelease: ") for finding in found)
    assert not any("trixie" in finding for finding in found)


def test_what_a_publish_under_way_leaves_half_done_is_no_alarm(public: Public) -> None:
    def publish() -> None:
        public.site.before_in_release = None
        public.bench.update(public.bench.build("1.0.1"))

    public.site.before_in_release = publish
    assert public.check() == []
    assert public.site.before_in_release is None


def test_a_server_that_does_not_answer_is_not_asked_for_every_file(public: Public) -> None:
    with web_server() as deaf:
        deaf.status = 501
        public.bench.settings = public.bench.settings.model_copy(
            update={"public_url": HttpUrl(f"http://127.0.0.1:{deaf.port}")}
        )
        found = public.check(patience=canary.Patience(pauses=(0, 0), max_failures=2))
    assert [finding.partition(" ")[2].rpartition(": ")[2] for finding in found[:-1]] == ["HTTP 501"] * 2
    assert found[-1].endswith("/: 2 requests failed; no more are sent")


# Nightlies


def test_without_a_schedule_no_nightly_is_missed(public: Public) -> None:
    assert public.check(now=NOW + timedelta(days=365)) == []


def test_a_nightly_that_did_not_come_is_missed_in_each_suite_that_it_goes_to(public: Public) -> None:
    public.bench.update(public.bench.build(f"{NOW:%Y.%m.%d}"))
    public.expect_nightlies()
    assert public.check() == []
    midnight = NOW.replace(hour=0, minute=0, second=0)
    assert public.check(now=midnight + timedelta(hours=47)) == []
    found = public.check(now=midnight + timedelta(hours=73))
    for suite in ("bookworm", "trixie"):
        [missing] = [line for line in found if line.startswith(f"debian {suite}: nightlies are missing")]
        assert f"The newest one is {NOW:%Y.%m.%d}" in missing
        days = [f"{NOW + timedelta(days=day):%Y.%m.%d}" for day in (1, 2)]
        assert f"nightlies are missing: {', '.join(days)}. " in missing
        assert any(line.startswith(f"debian {suite}: Release is of ") for line in found)


def test_a_day_that_the_schedule_leaves_out_is_no_missing_nightly(public: Public) -> None:
    public.bench.update(public.bench.build(f"{NOW:%Y.%m.%d}"))
    weekly = {"nightly_schedule": f"0 10 * * {NOW:%a}"}
    public.bench.settings = public.bench.settings.model_copy(update=weekly)
    midnight = NOW.replace(hour=0, minute=0, second=0)
    assert public.check(now=midnight + timedelta(days=7, hours=23)) == []
    assert any(
        "nightlies are missing" in line for line in public.check(now=midnight + timedelta(days=8, hours=1))
    )


def test_the_first_nightly_of_a_new_deployment_is_missed_after_as_long(public: Public) -> None:
    now = datetime.now(UTC)
    public.expect_nightlies()
    assert public.check(now=now + timedelta(hours=1)) == []
    assert "debian trixie: there is no nightly, though nightly_schedule is set" in public.check(
        now=now + timedelta(hours=49)
    )


# The look that apt takes


@pytest.fixture
def worker(job_image: str, public: Public, tmp_path: Path) -> DockerWorker:
    settings = public.bench.settings.model_copy(update={"docker_work_directory": tmp_path / "work"})
    return DockerWorker(connections.docker_worker().engine, settings)


def look(public: Public, worker: DockerWorker) -> str:
    """What the task ``look_as_user`` does for bookworm, from its start to its end. Raises JobFailed."""
    plan = public.plan()
    step = LookAsUser(plan, public.bench.store, public.bench.settings, plan.distro(BOOKWORM))
    name, job = f"hhvm-test-{uuid.uuid4().hex}", step.job(ATTEMPT)
    try:
        worker.start(name, ATTEMPT, job, {"hhvm.test": "yes"}, public.bench.store)
        deadline = time.monotonic() + 300
        while worker.state(name).phase != "ended":
            assert time.monotonic() < deadline, "apt did not end"
            time.sleep(0.1)
        return step.accept(job, worker.collect(name, ATTEMPT, job, public.bench.store))
    finally:
        worker.remove(name)


def test_apt_reads_every_suite_and_can_install_from_it(public: Public, worker: DockerWorker) -> None:
    plan = public.plan()
    step = LookAsUser(plan, public.bench.store, public.bench.settings, plan.distro(BOOKWORM))
    assert step.job(ATTEMPT).files["expected"] == "bookworm hhvm"
    assert look(public, worker) == "HHVM canary, debian-12-bookworm, look-as-user: done"


def test_what_apt_cannot_install_any_more_is_told_in_its_words(public: Public, worker: DockerWorker) -> None:
    public.bench.update(public.bench.build("1.0.1", extra="Depends: libgone1\n"))
    with pytest.raises(JobFailed, match=r"libgone1[\s\S]*apt cannot install hhvm=1\.0\.1-1~bookworm"):
        look(public, worker)


# The report


RUN = Run("https://airflow.example", "hhvm_canary", "a-run", {"look_as_user_0": "success"})


def test_the_report_is_red_with_all_findings(public: Public) -> None:
    run = Run(RUN.url, RUN.dag_id, RUN.run_id, {"look_as_user_0": "success", "look_as_user_1": "failed"})
    with pytest.raises(reports.Incomplete) as red:
        reports.report_canary(public.plan(), ["one", "two"], public.bench.store, run)
    lines = str(red.value).splitlines()
    assert lines[0] == "What is published: 3 failed"
    assert {"WRONG  one", "WRONG  two"} <= set(lines)
    assert f"FAILED HHVM canary, {TRIXIE}, look_as_user: it is failed" in lines
    assert f"  page: {run.page('look_as_user', 1)}" in lines


def test_the_report_is_red_if_the_check_itself_failed(public: Public) -> None:
    run = Run(RUN.url, RUN.dag_id, RUN.run_id, {"check": "failed"})
    with pytest.raises(reports.Incomplete, match="FAILED HHVM canary, check: its log says why"):
        reports.report_canary(public.plan(), None, public.bench.store, run)


def test_the_report_is_green_where_all_is_well(public: Public) -> None:
    said = reports.report_canary(public.plan(), [], public.bench.store, RUN)
    assert said.splitlines()[0] == "What is published: all is well"


def test_the_logs_of_the_canary_age_out(public: Public) -> None:
    store, settings = public.bench.store, public.bench.settings
    store.scratch.put(keys.job_file("canary", "a-job", ATTEMPT, keys.LOG), b"")
    later = datetime.now(UTC) + timedelta(days=settings.scratch_days - 1)
    for now in (later, later + timedelta(days=2)):
        kept = list(store.scratch.keys(keys.jobs("canary")))
        assert kept
        Pruning(store, settings, dry_run=False, now=now).delete_scratch()
    assert list(store.scratch.keys(keys.jobs("canary"))) == []


# In turns


def requests(public: Public, now: datetime) -> list[str]:
    """The paths that a check asks for."""
    public.site.requests.clear()
    assert public.check(now) == []
    return list(public.site.requests)


def test_a_file_is_asked_for_at_once_when_it_is_new_and_else_once_a_day(public: Public) -> None:
    now = datetime.now(UTC)
    assert f"/{DEB}" in requests(public, now)
    assert f"/{DEB}" not in requests(public, now)
    public.bench.update(public.bench.build("1.0.1"))
    asked = requests(public, now)
    assert f"/{DEB.replace('1.0.0', '1.0.1')}" in asked
    assert f"/{DEB}" not in asked
    halves = [requests(public, now + timedelta(hours=hours)) for hours in (12, 24)]
    assert [f"/{DEB}" in paths for paths in halves].count(True) == 1
    assert [f"/{PACKAGES}" in paths for paths in halves].count(True) == 1


def test_a_suite_that_has_not_changed_costs_its_inrelease_and_one_form_of_each_index(public: Public) -> None:
    now = datetime.now(UTC)
    requests(public, now)
    asked = [path for path in requests(public, now) if "/dists/trixie/" in path]
    assert len(asked) == 3
    assert "/debian/dists/trixie/InRelease" in asked


def test_what_is_wrong_is_found_by_each_run_until_it_is_mended(public: Public) -> None:
    now = datetime.now(UTC)
    content = public.file(DEB).read_bytes()
    public.file(DEB).unlink()
    for _ in range(2):
        assert public.check(now) == [f"debian bookworm: /{DEB}: HTTP 404"]
    public.file(DEB).write_bytes(content)
    assert public.check(now) == []


def test_a_suite_that_is_wrong_is_wrong_for_each_run(public: Public) -> None:
    now = datetime.now(UTC)
    release = public.file("debian/dists/bookworm/Release")
    content = release.read_bytes()
    release.write_bytes(b"stale")
    for _ in range(2):
        assert len(public.check(now)) == 1
    release.write_bytes(content)
    assert public.check(now) == []
