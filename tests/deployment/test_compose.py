"""The deployment by docker-compose: it releases, keeps the key from the engine, and survives what dies in it.

The tests build upon one another, in this order, over one deployment with data of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from testing.newcomer import BUILD, PUBLISH, ROOT, WRAPPER

if TYPE_CHECKING:
    from pathlib import Path

    from testing.deployer import Deployer

pytestmark = pytest.mark.timeout(1800)

DISTROS = ["debian-12-bookworm", "debian-13-trixie"]
QUEUES = {
    "sign_source_tarball": "worker-signing",
    "candidate": "worker-signing",
    "update_repositories": "worker-signing",
    "make_source_tarball": "worker-engine",
    "make_binary_package": "worker-engine",
    "verify_candidate": "worker-engine",
    "plan": "worker",
    "build_report": "worker",
    "publish_report": "worker",
}
"""Where tasks ran, for some of them."""
WITH_ENGINE = {"worker-engine", "triggerer-engine"}
WITH_KEY = {"worker-signing"}


def test_a_release_goes_through_the_deployment_and_is_installed(deployer: Deployer) -> None:
    printed = deployer.make("compose-demo", timeout=1800)
    for distro in DISTROS:
        assert re.search(rf"install {distro}.*HipHop VM 1\.0\.0 \(rel\)", printed), printed


def test_the_compose_file_is_clean(deployer: Deployer) -> None:
    command = [*deployer.stack.person_command, "config", "--quiet"]
    done = subprocess.run(command, env=deployer.stack.person_environment(), capture_output=True, check=True)
    assert not done.stdout + done.stderr


def test_without_what_has_no_default_nothing_starts(deployer: Deployer, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    command = [
        "docker",
        "compose",
        "--file",
        "docker-compose.yaml",
        "--env-file",
        str(tmp_path / ".env"),
        "config",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "run bin/fill-in-deployment" in done.stderr


def test_each_task_ran_on_the_worker_of_its_queue(deployer: Deployer) -> None:
    hosts = {str(container.id)[:12]: service for service, container in deployer.services().items()}
    ran = {task: hosts.get(host) for task, host in deployer.hosts("demo-1.0.0", "1.0.0").items()}
    assert ran | QUEUES == ran


def test_no_container_has_both_the_key_and_the_engine_and_most_have_neither(deployer: Deployer) -> None:
    private = (deployer.var / "secrets" / "signing_key").read_text()
    key = max(private.splitlines(), key=len)
    for service, container in deployer.services().items():
        mounts = {mount["Destination"] for mount in container.attrs["Mounts"]}
        assert ("/var/run/docker.sock" in mounts) == (service in WITH_ENGINE), service
        secrets = deployer.execute(service, "sh", "-c", "cat /run/secrets/* 2>/dev/null || true")
        assert (key in secrets) == (service in WITH_KEY), service
        environment = "cat /proc/[0-9]*/environ 2>/dev/null || true"
        assert key not in deployer.execute(service, "sh", "-c", environment), service
        assert key not in json.dumps(container.attrs), service


def test_no_container_runs_as_root_or_could_become_root(deployer: Deployer) -> None:
    for service, container in deployer.services().items():
        for process in container.top(ps_args="-eo pid,uid,args")["Processes"]:
            assert process[1] != "0", (service, process)
        host = container.attrs["HostConfig"]
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert not host["Privileged"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert host["Memory"], service


def test_only_the_ui_and_the_downloads_are_published(deployer: Deployer) -> None:
    published = {
        (service, port["HostIp"], int(port["HostPort"]))
        for service, container in deployer.services().items()
        for ports in container.attrs["HostConfig"]["PortBindings"].values()
        for port in ports
    }
    ports = deployer.stack.ports
    assert published == {("api-server", "127.0.0.1", ports.ui), ("downloads", "", ports.downloads)}


def test_jobs_reach_what_is_public_and_none_of_the_services(deployer: Deployer) -> None:
    inner = {"postgres": 5432, "broker": 6379, "s3": 8082, "api-server": 8080, "worker-signing": 8793}
    targets = [
        f"{network['IPAddress']}/{inner[service]}"
        for service, container in deployer.services().items()
        if service in inner
        for network in container.attrs["NetworkSettings"]["Networks"].values()
    ]
    assert len(targets) >= len(inner)
    public = deployer.stack.public_url.removeprefix("http://").replace(":", "/")
    script = 'for target; do timeout 3 bash -c "</dev/tcp/$target" 2>/dev/null && echo "$target"; done; true'
    answering = deployer.engine.containers.run(
        "debian:bookworm",
        ["bash", "-c", script, "-", public, *targets],
        network=f"{deployer.stack.project}_jobs",
        remove=True,
    )
    assert answering.decode().split() == [public]
    options = deployer.engine.networks.get(f"{deployer.stack.project}_jobs").attrs["Options"]
    assert options["com.docker.network.bridge.enable_icc"] == "false"


def test_no_secret_is_in_any_layer_of_the_image_or_in_its_history(deployer: Deployer) -> None:
    secrets = {
        file.name: max(file.read_bytes().splitlines(), key=len)
        for file in (deployer.var / "secrets").iterdir()
        if file.name != "public_key"
    }
    assert secrets
    overlap = max(map(len, secrets.values()))
    end = b""
    for chunk in deployer.engine.images.get("hhvm-packaging:demo").save():
        block = end + chunk
        assert not [name for name, secret in secrets.items() if secret in block]
        end = block[-overlap:]


def test_the_ui_names_the_revision_that_runs(deployer: Deployer) -> None:
    environment = deployer.services()["api-server"].attrs["Config"]["Env"]
    assert f"AIRFLOW__API__INSTANCE_NAME=HHVM packaging {deployer.stack.revision}" in environment


def test_setting_it_up_again_changes_nothing(deployer: Deployer) -> None:
    printed = deployer.make("compose-demo", timeout=1800)
    assert "is built and published already" in printed


def test_a_release_ends_green_whatever_is_killed_under_it(deployer: Deployer) -> None:
    deployer.tag("1.0.1")
    run_id = "chaos"
    assert deployer.trigger(WRAPPER, run_id, {"version": "1.0.1"}).is_success
    child = deployer.child(WRAPPER, run_id, "1.0.1")
    deployer.until_at(BUILD, child, "make_binary_package")
    deployer.until(lambda: deployer.building("1.0.1"))
    for service in ("worker-engine", "triggerer-engine", "scheduler", "dag-processor", "api-server"):
        deployer.kill(service)
    for service in ("postgres", "broker"):
        deployer.services()[service].restart()
    deployer.until_at(PUBLISH, child, "update_repositories")
    deployer.kill("worker-signing")
    assert deployer.ended(WRAPPER, run_id) == "success"
    assert deployer.builds("1.0.1") == len(DISTROS)
    for suite in ("bookworm", "trixie"):
        assert f"1.0.1-1~{suite}" in deployer.offered(suite)
        assert deployer.publishes("1.0.1", suite) == 1


def test_what_was_killed_is_healthy_again(deployer: Deployer) -> None:
    def healthy() -> bool:
        states = [container.attrs["State"] for container in deployer.services().values()]
        return len(states) >= 11 and all(state["Health"]["Status"] == "healthy" for state in states)

    deployer.until(healthy, limit=300)
