"""Jobs in real containers: what is kept, what is cleaned up, and what is said when one does not succeed."""

from __future__ import annotations

import asyncio
import datetime
import io
import json
import shutil
import tarfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.apt.index import sha256
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration import connections
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.settings import Settings
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers.docker import (
    DEPENDENCIES_LABEL,
    JOB_LABEL,
    DockerWorker,
    ensure_network,
)
from hhvm_packaging.workers.job import Input, Job, JobFailed, TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client

ROOT = Path(__file__).resolve().parents[2]
ATTEMPT = AttemptId.new()
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Bench:
    """A worker, a store, and packaging files whose job is a script of the test."""

    def __init__(self, root: Path, s3: S3Client) -> None:
        self.root = root
        self.name = f"hhvm-test-{uuid.uuid4().hex}"
        self.settings = Settings(packaging_root=root / "packaging", docker_work_directory=root / "work")
        self.store = Store(s3, self.settings)
        self.worker = DockerWorker(connections.docker_worker().engine, self.settings)
        (root / "packaging").mkdir()
        for part in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / part, root / "packaging" / part, symlinks=True)

    def job(self, script: str, *, inputs: tuple[Input, ...] = (), needs_engine: bool = False) -> Job:
        """The job that runs ``script``."""
        file = self.root / "packaging/jobs/a-job"
        file.write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{script}\n")
        file.chmod(0o755)
        return Job(
            version="1.0.0",
            script="a-job",
            distro="debian-12-bookworm",
            packaging=packaging_files.upload(self.store, self.root / "packaging"),
            environment={},
            inputs=inputs,
            outputs=f"1.0.0/debian-12-bookworm/{ATTEMPT}/",
            needs_engine=needs_engine,
            time_limit=60,
        )

    def start(self, job: Job) -> None:
        """Start the job."""
        self.worker.start(self.name, ATTEMPT, job, {"hhvm.test": "yes"}, self.store)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that must become true."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.1)

    def ended(self) -> None:
        """Wait for the job's end."""
        self.until(lambda: self.worker.state(self.name).phase == "ended")

    def run(self, job: Job) -> None:
        """Start the job and wait for its end."""
        self.start(job)
        self.ended()

    def containers(self) -> list[str]:
        """All containers of this job."""
        found = self.worker.engine.containers(all=True, filters={"label": f"{JOB_LABEL}={self.name}"})
        return [container["Id"] for container in found]


@pytest.fixture
def bench(tmp_path: Path, s3: S3Client, job_image: str) -> Iterator[Bench]:
    """Where a job of the test's own runs; nothing is left of it."""
    bench = Bench(tmp_path, s3)
    yield bench
    bench.worker.remove(bench.name)


def test_a_killed_container_is_told_from_a_failed_job(bench: Bench) -> None:
    job = bench.job("sleep 600")
    bench.start(job)
    bench.worker.engine.kill(bench.name)
    bench.ended()
    with pytest.raises(TryAgain, match=r"worker lost: its container was killed or died \(exit status 137\)"):
        bench.worker.collect(bench.name, ATTEMPT, job, bench.store)


def test_a_removed_container_is_a_failure_with_a_reason(bench: Bench) -> None:
    job = bench.job("sleep 600")
    bench.start(job)
    bench.worker.engine.remove_container(bench.name, force=True)
    assert bench.worker.state(bench.name).phase == "absent"
    with pytest.raises(TryAgain, match="worker lost: its container is gone, without a result"):
        bench.worker.collect(bench.name, ATTEMPT, job, bench.store)


def test_a_job_that_leaves_a_file_with_a_name_that_no_artifact_may_have_fails(bench: Bench) -> None:
    job = bench.job('touch "$OUT/manifest.json"')
    bench.run(job)
    with pytest.raises(JobFailed, match=r"the job failed: the name manifest\.json .* is not allowed"):
        bench.worker.collect(bench.name, ATTEMPT, job, bench.store)
    assert list(bench.store.scratch.keys(str(job.outputs))) == []


