"""The console's pages and API: who may do what, what they say, and what they start."""

from __future__ import annotations

import datetime
import hashlib
import re
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi import FastAPI, HTTPException, Request
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples

from demo import signing_key
from hhvm_packaging.apt import deb_file
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.console import rendering, security
from hhvm_packaging.console.airflow import Airflow
from hhvm_packaging.console.app import PREFIX, make_app
from hhvm_packaging.console.deployment import Deployment, deployment
from hhvm_packaging.planning import status_index
from hhvm_packaging.planning.hold_records import Asker, Question
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.planning.request import Request as Asked
from hhvm_packaging.planning.status_index import FailureEntry, VersionEntry
from hhvm_packaging.publishing import holds
from hhvm_packaging.release import ALLOWED_FORM
from hhvm_packaging.reporting import markdown, status
from hhvm_packaging.runs.run import child_run_id
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Gate
from testing.built import BOOKWORM, TRIXIE, Bench
from testing.debs import Deb
from testing.s3 import Server, client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from hhvm_packaging.console.security import Visitor

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
ROLES = {"reader": "viewer", "anna": "op", "ben": "op"}
PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@dataclass(frozen=True)
class Packed(Deb):
    """A package that says which files it installs, as debhelper has it."""

    files: tuple[tuple[str, bytes], ...] = ()

    @cached_property
    def content(self) -> bytes:
        """Its bytes."""
        fields = dict(line.split(": ", 1) for line in self.control.splitlines() if not line.startswith(" "))
        return deb_file.make(fields, dict(self.files), time=0)


class RecordedAirflow(Airflow):
    """Airflow's API as the console calls it: what it was asked to change, and with which token."""

    def __init__(self, token: str, changes: list[tuple[str, str, Any]], waiting: list[Any]) -> None:
        super().__init__("http://airflow.invalid", token)
        self.changes, self.questions = changes, waiting

    def request(self, method: str, path: str, body: Any = None, **_: Any) -> httpx.Response:
        if method != "GET":
            self.changes.append((method, path, body))
            return httpx.Response(200, json={})
        if path.endswith("/hitlDetails"):
            return httpx.Response(200, json={"hitl_details": self.questions, "total_entries": 0})
        if path.endswith("/taskInstances"):
            return httpx.Response(200, json={"task_instances": []})
        if path.endswith("/dagRuns"):
            return httpx.Response(200, json={"dag_runs": [], "total_entries": 0})
        return httpx.Response(404, json={"detail": "no such run"})


