"""The demo's path with a real scheduler and real containers: release, look after, refuse, recover, stop.

The tests depend on one another, in this order, over one demo in a directory of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import psutil
import pytest

from demo import jobs_network
from demo.stack import DOWNLOADS, SCRATCH, USER
from hhvm_packaging.store import keys
from testing.newcomer import BUILD, PUBLISH, ROOT, WRAPPER, Newcomer
from testing.secret_search import SecretSearch
from testing.short_builds import MULTI
from testing.sinks import MailServer, WebServer, mail_server, web_server
from testing.unhurried import DEADLINE
from testing.witness import Witness, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

PRUNE, REAP, CANARY = "hhvm_prune", "hhvm_reap_workers", "hhvm_canary"
DISTROS = ["debian-12-bookworm", "debian-13-trixie"]

pytestmark = pytest.mark.timeout(DEADLINE)


@pytest.fixture(scope="module")
def newcomer(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """The newcomer, whose demo is gone at the end."""
    newcomer = Newcomer(tmp_path_factory.mktemp("demo"))
    channels = [
        {"kind": "email", "connection": "a_mail", "to": ["release-manager@example.org"]},
        {"kind": "webhook", "connection": "a_hook", "path": "/hhvm"},
    ]
    (newcomer.var / "settings.json").write_text(json.dumps({"notify": channels}))
    yield newcomer
    newcomer.make("down")


@pytest.fixture(scope="module")
def witness(newcomer: Newcomer) -> Iterator[Witness]:
    """What there was of containers and command lines since the first test."""
    with watching(newcomer.engine.api, f"hhvm.work={newcomer.stack.work_directory}") as witness:
        yield witness


@pytest.fixture(scope="module")
def mails(newcomer: Newcomer) -> Iterator[MailServer]:
    """What the demo's people get by mail."""
    with mail_server() as server:
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.org"}
        newcomer.connect("a_mail", conn_type="smtp", port=server.port, extra=json.dumps(extra))
        yield server


@pytest.fixture(scope="module")
def posts(newcomer: Newcomer) -> Iterator[WebServer]:
    """What the demo's webhook gets."""
    with web_server() as server:
        newcomer.connect("a_hook", conn_type="http", port=server.port)
        yield server


def test_make_demo_ends_with_the_release_installed_on_each_distribution(
    newcomer: Newcomer, witness: Witness
) -> None:
    newcomer.stack.ports  # ruff: ignore[useless-expression]  chosen now, beside a demo that may run already
    printed = newcomer.make("demo")
    for distro in DISTROS:
        assert re.search(rf"install {distro}.*HipHop VM 1\.0\.0 \(rel\)", printed), printed
    for told in (newcomer.stack.ui_url, newcomer.stack.secrets.password, "signed-by=", "make down"):
        assert told in printed
    assert len(newcomer.jobs("1.0.0")) == 2


def test_the_published_tag_tarball_and_listing_are_public(newcomer: Newcomer) -> None:
    public = newcomer.var / "git/hhvm.git"
    heads = subprocess.run(["git", "ls-remote", public], capture_output=True, text=True, check=True).stdout
    assert "refs/tags/HHVM-1.0.0" in heads
    assert "refs/heads/HHVM-1.0" in heads
    listing = httpx.get(f"{newcomer.stack.public_url}/source/", timeout=60).text
    assert "hhvm-1.0.0.tar.gz.sig" in listing


def test_a_releases_signatures_are_in_the_log(newcomer: Newcomer) -> None:
    logs = "".join(path.read_text() for path in (newcomer.var / "airflow/logs").rglob("*.log"))
    line = r"Signed (\S+), SHA-256 ([0-9a-f]{64}), with \w+, for hhvm_\w+ \S+, (\w+), try"
    signed = set(re.findall(line, logs))
    public = newcomer.var / "s3" / DOWNLOADS
    for suite in ("bookworm", "trixie"):
        release = (public / f"debian/dists/{suite}/Release").read_bytes()
        digest = hashlib.sha256(release).hexdigest()
        made_by = {task for what, sha256, task in signed if what.endswith("Release") and sha256 == digest}
        assert made_by & {"update_repositories", "candidate"}
    tarball = hashlib.sha256((public / "source/hhvm-1.0.0.tar.gz").read_bytes()).hexdigest()
    assert any(sha256 == tarball and task == "sign_source_tarball" for _, sha256, task in signed)


