"""What both kinds of worker do alike: the same job gives the same result, bytes and words."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hhvm_packaging.apt.index import sha256
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration import connections
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers.docker import DockerWorker
from hhvm_packaging.workers.ec2 import Ec2Worker
from hhvm_packaging.workers.job import Input, Job, JobFailed, Result
from testing.ec2 import AIRFLOW, emulated_ec2, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.workers.worker import Worker
    from testing.ec2 import EC2

ROOT = Path(__file__).resolve().parents[2]
ATTEMPT = AttemptId.new()
VALUES = {
    "V_QUOTES": """it's "quoted" """,
    "V_SHELL": "$(id) `id` ${HOME} $HOME; true && false | cat >/dev/null #",
    "V_LINES": "\nfirst\r\n\tsecond\n\n",
    "V_BACKSLASHES": "\\ \\n \\\\",
    "V_UNICODE": "Grüße, 世界 \N{PACKAGE}",
    "V_DASHES": "--rm --privileged",
    "V_EQUALS": "a=b=c",
    "V_JSON": '{"a": [1, null], "b": "\\u0000"}',
    "V_GLOB": "* ? [a-z] ~ !!",
    "V_EMPTY": "",
}
INPUTS = {
    "dists/bookworm/InRelease": b"signed\n",
    "a name with spaces; and 'quotes'": b"\0\xff",
    "-leading-dash": b"",
}
SCRIPTS = {
    "makes-all": """
        for name in "${!V_@}"; do printf '%s=%s\\0' "$name" "${!name}"; done >"$OUT/the values"
        (cd "$IN" && find . -type f -exec sha256sum -- {} +) | sort >"$OUT/inputs"
        cd "$OUT"
        mkdir -p /tmp/hhvm/DEBIAN
        printf '%s\\n' 'Package: hhvm' 'Version: 1.0.0-1' 'Architecture: all' \\
          'Maintainer: HHVM <hhvm@example.org>' 'Description: a package' >/tmp/hhvm/DEBIAN/control
        SOURCE_DATE_EPOCH=0 dpkg-deb --root-owner-group --build /tmp/hhvm hhvm_1.0.0-1_all.deb
        echo "and to stderr" >&2
        """,
    "ignores-a-changed-cache": 'cd "$IN"; grep -H "" ccache.tar*',
    "ignores-a-lost-cache": 'cd "$IN"; grep -H "" ccache.tar*',
    "fails-unseen": "exit 3",
    "fails": "seq --format='line %.0f' 40; exit 3",
    "stays-too-long": "exec sleep 600",
    "stays": "echo begun; exec sleep 600",
}
LIMITS = {"stays-too-long": 1}
CACHE = b"objects"
STORED_CACHES = {"makes-all": CACHE, "ignores-a-changed-cache": b"poisoned", "ignores-a-lost-cache": None}
"""What is stored where the job's cache should be."""


@dataclass
class Deployment:
    """One kind of worker, on which every script was started."""

    worker: Worker
    store: Store
    jobs: dict[str, Job]

    def name(self, script: str) -> str:
        """The job's, which is the same for both kinds but for where it runs."""
        return f"hhvm-1.0.0-{script}-{self.store.scratch.name}"

    def start(self, script: str) -> None:
        self.worker.start(self.name(script), ATTEMPT, self.jobs[script], LABELS, self.store)

    def collect(self, script: str) -> Result:
        """What the job came to, once it has ended."""
        name, job = self.name(script), self.jobs[script]
        until(lambda: self.worker.phase(name, job, ATTEMPT) != "running", 300, lambda: self.log(script))
        return self.worker.collect(name, ATTEMPT, job, self.store)

    def log(self, script: str, since: int = 0) -> str:
        return self.worker.log(self.name(script), self.jobs[script], ATTEMPT, since).decode()

    def kept(self, script: str, file: str) -> bytes:
        """A file of the job's own directory in the store."""
        return self.store.scratch.get(keys.job_file("1.0.0", self.name(script), ATTEMPT, file)) or b""

    def artifacts(self, script: str) -> dict[str, bytes]:
        """What the job made, by name."""
        prefix = str(self.jobs[script].outputs)
        scratch = self.store.scratch
        return {key.removeprefix(prefix): scratch.get(key) or b"" for key in scratch.keys(prefix)}


