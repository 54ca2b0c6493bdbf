"""Jobs on EC2 with a real Airflow: a build as in production, and no instance that outlives its job or task.

The instances are those of ``testing.ec2``. One stack of Airflow's services serves all cases, and each case of
a leak ends with nothing left: neither a tagged instance nor a container.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import time
import uuid
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import docker
import pytest

from demo.driver import PATIENCE, TIMEOUT
from demo.stack import AIRFLOW, USER, Ports, Stack
from hhvm_packaging.orchestration.aws import CLIENTS
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.planning.task_ids import DependenciesTask
from hhvm_packaging.release import Release
from hhvm_packaging.runs.api import AirflowApi, ApiError
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.store.keys import PUBLIC_KEY
from hhvm_packaging.workers.ec2 import JOB_TAG
from testing import room
from testing.ec2 import AMI_PARAMETER, EC2, REGION, emulated_ec2
from testing.secret_search import SecretSearch
from testing.serving import serving
from testing.unhurried import DEADLINE, UNHURRIED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from hhvm_packaging.runs.api import Task

ROOT = Path(__file__).resolve().parents[2]
CONNECTION = "ec2_aws"
DISTRO = "debian-12-bookworm"
SETTINGS = {
    "AWS_CONN_ID": CONNECTION,
    "WORKERS": "ec2",
    "POLL_INTERVAL": "1",
    "GRACE": "15",
    "EC2__REGION": REGION,
    "EC2__IMAGE_PARAMETER": AMI_PARAMETER,
    "EC2__DEPENDENCIES_IMAGES": "true",
}
ROOM = 10
"""Slots of the pool of workers, and instances that the account may have."""
LIVE = ("pending", "running", "shutting-down", "stopping", "stopped")
REAPER, RENEWER = "hhvm_reap_workers", "hhvm_renew_dependencies"
ENDLESS = "echo begun; sleep 600"

pytestmark = pytest.mark.timeout(DEADLINE)


class Deployment:
    """Airflow's services, the EC2 that they use, and a person with Airflow's API."""

    def __init__(self, var: Path, ec2: EC2, public_url: str, repositories: str) -> None:
        self.ec2 = ec2
        self.dags = var / "dags"
        self.dags.mkdir()
        own = (f"dags/{dag_id}.py" for dag_id in ("hhvm_build", REAPER, RENEWER))
        for file in (*own, "tests/e2e/ec2_dags/one_job.py", str(room.DAG_FILE)):
            shutil.copy(ROOT / file, self.dags)
        self.stack = Stack(var, services=AIRFLOW, preferred_ports=Ports(0, 0, 0), dags_folder=self.dags)
        settings = UNHURRIED | {f"HHVM_PACKAGING_{name}": value for name, value in SETTINGS.items()}
        settings |= {
            "HHVM_PACKAGING_PUBLIC_URL": public_url,
            "HHVM_PACKAGING_PUBLIC_REPOSITORY": f"{repositories}/hhvm.git",
            "HHVM_PACKAGING_STAGING_REPOSITORY": f"{repositories}/hhvm-staging.git",
        }
        self.packaging_root = var / "packaging"
        for part in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / part, self.packaging_root / part, symlinks=True)
        self.store = Store(ec2.client("s3"), Settings())
        settings |= room.environment(self.store, self.packaging_root, builds=4)
        (var / "environment.json").write_text(json.dumps(settings))
        self.runs = itertools.count()
        self.own = uuid.uuid4().hex[:8]
        """In the names of runs, and so of jobs: emulated instances share the names of containers."""

    def up(self) -> None:
        self.stack.up()
        self.api.ensure_pool("workers", ROOM, include_deferred=True)
        self.connect(CONNECTION, region_name=REGION)
        self.until(lambda: len(self.api.call("GET", "/dags")["dags"]) == 7)
        key = (self.stack.var / "hhvm.gpg.key").read_bytes()
        self.store.downloads.put(PUBLIC_KEY, key)

    def connect(self, conn_id: str, **extra: str) -> None:
        """Make a connection to the tests' AWS."""
        connection = {
            "connection_id": conn_id,
            "conn_type": "aws",
            "login": "airflow",
            "password": "emulated",
            "extra": json.dumps({
                "endpoint_url": self.ec2.endpoint,
                **extra,
            }),
        }
        self.api.call("POST", "/connections", connection)

    def check(self, conn_id: str) -> dict[str, tuple[str, str]]:
        """What bin/check-deployment says of Airflow: its verdicts, and what it saw.

        On a busy machine Airflow may not answer in time. Then there is nothing but that.
        """
        environment = {
            "PATH": os.environ["PATH"],
            **self.ec2.environment("operator"),
            "AIRFLOW_API_URL": self.stack.ui_url,
            "AIRFLOW_API_USER": USER,
            "AIRFLOW_API_PASSWORD": self.stack.secrets.password,
            "HHVM_PACKAGING_AWS_CONN_ID": conn_id,
            "HHVM_PACKAGING_WORKERS_AT_ONCE": str(ROOM),
        }
        command = [str(ROOT / "bin/check-deployment"), "--json"]

        def ask() -> dict[str, tuple[str, str]]:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.stdout, done.stderr
            found = {each["check"]: (each["verdict"], each["seen"]) for each in json.loads(done.stdout)}
            parts = {check: found[check] for check in found if check.startswith(("pool ", "connection "))}
            return {} if "Airflow" in found else parts

        checked: dict[str, tuple[str, str]] = self.until(ask)
        return checked

    @cached_property
    def api(self) -> AirflowApi:
        """Airflow's API, as a person uses it."""
        password = self.stack.secrets.password
        return AirflowApi(self.stack.ui_url, USER, password, patience=PATIENCE, timeout=TIMEOUT)

    def until(self, condition: Callable[[], Any], limit: float = DEADLINE, every: float = 0.5) -> Any:
        """Wait for something that must become true, through outages."""
        deadline = time.monotonic() + limit
        while True:
            try:
                if found := condition():
                    return found
            except (ApiError, KeyError, StopIteration, ValueError):
                pass
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(every)

    def run(self, script: str, dag: str = "job") -> Run:
        """A run whose job runs ``script``."""
        for name in ("a-job", "a-short-job"):
            file = self.packaging_root / "jobs" / name
            file.write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{script}\n")
            file.chmod(0o755)
        plan = BuildPlan(
            version=f"2.0.{next(self.runs)}",
            nightly=False,
            commit="",
            packaging=packaging_files.upload(self.store, self.packaging_root),
            packaging_revision="",
            distros=(),
        )
        run = Run(self, dag, f"{plan.version}-{self.own}")
        self.api.trigger(dag, run.name, {"plan": plan.model_dump(mode="json")})
        return run

    def reap(self) -> str:
        """Run the reaper, and return what it said then, and whenever its schedule was faster."""
        run = Run(self, REAPER, f"reap-{next(self.runs)}")
        self.api.trigger(REAPER, run.name, {})
        assert run.ended() == "success"
        ended = self.api.runs(REAPER, states=["success"])
        result = "taskInstances/reap/xcomEntries/return_value"
        found = [self.api.call("GET", f"/dags/{REAPER}/dagRuns/{one.run_id}/{result}") for one in ended]
        return "\n".join(str(one["value"]) for one in found)

    def left(self) -> list[str]:
        """Instances that bear our tags and live, and containers of any instance."""
        found = self.ec2.client("ec2").describe_instances(
            Filters=[
                {"Name": "tag-key", "Values": [JOB_TAG]},
                {"Name": "instance-state-name", "Values": list(LIVE)},
            ]
        )
        instances = [one["InstanceId"] for group in found["Reservations"] for one in group["Instances"]]
        containers = [id for name in self.launched for id in self.ec2.containers(name)]
        return instances + containers

    @property
    def launched(self) -> list[str]:
        """All instances that there ever were."""
        return list(dict.fromkeys(name for launch in self.ec2.launches for name in launch.instances))

    def nothing_is_left(self, case: str, since: float, by: str = "the task") -> None:
        """Wait until nothing is, and print how long that took."""
        self.until(lambda: not self.left())
        print(f"\nLEAK {case}: nothing left after {time.monotonic() - since:.1f} s, by {by}")