def test_a_releases_packages_are_built_and_nothing_else(newcomer: Newcomer) -> None:
    scratch = newcomer.var / "s3" / SCRATCH
    manifest = json.loads((scratch / "1.0.0/debian-12-bookworm/manifest.json").read_text())
    artifacts = {artifact["name"]: artifact for artifact in manifest["artifacts"]}
    assert set(artifacts) == {
        "hhvm_1.0.0-1~bookworm_amd64.deb",
        "hhvm-dbg_1.0.0-1~bookworm_amd64.deb",
        "hhvm-dev_1.0.0-1~bookworm_amd64.deb",
        "hhvm_1.0.0-1~bookworm_amd64.changes",
        "hhvm_1.0.0-1~bookworm_amd64.buildinfo",
        "hhvm_1.0.0-1~bookworm.dsc",
        "hhvm_1.0.0-1~bookworm.debian.tar.xz",
        "hhvm_1.0.0.orig.tar.gz",
        "ccache.tar",
    }
    deb = artifacts["hhvm_1.0.0-1~bookworm_amd64.deb"]
    assert "Package: hhvm\n" in deb["stanza"]
    assert "Conflicts: hhvm-nightly\n" in deb["stanza"]
    assert f"SHA256: {deb['sha256']}\n" in deb["stanza"]

    source = artifacts["hhvm_1.0.0-1~bookworm.dsc"]["stanza"]
    assert source.startswith("Package: hhvm\n")
    for name in ("hhvm_1.0.0-1~bookworm.debian.tar.xz", "hhvm_1.0.0.orig.tar.gz"):
        assert f" {artifacts[name]['sha256']} {artifacts[name]['size']} {name}\n" in source

    installed = newcomer.engine.containers.run(
        "debian:bookworm",
        [
            "sh",
            "-ec",
            "dpkg --force-depends -i /out/*.deb >/dev/null; hhvm --version;"
            " ls /opt/hhvm/*/include/hphp/runtime",
        ],
        volumes=[f"{scratch / manifest['build']}:/out:ro"],
        remove=True,
    )
    assert installed == b"HipHop VM 1.0.0 (rel)\nversion.h\n"


def test_make_demo_again_finds_everything_done_and_builds_nothing(newcomer: Newcomer) -> None:
    before = newcomer.jobs("1.0.0")
    printed = newcomer.make("demo")
    assert "is built and published already" in printed
    assert newcomer.jobs("1.0.0") == before


def test_a_run_whose_work_is_done_passes_without_a_job(newcomer: Newcomer) -> None:
    before = newcomer.jobs("1.0.0")
    newcomer.trigger(BUILD, "again", {"version": "1.0.0"})
    assert newcomer.ended(BUILD, "again") == "success"
    assert newcomer.jobs("1.0.0") == before
    task = newcomer.tasks(BUILD, "again")["make_binary_package debian-13-trixie"]
    assert "PKGVER" in newcomer.log(task)


def test_a_run_that_fails_is_told_to_people_with_the_reason(
    newcomer: Newcomer, mails: MailServer, posts: WebServer
) -> None:
    newcomer.trigger(BUILD, "untagged", {"version": "9.9.9"})
    assert newcomer.ended(BUILD, "untagged") == "failed"
    newcomer.until(lambda: mails.mails and posts.posts)
    [mail], [(path, message)] = mails.mails, posts.posts
    assert mail["Subject"] == "HHVM packaging: hhvm_build failed: HHVM 9.9.9"
    assert path == "/hhvm"
    assert message["tasks"] == ["build_report", "plan"]
    assert "HHVM-9.9.9 is not tagged in" in message["text"]
    assert message["url"] == f"{newcomer.stack.ui_url}/dags/{BUILD}/runs/untagged"


def forget_what_the_canary_asked_for(newcomer: Newcomer) -> None:
    """Else it may ask for a file that it knows a day later."""
    secrets = newcomer.stack.secrets
    s3 = boto3.client(
        "s3",
        endpoint_url=newcomer.stack.s3_url,
        region_name="us-east-1",
        aws_access_key_id=secrets.s3_access_key,
        aws_secret_access_key=secrets.s3_secret_key,
    )
    s3.delete_object(Bucket=SCRATCH, Key=keys.CANARY_TURN)


def test_the_canary_is_green_until_what_is_published_is_broken(newcomer: Newcomer, posts: WebServer) -> None:
    newcomer.trigger(CANARY, "well", {})
    assert newcomer.ended(CANARY, "well") == "success"
    tasks = newcomer.tasks(CANARY, "well")
    assert {tasks[f"look_as_user {distro}"].state for distro in DISTROS} == {"success"}

    pool = newcomer.var / "s3/hhvm-downloads/debian/pool/main/h/hhvm"
    [deb] = pool.glob("hhvm_1.0.0-*bookworm_*.deb")
    hidden = deb.rename(newcomer.var / deb.name)
    forget_what_the_canary_asked_for(newcomer)
    newcomer.trigger(CANARY, "broken", {})
    assert newcomer.ended(CANARY, "broken") == "failed"
    hidden.rename(deb)
    wrong = (
        f"WRONG  debian bookworm: {newcomer.stack.public_url}/debian/pool/main/h/hhvm/{deb.name}: HTTP 404"
    )
    assert wrong in newcomer.log(newcomer.tasks(CANARY, "broken")["canary_report"])
    newcomer.until(lambda: posts.posts[-1][1]["dag_id"] == CANARY)
    assert wrong in posts.posts[-1][1]["text"]