@pytest.mark.parametrize("length", [12, 40])
def test_a_job_is_in_the_network_that_the_settings_name_which_is_made(bench: Bench, length: int) -> None:
    name = f"hhvm-{uuid.uuid4().hex}"[:length]
    engine = bench.worker.engine
    bench.worker = DockerWorker(engine, bench.settings.model_copy(update={"docker_network": name}))
    try:
        bench.start(bench.job("sleep 600"))
        container = engine.inspect_container(bench.name)
        [network] = engine.networks(names=[name])
        assert list(container["NetworkSettings"]["Networks"]) == [name]
        assert network["Driver"] == "bridge"
        assert network["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    finally:
        bench.worker.remove(bench.name)
        engine.remove_network(name)


def test_processes_that_miss_the_network_at_once_make_one(docker_engine: None) -> None:
    name = f"hhvm-{uuid.uuid4().hex}"[:15]
    engines = [connections.docker_worker().engine for _ in range(4)]
    try:
        with ThreadPoolExecutor() as pool:
            made = [pool.submit(ensure_network, engine, name) for engine in engines]
        assert len({future.result()["Id"] for future in made}) == 1
        assert len(engines[0].networks(names=[name])) == 1
    finally:
        engines[0].remove_network(name)


def test_a_pause_is_over_with_the_job(bench: Bench) -> None:
    async def killed_meanwhile() -> None:
        pause = asyncio.create_task(bench.worker.pause(bench.name, 300))
        await asyncio.to_thread(bench.worker.engine.kill, bench.name)
        await asyncio.wait_for(pause, 60)

    bench.start(bench.job("sleep 600"))
    asyncio.run(killed_meanwhile())
    assert bench.worker.state(bench.name).phase == "ended"


def test_a_pause_is_over_in_time_however_many_wait_for_longer(bench: Bench) -> None:
    async def one_more() -> None:
        longer = [asyncio.create_task(bench.worker.pause(bench.name, 300)) for _ in range(30)]
        pause = asyncio.create_task(bench.worker.pause(bench.name, 0.5))
        await asyncio.wait_for(pause, 60)
        assert not any(other.done() for other in longer)

    bench.start(bench.job("sleep 600"))
    asyncio.run(one_more())


def test_there_is_no_pause_for_a_container_that_is_gone(bench: Bench) -> None:
    asyncio.run(asyncio.wait_for(bench.worker.pause(bench.name, 300), 60))


def test_a_running_job_is_adopted_instead_of_started_again(bench: Bench) -> None:
    job = bench.job("sleep 600")
    bench.start(job)
    before = bench.containers()
    assert bench.worker.adopt(bench.name, job, bench.store) == ATTEMPT
    assert bench.containers() == before


def test_a_job_that_ended_well_is_adopted_with_its_result(bench: Bench) -> None:
    job = bench.job("true")
    bench.run(job)
    assert bench.worker.adopt(bench.name, job, bench.store) == ATTEMPT


def test_a_job_that_ended_is_not_run_again_when_it_is_adopted(bench: Bench) -> None:
    job = bench.job("true")
    bench.run(job)
    before = bench.worker.engine.inspect_container(bench.name)["State"]
    assert bench.worker.adopt(bench.name, job, bench.store) == ATTEMPT
    assert bench.worker.engine.inspect_container(bench.name)["State"] == before


def test_a_job_whose_failure_is_recorded_is_not_adopted_and_is_gone(bench: Bench) -> None:
    job = bench.job("false")
    bench.run(job)
    with pytest.raises(JobFailed):
        bench.worker.collect(bench.name, ATTEMPT, job, bench.store)
    assert bench.worker.adopt(bench.name, job, bench.store) is None
    assert bench.containers() == []


def test_a_job_with_other_inputs_is_not_adopted_and_is_ended(bench: Bench) -> None:
    bench.start(bench.job("sleep 600"))
    assert bench.worker.adopt(bench.name, bench.job("sleep 601"), bench.store) is None
    assert bench.containers() == []


def test_a_container_whose_starter_died_before_starting_it_is_started(bench: Bench) -> None:
    job = bench.job("true")
    bench.start(job)
    bench.ended()
    config = bench.worker.engine.inspect_container(bench.name)["Config"]
    directory = bench.worker.directory(bench.name)
    bench.worker.engine.remove_container(bench.name)
    (directory / "result.json").unlink()
    bench.worker.engine.create_container(
        config["Image"],
        command=config["Cmd"],
        name=bench.name,
        labels=config["Labels"],
        host_config=bench.worker.engine.create_host_config(binds=[f"{directory}:{directory}"]),
    )
    assert bench.worker.adopt(bench.name, job, bench.store) == ATTEMPT
    bench.ended()
    assert bench.worker.collect(bench.name, ATTEMPT, job, bench.store).exit_status == 0


def test_removing_a_job_ends_the_containers_that_it_started(bench: Bench) -> None:
    job = bench.job(
        'docker run --detach --label "hhvm.job=$HHVM_JOB" debian:bookworm sleep 600; sleep 600',
        needs_engine=True,
    )
    bench.start(job)
    bench.until(lambda: len(bench.containers()) == 2)
    bench.worker.remove(bench.name)
    assert bench.containers() == []
    assert not bench.worker.directory(bench.name).exists()


# An engine begins to watch a container's memory just after its start, and the control group is gone at its
# end. It may never hear of a process that is killed in the first or the last moment.
OUT_OF_MEMORY = """
. "${0%/*}/lib/hhvm-packaging.sh"
run_throwaway_container --memory 32m --memory-swap 32m debian:bookworm \\
  bash -c 'sleep 1; head --bytes 200m /dev/zero | tail; sleep 1; echo "the build failed"; exit 1'
"""


def test_a_job_lacked_memory_if_the_kernel_killed_a_process_of_one_of_its_containers(bench: Bench) -> None:
    bench.run(job := bench.job(OUT_OF_MEMORY, needs_engine=True))
    with pytest.raises(TryAgain, match="a-job: out of memory: exit status 1") as told:
        bench.worker.collect(bench.name, ATTEMPT, job, bench.store)
    assert "a container ran out of memory: the kernel killed a process in it" in str(told.value)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("echo cc1plus: No space left on device; exit 1", 1),
        ("echo c++: fatal error: Killed signal terminated program cc1plus; exit 1", 1),
        ("exit 137", 137),
    ],
)
def test_what_a_job_says_does_not_decide_that_it_lacked_something(
    bench: Bench, script: str, status: int
) -> None:
    bench.run(job := bench.job(script))
    with pytest.raises(JobFailed, match=f"a-job: the job failed: exit status {status}"):
        bench.worker.collect(bench.name, ATTEMPT, job, bench.store)