class Run:
    """One run of a DAG with one task, named job."""

    def __init__(self, deployment: Deployment, dag: str, name: str) -> None:
        self.deployment, self.dag, self.name = deployment, dag, name
        self.path = f"/dags/{dag}/dagRuns/{name}"
        self.before = set(deployment.launched)

    @property
    def state(self) -> str:
        return self.deployment.api.state(self.dag, self.name)

    @property
    def task(self) -> Task:
        tasks = self.deployment.api.tasks(self.dag, self.name)
        return next(task for task in tasks if task.task_id == "job")

    def instances(self) -> list[str]:
        """Those that were launched since this run was triggered."""
        return [name for name in self.deployment.launched if name not in self.before]

    def waits(self) -> str:
        """Wait until the task waits and its log has what its job said first. Returns the instance's id."""
        self.deployment.until(lambda: self.task.state == "deferred" and "begun" in self.task_log())
        return self.instances()[-1]

    def task_log(self) -> str:
        return "\n".join(self.deployment.api.log(self.task))

    def ended(self) -> str:
        """The run's final state. Of one that failed, pytest shows why if the test did not want that."""
        state = str(self.deployment.until(lambda: (now := self.state) in ("success", "failed") and now))
        if state == "failed":
            print(self.task_log()[-4000:])
        return state

    def mark_failed(self) -> None:
        """Mark its task failed, as a person does."""
        self.deployment.api.call("PATCH", f"{self.path}/taskInstances/job", {"new_state": "failed"})

    def fail(self) -> None:
        """Mark the run failed."""
        self.deployment.api.fail_run(self.dag, self.name)

    def clear(self) -> None:
        self.deployment.api.clear_tasks(self.dag, self.name, "job")