def test_a_container_that_nobody_waits_for_is_reaped(newcomer: Newcomer) -> None:
    child = newcomer.child(WRAPPER, "demo-1.0.0", "1.0.0")
    labels = {
        "hhvm.job": "forgotten",
        "hhvm.work": str(newcomer.stack.work_directory),
        "hhvm.dag": BUILD,
        "hhvm.run": child,
        "hhvm.task": "make_binary_package",
        "hhvm.map_index": "0",
        "hhvm.expires": str(int(time.time()) + 600),
    }
    newcomer.engine.containers.run(
        "debian:bookworm", ["sleep", "600"], name="forgotten", labels=labels, detach=True
    )
    newcomer.trigger(REAP, "reap", {})
    assert newcomer.ended(REAP, "reap") == "success"
    assert newcomer.containers() == []
    # Its schedule may have been faster.
    said = "".join(newcomer.log(newcomer.tasks(REAP, run)["reap"]) for run in newcomer.runs(REAP))
    assert f"of forgotten: its task hhvm_build.{child}.make_binary_package[0] is success" in said


def test_pruning_takes_nothing_that_is_young_or_a_release(newcomer: Newcomer) -> None:
    root = newcomer.var / "s3"
    before = sorted(path for path in root.rglob("*") if "/jobs/" not in str(path))
    newcomer.trigger(PRUNE, "pruned", {})
    assert newcomer.ended(PRUNE, "pruned") == "success"
    assert sorted(path for path in root.rglob("*") if "/jobs/" not in str(path)) == before


OF_A_BUILD: dict[str, Any] = {
    "version": "4.26",
    "distros": ["../distros"],
    "packaging_ref": "--upload-pack=id",
    "force": "yes",
}
OF_A_HOLD: dict[str, Any] = {"hold_until": "tomorrow", "require_approval": "yes", "if_one_fails": "panic"}
BAD: dict[str, dict[str, Any]] = {
    BUILD: OF_A_BUILD,
    PUBLISH: {
        "version": None,
        "distros": [],
        "action": "revert",
        "undo_to": "yesterday",
        "packaging_ref": "--upload-pack=id",
        "reason": "no",
        "if_one_fails": "panic",
        "dry_run": None,
    },
    WRAPPER: OF_A_BUILD | OF_A_HOLD | {"version": "1.0.0\n"},
    MULTI: {field: value for field, value in OF_A_BUILD.items() if field != "version"}
    | OF_A_HOLD
    | {"versions": ["1.0.0"] * 2, "if_a_version_fails": "panic"},
    PRUNE: {"dry_run": "yes"},
}
"""For each form a bad value of each field; tests/dags has all kinds of them."""


@pytest.mark.parametrize("dag_id", BAD)
def test_the_api_refuses_a_bad_value_of_each_field_before_there_is_a_run(
    newcomer: Newcomer, dag_id: str
) -> None:
    fields = newcomer.api.call("GET", f"/dags/{dag_id}/details")["params"]
    assert set(fields) == set(BAD[dag_id])
    # Only several versions have no default.
    needed = {"versions": ["1.0.0"]} if dag_id == MULTI else {}
    for field, value in BAD[dag_id].items():
        answer = newcomer.trigger(dag_id, "refused", needed | {field: value})
        assert answer.status_code in (400, 422), (field, answer.text)
        # The title has the allowed form. Airflow shows long texts as several strings.
        shown = re.sub(r"""['"]\s*\n\s*['"]""", "", answer.json()["detail"])
        assert fields[field]["schema"]["title"] in shown, (field, answer.text)
    assert newcomer.api.run(dag_id, "refused") is None