def test_what_is_left_of_a_job_is_found_with_its_labels_and_ended(bench: Bench) -> None:
    job = bench.job(
        'docker run --detach --label "hhvm.job=$HHVM_JOB" --label "hhvm.work=$HHVM_WORK" debian:bookworm '
        "sleep 600; sleep 600",
        needs_engine=True,
    )
    bench.start(job)
    bench.until(lambda: len(bench.containers()) == 2)
    assert [found.kind for found in bench.worker.find()] == ["container"]
    bench.worker.engine.remove_container(bench.name, force=True)
    [left] = bench.worker.find()
    assert (left.name, left.kind, left.labels["hhvm.test"]) == (bench.name, "container", "yes")
    for container in bench.containers():
        bench.worker.engine.remove_container(container, force=True)
    [left] = bench.worker.find()
    assert (left.name, left.kind, left.labels["hhvm.test"]) == (bench.name, "directory", "yes")
    bench.worker.end(left)
    assert list(bench.worker.find()) == []
    assert not bench.worker.directory(bench.name).exists()


def test_an_input_with_other_bytes_than_named_is_refused_before_the_container_starts(bench: Bench) -> None:
    bench.store.scratch.put("hhvm-1.0.0.tar.gz", b"damaged")
    item = Input(key="hhvm-1.0.0.tar.gz", name="hhvm-1.0.0.tar.gz", sha256=EMPTY_SHA256)
    with pytest.raises(JobFailed, match=f"not {EMPTY_SHA256}"):
        bench.start(bench.job("true", inputs=(item,)))
    assert bench.containers() == []


def test_a_job_that_the_engine_refuses_says_why_and_leaves_nothing(bench: Bench) -> None:
    bench.settings.docker_volumes.append("no/such:relative:volume:at:all")
    with pytest.raises(JobFailed, match=r"HHVM 1\.0\.0, .*, a-job: .*: the Docker engine refused it: "):
        bench.start(bench.job("true"))
    assert bench.containers() == []
    assert not bench.worker.directory(bench.name).exists()


def test_only_a_job_that_asks_for_it_reaches_the_engine(bench: Bench) -> None:
    job = bench.job("docker version")
    bench.run(job)
    with pytest.raises(JobFailed, match="exit status 1"):
        bench.worker.collect(bench.name, ATTEMPT, job, bench.store)


def image_of(created: str) -> bytes:
    """An image with a label as those with build dependencies have, of that time."""
    layer = io.BytesIO()
    tarfile.open(fileobj=layer, mode="w").close()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {"Labels": {DEPENDENCIES_LABEL: "debian-12-bookworm"}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer.getvalue())}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [], "Layers": ["layer.tar"]}]
    image = io.BytesIO()
    with tarfile.open(fileobj=image, mode="w") as tar:
        for name, content in (
            ("layer.tar", layer.getvalue()),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return image.getvalue()


def test_images_with_build_dependencies_that_are_too_old_are_removed_and_named(bench: Bench) -> None:
    now = datetime.datetime.now(datetime.UTC)
    old, young = (
        bench.worker.engine.load_image(image_of((now - datetime.timedelta(days=days)).isoformat()))
        for days in (8, 6)
    )
    ids = [next(iter(loaded))["stream"].strip().rpartition("Loaded image ID: ")[2] for loaded in (old, young)]
    said = "\n".join(bench.worker.tidy())
    assert f"removed image {ids[0]}: build dependencies of 'debian-12-bookworm', 8.0 days old" in said
    assert ids[1] not in said
    bench.worker.engine.remove_image(ids[1])


def test_images_with_build_dependencies_stay_where_only_another_deployment_uses_them(bench: Bench) -> None:
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=8)
    [loaded, *_] = bench.worker.engine.load_image(image_of(old.isoformat()))
    image = loaded["stream"].strip().rpartition("Loaded image ID: ")[2]
    settings = bench.worker.settings.model_copy(update={"dependencies_image_days": 0})
    assert list(DockerWorker(bench.worker.engine, settings).tidy()) == []
    bench.worker.engine.remove_image(image)