LABELS = {"hhvm.expires": "4102444800"}


@pytest.fixture(scope="module")
def ec2(base_images: None) -> Iterator[EC2]:
    with emulated_ec2() as ec2:
        yield ec2


@pytest.fixture(scope="module")
def deployments(
    ec2: EC2, job_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Deployment]]:
    """Both kinds at work on the same jobs, so that nobody waits for one after the other."""
    root = tmp_path_factory.mktemp("deployments")
    for part in ("bin", "jobs", "distros"):
        shutil.copytree(ROOT / part, root / "packaging" / part, symlinks=True)
    for script, lines in SCRIPTS.items():
        file = root / "packaging/jobs" / script
        file.write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{lines}\n")
        file.chmod(0o755)
    made = {kind: deployment(kind, ec2, root) for kind in ("ec2", "docker")}
    for each in made.values():
        for script in SCRIPTS:
            each.start(script)
    yield made
    for each in made.values():
        for script in SCRIPTS:
            each.worker.remove(each.name(script))


def deployment(kind: str, ec2: EC2, root: Path) -> Deployment:
    """One with a scratch bucket of its own."""
    bucket = "hhvm-scratch" if kind == "ec2" else f"scratch-{uuid.uuid4().hex}"
    settings = Settings(
        scratch_bucket=bucket, packaging_root=root / "packaging", docker_work_directory=root / "work"
    )
    caller = AIRFLOW if kind == "ec2" else "test"
    s3, client = ec2.client("s3", caller), ec2.client("ec2", caller)
    if kind == "docker":
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    store = Store(s3, settings)

    def launch(parameters: dict[str, Any]) -> str:
        answer = client.run_instances(MinCount=1, MaxCount=1, **parameters)
        return str(answer["Instances"][0]["InstanceId"])

    worker: Worker = (
        Ec2Worker(client, store, settings, image=lambda _: ec2.image_id, launch=launch)
        if kind == "ec2"
        else DockerWorker(connections.docker_worker().engine, settings)
    )
    return Deployment(worker, store, jobs(store, settings))


def jobs(store: Store, settings: Settings) -> dict[str, Job]:
    """By script."""
    inputs = []
    for number, (name, content) in enumerate(INPUTS.items()):
        key = f"hhvm-1.0.{number}.tar.gz"  # What a build may read.
        store.scratch.put(key, content)
        inputs.append(Input(key=key, name=name, sha256=sha256(content)))
    sha = packaging_files.upload(store, settings.packaging_root)
    caches = {}
    for script, stored in STORED_CACHES.items():
        key = keys.compiler_cache(script, sha256(CACHE))
        if stored is not None:
            store.scratch.put(key, stored)
        caches[script] = (Input(key=key, name="ccache.tar", sha256=sha256(CACHE)),)
    return {
        script: Job(
            version="1.0.0",
            script=script,
            distro="debian-12-bookworm",
            packaging=sha,
            environment=VALUES,
            inputs=tuple(inputs),
            caches=caches.get(script, ()),
            outputs=f"1.0.0/debian-12-bookworm/{ATTEMPT}/",
            time_limit=LIMITS.get(script, 600),
        )
        for script in SCRIPTS
    }


@pytest.fixture(params=["docker", "ec2"])
def worker(request: pytest.FixtureRequest, deployments: dict[str, Deployment]) -> Deployment:
    return deployments[request.param]


def test_values_arrive_exactly(worker: Deployment) -> None:
    worker.collect("makes-all")
    seen = worker.artifacts("makes-all")["the values"].decode().removesuffix("\0").split("\0")
    assert dict(value.split("=", 1) for value in seen) == VALUES


def test_inputs_are_there_under_their_names(worker: Deployment) -> None:
    worker.collect("makes-all")
    lines = worker.artifacts("makes-all")["inputs"].decode().splitlines()
    files = {**INPUTS, "ccache.tar": CACHE}
    assert sorted(lines) == sorted(f"{sha256(content)}  ./{name}" for name, content in files.items())