class Console:
    """The console over a bench, for visitors with different roles."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.changes: list[tuple[str, str, Any]] = []
        self.waiting: list[Any] = []
        self.app = APP
        create_auth_manager()
        settings = bench.settings.model_copy(update={"current_targets": [BOOKWORM, TRIXIE]})
        self.deployment = _Recorded(bench.store, settings, "http://airflow.invalid")
        self.deployment.console = self
        self.take_over()
        outer = FastAPI()
        outer.mount(PREFIX, self.app)
        self.client = TestClient(outer, follow_redirects=False)

    def take_over(self) -> None:
        """Have the application show this deployment."""
        security.sign_in_as(self.app, _who)
        self.app.dependency_overrides[deployment] = lambda: self.deployment

    def get(self, path: str, user: str = "anna", **headers: str) -> httpx.Response:
        answer: httpx.Response = self.client.get(PREFIX + path, headers={**PAGE, "X-User": user, **headers})
        return answer

    def post(self, path: str, user: str = "anna", site: str = "same-origin", **form: Any) -> httpx.Response:
        headers = {**PAGE, "X-User": user, "Sec-Fetch-Site": site}
        answer: httpx.Response = self.client.post(PREFIX + path, data=form, headers=headers)
        return answer

    def started(self) -> dict[str, Any]:
        """What the only run that was started was given."""
        [(method, path, body)] = self.changes
        assert method == "POST"
        return {"dag_id": path.split("/")[2], **body["conf"], "note": body["note"]}

    def ask(self, version: str, by: str = "anna") -> None:
        """Have a run ask for an approval of what is built."""
        run = Asker(dag_id="hhvm_build_and_publish", run_id="a-run", by=by, at=NOW)
        request = Asked(version=version, distros=(BOOKWORM, TRIXIE), today=NOW.date(), require_approval=True)
        holds.ask_for_holds([request], run, self.bench.store)
        ready = holds.find_ready([request], self.bench.store, self.bench.settings)
        holds.ask([request], ready, run, self.bench.store, self.bench.settings)
        assert Question.read_all(self.bench.store, run.dag_id, run.run_id)
        self.waiting.append({
            "subject": f"Publish HHVM {version}?",
            "created_at": NOW.isoformat(),
            "assigned_users": [],
            "task_instance": {
                "dag_id": run.dag_id,
                "dag_run_id": run.run_id,
                "task_id": "approve",
                "map_index": 0,
                "rendered_map_index": f"1: {version}",
            },
        })


class _Recorded(Deployment):
    """A deployment whose Airflow records what it is asked."""

    console: Console

    def airflow(self, visitor: Visitor) -> Airflow:
        return RecordedAirflow(visitor.token, self.console.changes, self.console.waiting)


def _who(request: Request) -> Any:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    user = request.headers.get("X-User") or bearer
    if user not in ROLES:
        raise HTTPException(401, "Not authenticated")
    return SimpleAuthManagerUser(username=user, role=ROLES[user])


APP = make_app()


@pytest.fixture(scope="module")
def key() -> tuple[str, str]:
    return signing_key.make("HHVM tests <hhvm@example.org>")


@pytest.fixture
def bench(s3: S3Client, key: tuple[str, str], tmp_path: Path) -> Iterator[Bench]:
    """A bench in an empty store, with a key that all tests here share: to make one takes a second."""
    with Signer(key[0]) as signer:
        bench = Bench(s3, signer, Settings(lock_directory=tmp_path))
        bench.store.downloads.put(keys.PUBLIC_KEY, key[1].encode())
        yield bench


@pytest.fixture
def console(bench: Bench) -> Iterator[Console]:
    yield Console(bench)
    APP.dependency_overrides.clear()


@pytest.fixture(scope="module")
def closed(s3_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Console:
    """A console for visitors whom it refuses, or who only look. Nothing of its store changes."""
    s3, names = client(s3_server.endpoint), ("scratch-of-the-console", "downloads-of-the-console")
    for name in names:
        s3.create_bucket(Bucket=name)
    settings = Settings(
        scratch_bucket=names[0], downloads_bucket=names[1], lock_directory=tmp_path_factory.mktemp("locks")
    )
    # None of these tests signs.
    console = Console(Bench(s3, None, settings))  # type: ignore[arg-type]
    console.bench.sign_source(console.bench.build("1.0.0"))
    fail(console, TRIXIE)
    status.rebuild_index(console.bench.store, console.bench.settings)
    return console


def routes() -> list[tuple[str, str]]:
    """Every route of the application: its method, and a path of it."""
    found = []
    for route in APP.routes:
        assert isinstance(route, APIRoute), f"{route} takes no part in the login"
        path = re.sub(r"\{name\}", "undo" if "actions" in route.path else "console.css", route.path)
        for field, value in {
            "version": "1.0.0",
            "distro": BOOKWORM,
            "job": "hhvm-1.0.0-x",
            "attempt": "1",
        }.items():
            path = path.replace(f"{{{field}}}", value)
        found += [(method, path) for method in sorted(route.methods)]
    return found


CHANGING = [(method, path) for method, path in routes() if method not in {"GET", "HEAD"}]


@pytest.mark.parametrize(("method", "path"), routes())
def test_no_route_answers_who_is_not_logged_in(closed: Console, method: str, path: str) -> None:
    closed.take_over()
    headers = {"Sec-Fetch-Site": "same-origin"}
    assert closed.client.request(method, PREFIX + path, headers=headers).status_code == 401
    page = closed.client.request(method, PREFIX + path, headers=PAGE)
    assert page.status_code == (307 if method == "GET" else 401)
    if method == "GET":
        assert page.headers["Location"].startswith("/auth/login?next=")
    assert not closed.changes


@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_who_may_only_look_changes_nothing(closed: Console, method: str, path: str) -> None:
    closed.take_over()
    form = {
        "version": "1.0.0",
        "distros": BOOKWORM,
        "distro": TRIXIE,
        "dag_id": "hhvm_build_and_publish",
        "run_id": "r",
        "map_index": "0",
        "decision": "approve",
    }
    assert closed.post(path, "reader", **form).status_code == 403
    assert not closed.changes


@pytest.mark.parametrize(("method", "path"), [one for one in routes() if one[0] == "GET"])
def test_a_get_changes_nothing(closed: Console, method: str, path: str) -> None:
    closed.take_over()
    before = everything(closed.bench)
    assert closed.get(path, "reader").status_code in {200, 404}
    assert everything(closed.bench) == before
    assert not closed.changes


def everything(bench: Bench) -> dict[str, str]:
    return {
        key: hashlib.sha256(bucket.get(key) or b"").hexdigest()
        for bucket in (bench.store.scratch, bench.store.downloads)
        for key in bucket.keys("")
    }


@pytest.mark.parametrize(("method", "path"), CHANGING)
@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_another_sites_page_changes_nothing(closed: Console, method: str, path: str, site: str) -> None:
    closed.take_over()
    answer = closed.post(path, site=site, version="1.0.0", distros=BOOKWORM, distro=TRIXIE)
    assert answer.status_code == 403
    assert "another site" in answer.text
    assert not closed.changes


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("http://testserver", True), ("http://testserver.evil", False), ("null", False), ("", False)],
)
def test_a_browser_that_does_not_say_where_it_comes_from_must_name_our_origin(
    console: Console, origin: str, *, allowed: bool
) -> None:
    headers = {"Accept": "text/html", "X-User": "anna", **({"Origin": origin} if origin else {})}
    console.bench.build("1.0.0")
    answer = console.client.post(f"{PREFIX}/versions/1.0.0/actions/publish", headers=headers)
    assert answer.status_code == (303 if allowed else 403)


def test_a_program_with_a_token_of_its_own_needs_no_origin(console: Console) -> None:
    console.bench.build("1.0.0")
    headers = {"Authorization": "Bearer x", "X-User": "anna"}
    assert console.client.post(f"{PREFIX}/versions/1.0.0/actions/publish", headers=headers).status_code == 303


def test_no_page_runs_a_script_of_others_or_is_framed(console: Console) -> None:
    policy = console.get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    inline = re.findall(r"<script(?![^>]* src=)|\sstyle=|\son[a-z]+=", console.get("/").text)
    assert not inline


# The overview and a version


def fail(console: Console, distro: str, reason: str = "the job failed: exit status 2") -> None:
    """Record that the last build of 1.0.0 failed."""
    failure = FailureEntry(
        step="make_binary_package",
        reason=reason,
        dag_id="hhvm_build",
        run_id="a-build",
        map_index=1,
        at=datetime.datetime.now(datetime.UTC),
    )
    status_index.record_version(console.bench.store, "1.0.0", VersionEntry(failures={distro: failure}))


def test_the_overview_says_what_each_distribution_is(console: Console) -> None:
    console.bench.update(console.bench.build("1.0.0"))
    console.bench.build("1.0.1")
    text = words(console.get("/").text)
    assert re.search(r"1\.0\.1 .* built .* 1\.0\.0 .* published", text)
    assert "1~bookworm" in text


def test_a_failure_has_its_reason_and_the_button_that_resumes_it(console: Console) -> None:
    fail(console, TRIXIE, "the job failed: exit status 2 <b>&")
    page = console.get("/versions/1.0.0")
    assert "exit status 2 &lt;b&gt;&amp;" in page.text
    assert "Resume this build" in page.text
    assert "Resume this build" not in console.get("/versions/1.0.0", "reader").text


def test_resuming_clears_exactly_what_failed(console: Console) -> None:
    fail(console, TRIXIE)
    assert console.post("/versions/1.0.0/resume", distro=TRIXIE).status_code == 303
    [(method, path, body)] = console.changes
    assert (method, path) == ("POST", "/dags/hhvm_build/clearTaskInstances")
    assert body["task_ids"] == [["make_binary_package", 1]]
    assert body["dag_run_id"] == "a-build"
    assert body["include_downstream"]


def test_resuming_with_todays_files_plans_again(console: Console) -> None:
    fail(console, TRIXIE)
    assert console.post("/versions/1.0.0/resume", distro=TRIXIE, anew="true").status_code == 303
    assert console.changes[0][2]["task_ids"] == ["plan"]


class WrappersAirflow(RecordedAirflow):
    """One in which a wrapper's run triggered the build: its state, and that of its task that waits."""

    def __init__(self, state: str, waiting: str) -> None:
        super().__init__("a-token", [], [])
        self.run_state, self.task_state = state, waiting

    def request(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        if method == "GET" and path == "/dags/hhvm_build_and_publish/dagRuns/a-run":
            return httpx.Response(200, json={"dag_run_id": "a-run", "state": self.run_state})
        if method == "GET" and path.endswith("/a-run/taskInstances"):
            task = {
                "id": "an-id",
                "dag_id": "hhvm_build_and_publish",
                "dag_run_id": "a-run",
                "task_id": "build",
                "map_index": -1,
                "rendered_map_index": None,
                "state": self.task_state,
                "try_number": 1,
                "duration": 1.0,
                "start_date": None,
            }
            wanted = [task] if self.task_state in more.get("state", ()) else []
            return httpx.Response(200, json={"task_instances": wanted})
        return super().request(method, path, body, **more)


@pytest.mark.parametrize(
    ("state", "waiting", "cleared"),
    [
        ("running", "deferred", ("hhvm_build", "make_binary_package")),
        ("running", "running", ("hhvm_build", "make_binary_package")),
        ("running", "failed", ("hhvm_build_and_publish", "build")),
        ("failed", "failed", ("hhvm_build_and_publish", "")),
    ],
)
def test_resuming_goes_on_with_the_wrappers_run_if_that_waits_no_more(
    state: str, waiting: str, cleared: tuple[str, str]
) -> None:
    """Between the failure of its task and its own end, the wrapper's run is still running."""
    run_id = child_run_id("hhvm_build_and_publish", "a-run", "1.0.0", {})
    airflow = WrappersAirflow(state, waiting)
    airflow.resume("hhvm_build", run_id, "make_binary_package", 1)
    [(_, path, body)] = airflow.changes
    dag_id, task_id = cleared
    assert path.split("/")[2] == dag_id
    assert task_id in str(body.get("task_ids", ""))


def test_resuming_what_has_not_failed_says_so(console: Console) -> None:
    assert console.post("/versions/1.0.0/resume", distro=TRIXIE).status_code == 409
    assert not console.changes


def test_a_version_says_how_users_install_it_and_what_an_undo_would_do(console: Console) -> None:
    console.bench.update(console.bench.build("1.0.0"))
    assert "no version at all" in words(console.get("/versions/1.0.0").text)
    console.bench.update(console.bench.build("1.0.1"))
    text = words(console.get("/versions/1.0.1").text)
    assert "apt-get install hhvm=1.0.1-1~bookworm" in text
    assert "Users would be offered 1.0.0-1~bookworm" in text


def test_a_version_says_what_changed_since_the_one_before(console: Console) -> None:
    console.bench.build("1.0.0", "Depends: libc6, libold1\n")
    console.bench.build("1.0.1", "Depends: libc6, libnew2\n")
    text = words(console.get("/versions/1.0.1").text)
    assert "+ Depends: libnew2" in text
    assert "- Depends: libold1" in text
    assert "Depends: libc6" not in text.replace("+ Depends: libnew2", "")


def test_a_version_says_which_files_are_new_gone_or_other_ones(console: Console) -> None:
    """As the packages list them. HHVM installs itself below its own version, which changes nothing."""

    def build(version: str, **files: str) -> None:
        root = f"/opt/hhvm/{version}"
        installed = tuple((f"{root}/{name}", content.encode()) for name, content in files.items())
        console.bench.build(version, more=lambda of: [Packed(of, "hhvm-dev", files=installed)])

    build("1.0.0", stays="a", changes="a", goes="a")
    build("1.0.1", stays="a", changes="b", comes="a")
    text = words(console.get("/versions/1.0.1").text)
    assert "3 files: 1 new, 1 gone, 1 with other content." in text
    assert "- /opt/hhvm/VERSION/goes + /opt/hhvm/VERSION/comes" in text
    assert "VERSION/stays" not in text


def test_a_version_and_its_decision_show_what_the_quality_gates_found(console: Console) -> None:
    console.bench.sign_source(plan := console.bench.build("1.0.0"))
    manifest = PackageManifest.read(console.bench.store, plan.release, TRIXIE)
    assert manifest
    gates = (
        Gate(name="removal", verdict="passed"),
        Gate(name="lintian", verdict="warned", words=("hhvm: error <b>bad</b>",)),
        Gate(name="autopkgtest", verdict="failed", words=("one", "two", "three")),
        Gate(name="symbols", verdict="skipped", words=("gates.symbols is off",)),
        Gate(name="upgrade", verdict="skipped"),
    )
    etag = PackageManifest.etag(console.bench.store, plan.release, TRIXIE)
    manifest.model_copy(update={"gates": gates}).write(console.bench.store, plan.release, etag=etag)
    page = console.get("/versions/1.0.0").text
    assert "<b>bad</b>" not in page
    text = words(page)
    assert "removal: passed" in text
    assert "lintian: warned hhvm: error <b>bad</b>" in text
    assert "autopkgtest: failed 3 lines one two three" in text
    assert "skipped: symbols, upgrade why symbols: gates.symbols is off" in text
    assert "No gate has left a result" in text  # Of bookworm.
    console.ask("1.0.0")
    text = words(console.get("/approvals", "ben").text)
    assert "1 failed autopkgtest ! 1 warned lintian ✓ 1 passed" in text
    assert "lintian: warned hhvm: error <b>bad</b>" in text


@pytest.mark.parametrize("version", ["4.26", "../etc", "%3Cscript%3E", "nightly"])
def test_what_is_no_version_is_said_to_be_none(console: Console, version: str) -> None:
    answer = console.get(f"/versions/{version}")
    assert answer.status_code == 404
    assert "<script>" not in answer.text


# A new release


@pytest.fixture
def tagged(console: Console, tmp_path: Path) -> Console:
    """A console whose staging repository has the tag HHVM-1.0.0."""
    repository = tmp_path / "staging"
    for command in (
        ["git", "init", "-q", str(repository)],
        [
            "git",
            "-C",
            str(repository),
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "x",
        ],
        ["git", "-C", str(repository), "tag", "HHVM-1.0.0"],
    ):
        subprocess.run(command, check=True)
    console.deployment.settings = console.deployment.settings.model_copy(
        update={"staging_repository": str(repository)}
    )
    return console


def preview(console: Console, version: str, **more: str) -> str:
    query = httpx.QueryParams({"version": version, "distros": BOOKWORM, **more})
    return words(console.get(f"/new/preview?{query}").text)


def test_a_wrong_version_is_refused_with_the_allowed_forms(console: Console) -> None:
    text = preview(console, "4.26")
    assert "'4.26' is not allowed" in text
    assert ALLOWED_FORM in text
    answer = console.post("/new", version="4.26", distros=BOOKWORM)
    assert answer.status_code == 422
    assert ALLOWED_FORM in words(answer.text)
    assert not console.changes


def test_a_version_without_a_tag_is_refused(tagged: Console) -> None:
    assert "HHVM-1.0.9 is not tagged on the staging repository" in preview(tagged, "1.0.9")
    assert tagged.post("/new", version="1.0.9", distros=BOOKWORM).status_code == 422


def test_the_form_says_what_is_there_and_what_would_be_built(tagged: Console) -> None:
    assert f"{BOOKWORM}: is built" in preview(tagged, "1.0.0")
    plan = tagged.bench.build("1.0.0")
    assert f"{BOOKWORM}: 1.0.0-1~bookworm is built already" in preview(tagged, "1.0.0")
    tagged.bench.update(plan)
    assert "HHVM 1.0.0 is published already" in preview(tagged, "1.0.0")


def test_the_form_says_that_a_version_is_held(tagged: Console) -> None:
    tagged.bench.sign_source(tagged.bench.build("1.0.0"))
    tagged.ask("1.0.0")
    assert "It is held for an approval" in preview(tagged, "1.0.0")


def test_a_release_is_started_as_the_form_says(tagged: Console) -> None:
    answer = tagged.post(
        "/new",
        version=" 1.0.0 ",
        distros=[BOOKWORM, TRIXIE],
        require_approval="true",
        hold_until="2030-01-02T03:04",
    )
    assert answer.headers["Location"].startswith(f"{PREFIX}/versions/1.0.0?said=Started")
    started = tagged.started()
    assert started["dag_id"] == "hhvm_build_and_publish"
    assert started["version"] == "1.0.0"
    assert started["distros"] == [BOOKWORM, TRIXIE]
    assert started["hold_until"] == "2030-01-02T03:04Z"
    assert started["require_approval"] is True
    assert "HHVM 1.0.0 for debian-12-bookworm, debian-13-trixie: queued" in markdown.unescape(started["note"])
    assert "anna" in started["note"]


# Actions


@pytest.mark.parametrize(
    "name", ["publish", "dry-run", "undo", "dry-run-undo", "release-again", "lift-holds"]
)
def test_an_action_says_what_it_does_before_it_does_it(closed: Console, name: str) -> None:
    closed.take_over()
    page = closed.get(f"/versions/1.0.0/actions/{name}")
    assert page.status_code == 200
    assert "Back, change nothing" in page.text
    assert not closed.changes


def test_an_undo_withdraws_what_is_public(console: Console) -> None:
    console.bench.update(console.bench.build("1.0.0"))
    assert console.post("/versions/1.0.0/actions/undo").status_code == 303
    started = console.started()
    assert started["dag_id"] == "hhvm_publish_release"
    assert started["action"] == "undo"
    assert started["distros"] == [BOOKWORM, TRIXIE]
    assert "dry_run" not in started


def test_holds_are_lifted_with_a_reason_alone(console: Console) -> None:
    console.bench.build("1.0.0")
    answer = console.post("/versions/1.0.0/actions/lift-holds", reason="no")
    assert answer.status_code == 422
    assert "5 to 500 characters" in words(answer.text)
    assert not console.changes
    assert console.post("/versions/1.0.0/actions/lift-holds", reason="it is urgent").status_code == 303
    assert console.started()["reason"] == "it is urgent"


# Approvals


def decide(console: Console, user: str, decision: str = "approve") -> httpx.Response:
    return console.post(
        "/approvals", user, dag_id="hhvm_build_and_publish", run_id="a-run", map_index=0, decision=decision
    )


def test_a_decision_shows_the_packages_by_digest_and_what_they_change(console: Console) -> None:
    console.bench.sign_source(console.bench.build("1.0.0"))
    console.bench.sign_source(console.bench.build("1.0.1", "Depends: libnew2\n"))
    console.ask("1.0.1")
    text = words(console.get("/approvals", "ben").text)
    [question] = Question.read_all(console.bench.store, "hhvm_build_and_publish", "a-run")
    for package in question.asked[0].packages.values():
        assert package.digest[:16] in text
        for digest in package.files.values():
            assert digest in text
    assert "+ Depends: libnew2" in text


@pytest.mark.parametrize(("decision", "chosen"), [("approve", "Approve"), ("reject", "Reject")])
def test_an_answer_is_given_to_airflow_with_the_visitors_rights(
    console: Console, decision: str, chosen: str
) -> None:
    console.bench.sign_source(console.bench.build("1.0.0"))
    console.ask("1.0.0")
    assert decide(console, "ben", decision).status_code == 303
    [(method, path, body)] = console.changes
    assert method == "PATCH"
    assert path.endswith("/dagRuns/a-run/taskInstances/approve/0/hitlDetails")
    assert body["chosen_options"] == [chosen]


def test_who_may_not_approve_is_told_why_and_cannot(console: Console) -> None:
    console.deployment.settings = console.deployment.settings.model_copy(update={"approve_own": False})
    console.bench.sign_source(console.bench.build("1.0.0"))
    console.ask("1.0.0", by="anna")
    assert "You may not approve this: anna triggered HHVM 1.0.0" in words(console.get("/approvals").text)
    assert decide(console, "anna").status_code == 403
    assert not console.changes
    assert decide(console, "ben").status_code == 303


def test_what_is_not_asked_any_more_cannot_be_answered(console: Console) -> None:
    assert decide(console, "ben").status_code == 409


# The API


def old_answer(version: str, package: str, directory: str, there: set[str]) -> dict[str, Any]:
    """What the old service answered for the two distributions of the bench, by the keys in the public bucket.

    As the lambda hhvm-get-build-status of hhvm/packaging did, but for bottles for macOS.
    """
    expected = {
        "source": f"{directory}/{package}-{version}.tar.gz",
        "source_gpg": f"{directory}/{package}-{version}.tar.gz.sig",
        **{
            distro: f"debian/pool/main/h/{package}/{package}_{version}-1~{codename}_amd64.deb"
            for distro, codename in ((BOOKWORM, "bookworm"), (TRIXIE, "trixie"))
        },
    }
    failed = {name: f"https://dl.hhvm.com/{key}" for name, key in expected.items() if key not in there}
    return {
        "success": not failed,
        "version": version,
        "succeeded": [name for name in expected if name not in failed],
        "failed": failed,
    }


@pytest.mark.parametrize(
    ("version", "package", "directory"),
    [("1.0.0", "hhvm", "source"), ("2026.11.22", "hhvm-nightly", "source/nightlies")],
)
def test_the_answer_is_the_old_services_field_by_field(
    console: Console, version: str, package: str, directory: str
) -> None:
    def compare() -> None:
        answer = console.get(f"/api/build-status/{version}", Accept="application/json").json()
        assert answer == old_answer(version, package, directory, set(console.bench.public()))

    compare()
    plan = console.bench.build(version)
    compare()
    console.bench.update(plan)
    compare()
    for key in (keys.public_tarball(plan.release), keys.public_signature(plan.release)):
        console.bench.store.downloads.put(key, b"source")
        compare()
    assert console.get(f"/api/build-status/{version}", Accept="application/json").json()["success"] is True


def test_versions_are_listed_by_kind_the_newest_first(console: Console) -> None:
    for version in ("1.0.0", "1.0.10", "1.0.9", "2026.11.22"):
        console.bench.build(version)
    found = console.get("/api/versions?limit=2", Accept="application/json").json()
    assert [one["version"] for one in found["versions"]] == ["1.0.10", "1.0.9"]
    assert found["total"] == 3


def test_a_source_is_said_to_be_there_by_looking_for_it(console: Console) -> None:
    release = console.bench.build("1.0.0").release

    def there() -> tuple[bool, ...]:
        found = console.get("/api/versions/1.0.0/source", Accept="application/json").json()
        scratch = console.bench.settings.scratch_bucket
        assert found["tarball"]["place"] == f"s3://{scratch}/hhvm-1.0.0.tar.gz"
        names = ("tarball", "signature", "public_tarball", "public_signature")
        return tuple(found[name]["there"] for name in names)

    assert there() == (False, False, False, False)
    console.bench.store.scratch.put(keys.tarball(release), b"source")
    assert there() == (True, False, False, False)
    console.bench.store.scratch.put(keys.tarball_signature(release), b"signature")
    console.bench.store.downloads.put(keys.public_tarball(release), b"source")
    assert there() == (True, True, True, False)


def test_a_badge_is_a_picture_with_the_state(console: Console) -> None:
    console.bench.update(console.bench.build("1.0.0"))
    badge = console.get("/api/badges/1.0.0.svg")
    assert badge.headers["Content-Type"].startswith("image/svg+xml")
    assert "HHVM 1.0.0: published" in badge.text
    assert console.get("/api/badges/1.0.0.svg?distro=nowhere").status_code == 404


def test_the_api_describes_itself(console: Console) -> None:
    described = console.get("/api/openapi.json").json()
    assert set(described["paths"]) == {
        "/api/build-status/{version}",
        "/api/versions",
        "/api/versions/{version}",
        "/api/versions/{version}/source",
        "/api/badges/{version}.svg",
    }


def test_the_api_answers_as_it_describes_itself(console: Console) -> None:
    console.bench.update(console.bench.build("1.0.0"))
    login = {"Authorization": "Bearer reader"}
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", console.app, headers=login)
    answers: list[int] = []

    operations: Any = schema.get_all_operations()
    for operation in operations:

        @given(case=operation.ok().as_strategy())
        @examples(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
        def answer(case: Any) -> None:
            response = case.call(headers=login)
            case.validate_response(response)
            answers.append(response.status_code)

        answer()
    assert {200, 404} <= set(answers)


# Speed, and what is not ours


def test_the_overview_takes_less_than_300_ms_at_1000_versions_and_9_distributions(console: Console) -> None:
    distros = [f"debian-{number}-suite{number}" for number in range(9)]
    entry = {
        f"4.{number}.1": VersionEntry.model_validate({
            "packages": {
                distro: {
                    "attempt": "20261124T120000.000000Z-1",
                    "version": f"4.{number}.1-1~{distro.rpartition('-')[2]}",
                    "size": 1000,
                    "at": NOW,
                }
                for distro in distros
            }
        })
        for number in range(1, 1001)
    }
    suites = {
        f"debian {distro.rpartition('-')[2]}": {
            "snapshot": "20261124T120000Z-0",
            "offered": [entry[version].packages[distro].version for version in entry],
            "withdrawn": [],
        }
        for distro in distros
    }
    index = status_index.Index.model_validate({"complete": True, "versions": entry, "suites": suites})
    status_index.merge_in(console.bench.store, index)
    took = []
    for _ in range(5):
        console.deployment._index = None  # ruff: ignore[private-member-access]  # as after a change
        began = time.process_time()
        answer = console.get("/")
        took.append(time.process_time() - began)
        assert answer.status_code == 200
    assert min(took) < 0.3, took


def test_the_vendored_script_is_the_one_that_was_looked_at() -> None:
    script = (rendering.HERE / "static" / "htmx.min.js").read_bytes()
    assert hashlib.sha256(script).hexdigest() == (
        "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
    )


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def words(page: str) -> str:
    """What a person reads on a page."""
    parser = _Words()
    parser.feed(page)
    return " ".join(" ".join(parser.words).split())