def test_plan_refuses_a_misspelt_parameter_before_any_worker_starts(newcomer: Newcomer) -> None:
    # The reports run whatever happened before them, and say what did. So does `update_repositories`: it skips
    # itself, as one failure is one red task.
    ran = {
        BUILD: {"plan": "failed", "build_report": "failed"},
        PUBLISH: {"plan": "failed", "update_repositories": "skipped", "publish_report": "failed"},
        WRAPPER: {"plan": "failed"},
    }
    for dag_id in ran:
        newcomer.trigger(dag_id, "misspelt", {"verison": "1.0.0"})
    for dag_id, expected in ran.items():
        assert newcomer.ended(dag_id, "misspelt") == "failed"
        tasks = newcomer.tasks(dag_id, "misspelt")
        assert "verison: no such parameter. Allowed: version, distros" in newcomer.log(tasks["plan"])
        states = {name: task.state for name, task in tasks.items()}
        assert states == dict.fromkeys(states, "upstream_failed") | expected
    assert newcomer.containers() == []


@pytest.mark.parametrize(("field", "value"), [("version", "4.26"), ("distros", [])])
def test_the_command_line_refuses_bad_input(newcomer: Newcomer, field: str, value: object) -> None:
    conf = json.dumps({field: value})
    refused = newcomer.airflow("dags", "trigger", WRAPPER, "--run-id", "cli", "--conf", conf)
    assert refused.returncode != 0
    assert f"{field}: " in refused.stdout + refused.stderr


def test_a_command_follows_its_run_to_the_end(newcomer: Newcomer) -> None:
    login = {"AIRFLOW_API_USER": USER, "AIRFLOW_API_PASSWORD": newcomer.stack.secrets.password}
    command = [str(ROOT / "bin/hhvm-packaging"), "build", "1.0.0", "--wait"]
    done = subprocess.run(
        command,
        env={**os.environ, "AIRFLOW_API_URL": newcomer.stack.ui_url, **login},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for task in ("plan", *(f"make_binary_package {distro}" for distro in DISTROS), "build_report"):
        assert f"success      {task}\n" in done.stdout
    assert done.stdout.endswith(f"{BUILD}: success\n")


def test_airflow_answers_more_at_once_than_a_pool_has_connections(newcomer: Newcomer) -> None:
    def ask(_: int) -> int:
        return newcomer.api.request("GET", "/dags/~/dagRuns/~/taskInstances", limit=100).status_code

    with ThreadPoolExecutor(60) as at_once:
        assert set(at_once.map(ask, range(120))) == {httpx.codes.OK}


def test_services_listen_to_this_machine_alone_and_the_public_bucket_to_jobs(newcomer: Newcomer) -> None:
    stack = newcomer.stack
    listening = {
        connection.laddr[:2]
        for process in stack.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    jobs = jobs_network.gateway()
    assert (jobs, stack.ports.downloads) in listening
    assert {address for address, port in listening if port != stack.ports.downloads} == {"127.0.0.1"}
    assert {address for address, port in listening if port == stack.ports.downloads} == {jobs}


# After releases, failures, notifications and commands, and while the services run.
def test_secrets_are_only_where_the_demo_keeps_them(newcomer: Newcomer, witness: Witness) -> None:
    stack, search = newcomer.stack, SecretSearch(newcomer.stack)
    kept = ("secrets.json", "signing-key.asc", "airflow/passwords.json")
    assert set(search.files(stack.var)) == set(kept)
    assert {stack.var.joinpath(name).stat().st_mode & 0o777 for name in kept} == {0o600}
    assert search.database(stack.var / "airflow/airflow.db") == {}

    # Of all jobs, and of the containers that they build, install and look in.
    assert {"make-package", "install-gate", "check-offer"} <= {
        word for text in witness.containers.copy().values() for word in re.findall(r"[\w-]+", text)
    }
    assert {
        name: search.text(text) for name, text in witness.containers.copy().items() if search.text(text)
    } == {}
    assert any(b"supervisord" in command for command in witness.commands.copy())
    assert [command for command in witness.commands.copy() if search.text(command)] == []
    for process in stack.processes():
        with suppress(psutil.NoSuchProcess):
            environment = process.environ()
            assert not any(map(search.has_key, environment.values())), process


def test_make_demo_refuses_what_is_not_a_version(newcomer: Newcomer) -> None:
    for version in ("4.26", "$(touch /tmp/owned)", "1.0.0;id", ""):
        printed = newcomer.make("demo", f"VERSION={version}", expect=2)
        assert "version:" in printed


def test_a_demo_whose_every_part_was_killed_recovers(newcomer: Newcomer) -> None:
    for process in newcomer.stack.processes():
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    printed = newcomer.make("demo")
    assert "is built and published already" in printed


def test_make_down_leaves_no_process_container_or_lock(newcomer: Newcomer) -> None:
    newcomer.make("down")
    assert newcomer.stack.processes() == []
    assert newcomer.containers() == []
    assert not (newcomer.stack.var / "run/lock").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(newcomer.stack.ui_url)