@contextmanager
def published(address: str, store: Store) -> Generator[str]:
    """The URL at which the instances' containers see the downloads bucket."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = store.downloads.get(self.path.lstrip("/"))
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    with serving(server):
        yield f"http://{address}:{server.server_port}"


@contextmanager
def git_repositories(address: str, directory: Path) -> Generator[str]:
    """The URL at which they see the demo's repositories, of which staging has HHVM 1.0.0."""
    subprocess.run([ROOT / "demo/make-git-repositories", directory, "1.0.0"], check=True)
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    daemon = subprocess.Popen([
        *("git", "daemon", "--export-all", "--reuseaddr", f"--base-path={directory}"),
        *(f"--listen={address}", f"--port={port}"),
    ])
    try:
        yield f"git://{address}:{port}"
    finally:
        daemon.terminate()
        daemon.wait()


def host_address(image: str) -> str:
    """Ours, as containers on the engine's default network reach it: the gateway of their default route."""
    routes = docker.from_env().containers.run(image, ["cat", "/proc/net/route"], remove=True).decode()
    [gateway] = [row.split()[2] for row in routes.splitlines() if row.split()[1] == "00000000"]
    return socket.inet_ntoa(bytes.fromhex(gateway)[::-1])


@pytest.fixture(scope="module")
def deployment(job_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    var = tmp_path_factory.mktemp("ec2")
    bridge = host_address(job_image)
    with ExitStack() as stack:
        ec2 = stack.enter_context(emulated_ec2())
        public_url = stack.enter_context(published(bridge, Store(ec2.client("s3"), Settings())))
        repositories = stack.enter_context(git_repositories(bridge, var / "git"))
        deployment = Deployment(var, ec2, public_url, repositories)
        stack.callback(deployment.stack.down)
        deployment.up()
        yield deployment


def test_a_job_that_succeeds_shows_its_log_and_links_to_its_instance(deployment: Deployment) -> None:
    run = deployment.run("echo begun; until [ -e /enough ]; do date +now:%s; sleep 1; done; echo ended")
    instance = run.waits()
    links = deployment.api.call("GET", f"{run.path}/taskInstances/job/links")["extra_links"]
    assert f"instanceId={instance}" in links["Instance"]
    assert re.search(r"prefix=jobs/[^/]+/[^/]+/[^/]+/$", unquote(links["Whole log"]))
    said = deployment.until(lambda: re.findall(r"now:(\d+)", run.task_log()))
    print(f"\nLOG of a job that says something each second: {time.time() - int(said[-1]):.0f} s behind")
    assert run.task.state == "deferred"
    for container in deployment.ec2.containers(instance):
        docker.from_env().containers.get(container).exec_run(["touch", "/enough"])
    assert run.ended() == "success"
    deployment.nothing_is_left("job succeeds", time.monotonic())
    assert "ended" in run.task_log()


def test_a_job_fails(deployment: Deployment) -> None:
    run = deployment.run("echo begun; exit 3")
    assert run.ended() == "failed"
    deployment.nothing_is_left("job fails", time.monotonic())
    assert "the job failed: exit status 3" in run.task_log()
    assert run.task.try_number == 1


@pytest.mark.slow
def test_a_job_hangs_past_its_limit(deployment: Deployment) -> None:
    run = deployment.run(ENDLESS, dag="short_job")
    assert run.ended() == "failed"
    deployment.nothing_is_left("job hangs past its limit", time.monotonic())
    assert "time limit: " in run.task_log()
    assert len(run.instances()) == 1


@pytest.mark.slow
def test_an_instance_hangs_past_its_jobs_limit(deployment: Deployment) -> None:
    run = deployment.run(ENDLESS, dag="short_job")
    deployment.until(lambda: run.instances() and deployment.ec2.state(run.instances()[-1]) == "running")
    deployment.ec2.hang(run.instances()[-1])
    assert run.ended() == "failed"
    deployment.nothing_is_left("instance hangs", time.monotonic())
    assert "time limit: " in run.task_log()


def test_a_task_is_marked_failed_while_it_waits(deployment: Deployment) -> None:
    run = deployment.run(ENDLESS)
    run.waits()
    since = time.monotonic()
    run.mark_failed()
    deployment.nothing_is_left("task marked failed", since, by="on_kill")


@pytest.mark.slow
def test_a_run_is_marked_failed_while_its_task_waits(deployment: Deployment) -> None:
    run = deployment.run(ENDLESS)
    run.waits()
    since = time.monotonic()
    run.fail()
    deployment.nothing_is_left("run marked failed", since, by="on_kill")


@pytest.mark.slow
def test_a_task_is_cleared_while_it_waits(deployment: Deployment) -> None:
    run = deployment.run(ENDLESS)
    first = run.waits()
    run.clear()
    deployment.until(lambda: run.task.try_number == 2)
    assert run.waits() == first
    assert first not in deployment.reap()
    run.fail()
    deployment.nothing_is_left("task cleared, then its run failed", time.monotonic(), by="on_kill")


def _is_deferred(run: Run) -> bool:
    return bool(run.task.state == "deferred")


@pytest.mark.slow
def test_it_happens_in_the_very_second_of_deferring(deployment: Deployment) -> None:
    ways = {"task marked failed": Run.mark_failed, "run marked failed": Run.fail, "task cleared": Run.clear}
    first = {}
    for what, do in ways.items():
        run = deployment.run(ENDLESS)
        deployment.until(partial(_is_deferred, run), every=0.05)
        [first[what]] = run.instances()
        do(run)
    since = time.monotonic()
    # Cleared, it attaches to its instance.
    deployment.until(lambda: run.task.try_number == 2)
    kept = run.waits()
    assert kept == first.pop("task cleared")
    said = deployment.reap()
    assert kept not in said
    for what, instance in first.items():
        deployment.ec2.wait(instance, "terminated")
        print(f"\nLEAK at once: {what}: ended by {'the reaper' if instance in said else 'on_kill'}")
    run.fail()
    deployment.nothing_is_left("at once, all of them", since, by="as above")


@pytest.mark.parametrize("service", ["triggerer", "scheduler"])
@pytest.mark.slow
def test_a_service_is_killed_while_a_job_runs(deployment: Deployment, service: str) -> None:
    run = deployment.run("echo begun; sleep 5")
    run.waits()
    for process in deployment.stack.processes(service):
        process.kill()
    assert run.ended() == "success"
    deployment.nothing_is_left(f"{service} killed", time.monotonic())
    assert len(run.instances()) == 1


@pytest.mark.slow
def test_a_task_is_killed_between_the_launch_and_waiting(deployment: Deployment) -> None:
    run = deployment.run("echo begun; sleep 5", dag="dying_task")
    assert run.ended() == "success"
    deployment.nothing_is_left("task killed between launch and defer", time.monotonic())
    assert run.task.try_number == 2
    assert len(run.instances()) == 1


@pytest.mark.slow
def test_the_launch_answers_with_an_error_after_launching(deployment: Deployment) -> None:
    # As often as the client asks in one try of the task.
    deployment.ec2.lose_launches("InternalError", times=CLIENTS["retries"]["total_max_attempts"])
    run = deployment.run("echo begun; sleep 5")
    assert run.ended() == "success"
    deployment.nothing_is_left("error after launching", time.monotonic())
    assert run.task.try_number == 2
    assert len(run.instances()) == 1


def test_an_instance_dies(deployment: Deployment) -> None:
    run = deployment.run(ENDLESS)
    instance = run.waits()
    killed = time.monotonic()
    deployment.ec2.kill(instance)
    deployment.until(lambda: run.task.state == "up_for_retry")
    print(f"\nLEAK instance dies: noticed after {time.monotonic() - killed:.1f} s")
    assert "worker lost: " in run.task_log()
    run.fail()
    deployment.nothing_is_left("instance dies", killed)


def test_the_reaper_leaves_what_somebody_waits_for_and_ends_what_is_left_of_others(
    deployment: Deployment,
) -> None:
    run = deployment.run(ENDLESS)
    instance = run.waits()
    client = deployment.ec2.client("ec2")
    zone = next(iter(deployment.ec2.subnets))
    tags = {**deployment.ec2.launches[-1].tags(), "hhvm.run": "gone"}
    volume = client.create_volume(
        AvailabilityZone=zone,
        Size=8,
        TagSpecifications=[
            {
                "ResourceType": "volume",
                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
            }
        ],
    )["VolumeId"]
    said = deployment.reap()
    assert f"ended volume {volume}" in said
    assert instance not in said
    assert deployment.ec2.state(instance) == "running"
    run.fail()
    deployment.nothing_is_left("reaper beside a live task", time.monotonic(), by="on_kill")


def test_bin_check_deployment_sees_airflows_pools_and_connections(deployment: Deployment) -> None:
    assert deployment.check(CONNECTION) == {
        "pool workers": ("right", f"{ROOM} slots, deferred tasks included"),
        "pool publish": ("wrong", "there is none: its tasks never start"),
        f"connection {CONNECTION}": ("right", "it is there"),
        # The services' environment has them, which Airflow's API does not show.
        "connection hhvm_airflow_api": ("unknown", "it is not in Airflow's database"),
        "connection hhvm_signing_key": ("unknown", "it is not in Airflow's database"),
    }
    deployment.api.ensure_pool("publish", 2, include_deferred=False)
    deployment.connect("without_region")
    changed = deployment.check("without_region")
    deployment.api.call("DELETE", "/pools/publish")
    assert changed["pool publish"] == (
        "wrong",
        "it has 2 slots, not 1, and leaves out tasks that are deferred",
    )
    assert changed["connection without_region"] == (
        "wrong",
        "it has no region_name: KMS does not answer, and S3 redirects",
    )


@pytest.mark.slow
def test_all_builds_finish_although_there_is_room_for_few(deployment: Deployment) -> None:
    outcome = room.run(deployment.api, deployment.ec2, room=2, limit=DEADLINE)
    deployment.api.ensure_pool("workers", ROOM, include_deferred=True)
    deployment.ec2.limit_instances(ROOM)
    assert set(outcome.states.values()) == {"success"}
    assert outcome.built == set(outcome.states)
    assert len(outcome.built) == outcome.launches == 4
    deployment.nothing_is_left("room for few", time.monotonic())


# Not first: while the first tests run, the demo's own test builds packages beside them.
@pytest.mark.slow
def test_a_version_is_built_on_instances_up_to_the_packages_that_install(deployment: Deployment) -> None:
    renewal = Run(deployment, RENEWER, f"renewal-{deployment.own}")
    deployment.api.trigger(renewal.dag, renewal.name, {})

    def has_made() -> bool:
        made = deployment.api.tasks(renewal.dag, renewal.name, DependenciesTask.MAKE_IMAGE)
        return {task.label: task.state for task in made}[DISTRO] == "success"

    # Not the run: there are no base images of other distributions than Debian here.
    deployment.until(has_made)
    run = Run(deployment, "hhvm_build", f"whole-{deployment.own}")
    deployment.api.trigger(run.dag, run.name, {"version": "1.0.0", "distros": [DISTRO]})
    assert run.ended() == "success"
    release, store = Release.parse("1.0.0", today=datetime.date(2026, 1, 1)), deployment.store
    manifest = PackageManifest.read(store, release, DISTRO)
    assert manifest is not None
    assert manifest.is_built(store, release)
    assert [deb.name for deb in manifest.packages] == [
        "hhvm-dbg_1.0.0-1~bookworm_amd64.deb",
        "hhvm-dev_1.0.0-1~bookworm_amd64.deb",
        "hhvm_1.0.0-1~bookworm_amd64.deb",
    ]
    assert store.scratch.head(keys.tarball_signature(release))
    # Airflow's own copies, not what the instances wrote.
    files = [key for key in store.scratch.keys(keys.jobs("1.0.0")) if keys.Scratch.JOB_FILE.match(key)]
    logs = [key for key in files if key.endswith(f"/{keys.LOG}")]
    [key] = [key for key in logs if f"make-binary-package-{DISTRO}-" in key]
    log = (store.scratch.get(key) or b"").decode()
    assert "1.0.0, debian-12-bookworm: the build dependencies are those of the image sha256:" in log
    assert "1.0.0, debian-12-bookworm, fresh install: 1.0.0-1~bookworm installs and runs" in log
    assert len(run.instances()) == 2
    deployment.nothing_is_left("a whole build", time.monotonic())


@pytest.mark.slow
def test_airflow_is_stopped_altogether_and_the_reaper_runs_later(deployment: Deployment) -> None:
    run = deployment.run(ENDLESS)
    instance = run.waits()
    deployment.stack.down()
    assert deployment.ec2.state(instance) == "running"
    without_triggers = Stack(
        deployment.stack.var,
        services=tuple(set(AIRFLOW) - {"triggerer"}),
        dags_folder=deployment.dags,
    )
    without_triggers.up()
    run.fail()
    since = time.monotonic()
    said = deployment.reap()
    assert f"ended instance {instance}" in said
    assert "is failed" in said
    deployment.nothing_is_left("Airflow stopped altogether", since, by="the reaper")


# After all the others.
def test_no_launch_and_nothing_that_an_instance_left_has_a_secret(deployment: Deployment) -> None:
    search, scratch = SecretSearch(deployment.stack), deployment.store.scratch
    seen = {f"launch of {launch.instances}": launch for launch in deployment.ec2.launches}
    texts = {name: f"{launch.user_data}{launch.parameters}" for name, launch in seen.items()}
    assert all("HHVM_DIRECTORY" in text for text in texts.values())
    left = {key: scratch.get(key) or b"" for key in scratch.keys("jobs/")}
    assert any(key.endswith(keys.LOG) for key in left)
    found = {name: search.text(text) for name, text in (texts | left).items()}
    assert {name: secrets for name, secrets in found.items() if secrets} == {}