@pytest.mark.parametrize("script", ["ignores-a-changed-cache", "ignores-a-lost-cache"])
def test_a_cache_that_was_changed_or_is_gone_is_left_out_and_the_job_is_told_why(
    worker: Deployment, script: str
) -> None:
    worker.collect(script)
    key = f"s3://{worker.store.scratch.name}/{worker.jobs[script].caches[0].key}"
    [said] = worker.log(script).splitlines()
    assert said.startswith("ccache.tar.refused:")
    assert key in said


def test_the_result_describes_the_bytes_that_are_kept(worker: Deployment) -> None:
    result = worker.collect("makes-all")
    made = worker.artifacts("makes-all")
    assert sorted(artifact.name for artifact in result.artifacts) == sorted(made)
    for artifact in result.artifacts:
        content = made[artifact.name]
        assert (artifact.size, artifact.sha256) == (len(content), sha256(content))
    assert Result.model_validate_json(worker.kept("makes-all", "result.json")) == result


def test_the_same_job_gives_the_same_result_bytes_and_log_on_both(deployments: dict[str, Deployment]) -> None:
    results = {kind: each.collect("makes-all") for kind, each in deployments.items()}
    times = {"started", "finished"}
    assert results["ec2"].model_dump(exclude=times) == results["docker"].model_dump(exclude=times)
    [deb] = [artifact for artifact in results["ec2"].artifacts if artifact.stanza]
    assert str(deb.stanza).startswith("Package: hhvm\n")
    ec2, docker = deployments["ec2"], deployments["docker"]
    assert ec2.artifacts("makes-all") == docker.artifacts("makes-all")
    assert ec2.kept("makes-all", "log.txt") == docker.kept("makes-all", "log.txt") != b""


def test_a_failed_job_is_told_with_what_it_was_its_class_last_lines_and_log(worker: Deployment) -> None:
    with pytest.raises(JobFailed) as failure:
        worker.collect("fails")
    told, _, lines = str(failure.value).partition("\nIts last lines:\n")
    assert told.startswith("HHVM 1.0.0, debian-12-bookworm, fails: the job failed")
    assert "exit status 3" in told
    assert lines.split("\n") == [f"line {number}" for number in range(11, 41)]
    log = keys.job_file("1.0.0", worker.name("fails"), ATTEMPT, keys.LOG)
    assert told.endswith(f"The whole log: s3://{worker.store.scratch.name}/{log}")
    assert worker.kept("fails", "log.txt").splitlines()[0] == b"line 1"


def test_a_job_that_failed_unseen_is_told_of_and_only_then_done_again(
    worker: Deployment,
) -> None:
    name, job = worker.name("fails-unseen"), worker.jobs["fails-unseen"]
    until(lambda: worker.worker.phase(name, job, ATTEMPT) == "ended", 300)
    assert worker.worker.adopt(name, job, worker.store) == ATTEMPT
    with pytest.raises(JobFailed):
        worker.collect("fails-unseen")
    assert worker.worker.adopt(name, job, worker.store) is None


def test_a_job_past_its_time_limit_is_ended_and_told_so(worker: Deployment) -> None:
    with pytest.raises(JobFailed, match=r"stays-too-long.* did not end within .*1 s and was ended"):
        worker.collect("stays-too-long")


def test_the_log_of_a_job_can_be_read_while_it_runs_from_any_byte_on(worker: Deployment) -> None:
    until(lambda: worker.log("stays") == "begun\n", 120, lambda: worker.log("stays"))
    assert worker.log("stays", 3) == "un\n"
    assert worker.worker.phase(worker.name("stays"), worker.jobs["stays"], ATTEMPT) == "running"
    assert worker.worker.adopt(worker.name("stays"), worker.jobs["stays"], worker.store) == ATTEMPT


def test_a_job_that_is_removed_is_absent(worker: Deployment) -> None:
    name, job = worker.name("stays"), worker.jobs["stays"]
    worker.worker.remove(name)
    # Those who wait share an answer that may be one poll interval old.
    until(lambda: worker.worker.phase(name, job, ATTEMPT) == "absent")
    until(lambda: name not in {found.name for found in worker.worker.find()})


def test_the_instances_did_nothing_that_their_policy_does_not_allow(
    ec2: EC2, deployments: dict[str, Deployment]
) -> None:
    for each in deployments.values():
        each.collect("makes-all")
    assert ec2.gateway.denied == []
