"""Git keys are in no container that does not need them, and a public source holds nothing of staging."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import ValidationError

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.building.steps import MakeSourceTarball
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.settings import Ec2, Settings
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers.docker import DockerWorker
from hhvm_packaging.workers.ec2 import user_data
from hhvm_packaging.workers.job import Job
from tests.conftest import ROOT

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPT = AttemptId.new()
STAGING = "git@github.com:hhvm/hhvm-staging.git"


# Submodules


def git(root: Path, *arguments: str) -> str:
    """What git prints in ``root``."""
    own = ("user.name=A", "user.email=a@example.com", "protocol.file.allow=always")
    options = [word for setting in own for word in ("-c", setting)]
    command = ["git", "-C", str(root), *options, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def repository(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    git(path, "init", "--quiet", "--initial-branch=main")
    for name, content in {"file": path.name, **files}.items():
        (path / name).write_text(content)
    git(path, "add", ".")
    git(path, "commit", "--quiet", "--message", "All")
    return path


def declare(public: Path, url: str, of: Path) -> None:
    """Add a submodule to the public repository, under whatever URL."""
    (public / ".gitmodules").write_text(f'[submodule "fix"]\n\tpath = fix\n\turl = {url}\n')
    git(public, "add", ".gitmodules")
    git(public, "update-index", "--add", "--cacheinfo", f"160000,{git(of, 'rev-parse', 'HEAD')},fix")
    git(public, "commit", "--quiet", "--message", "A submodule")


def make_nightly(tmp_path: Path, public: Path, staging: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Make a public tarball, as the job of a nightly does."""
    (tmp_path / "out").mkdir(exist_ok=True)
    variables = {
        "PATH": os.environ["PATH"],
        "VERSION": "2026.11.28",
        "SOURCE_REPOSITORY": str(public),
        "PRIVATE_REPOSITORY": staging,
        "OUT": str(tmp_path / "out"),
        **more,
    }
    script = ROOT / "bin/make-source-tarball"
    return subprocess.run([script], env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "url",
    [
        "../hhvm-staging.git",
        "../hhvm-staging",
        "./../x/../hhvm-staging.git/",
        "{root}/hhvm-staging.git",
        "{root}//hhvm-staging.git/.",
        "file://{root}/hhvm-staging.git",
        "{root}/link",
        "../hhvm-staging.git/.git",
        "{root}/hhvm-staging.git/.git/worktrees/x",
    ],
)
def test_a_public_source_with_a_submodule_from_the_local_staging_repository_is_refused(
    tmp_path: Path, url: str
) -> None:
    staging, public = (
        repository(tmp_path / "hhvm-staging.git", fix="embargoed"),
        repository(tmp_path / "hhvm.git"),
    )
    (tmp_path / "link").symlink_to(staging)
    declare(public, url.format(root=tmp_path), staging)
    made = make_nightly(tmp_path, public, str(staging), SUBMODULE_HOSTS=str(tmp_path))
    assert made.returncode != 0
    assert "the submodule fix comes from" in made.stderr
    assert f"not {tmp_path}/hhvm-staging, as this tarball becomes public at once" in made.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_submodule_of_a_submodule_from_staging_is_refused_and_another_is_taken(tmp_path: Path) -> None:
    staging = repository(tmp_path / "hhvm-staging.git", fix="embargoed")
    folly, public = repository(tmp_path / "folly"), repository(tmp_path / "hhvm.git")
    declare(public, "../folly", folly)
    assert make_nightly(tmp_path, public, str(staging)).returncode == 0
    declare(folly, "../hhvm-staging.git", staging)
    declare(public, "../folly", folly)
    made = make_nightly(tmp_path, public, str(staging))
    assert made.returncode != 0
    assert "the submodule fix comes from" in made.stderr


@pytest.mark.parametrize(
    "url",
    [
        STAGING,
        "git@github.com:hhvm/hhvm-staging",
        "https://github.com/hhvm/hhvm-staging.git",
        "https://GitHub.com/HHVM/HHVM-Staging/",
        "https://x@github.com:443/hhvm//hhvm-staging.git",
        "ssh://git@github.com:22/hhvm/hhvm-staging.git",
        "https://github.com/hhvm/%68hvm-staging.git",
        "https://github.com/facebook/../hhvm/hhvm-staging.git",
        "github.com:/hhvm/hhvm-staging.git",
    ],
)
def test_staging_is_recognized_however_its_address_is_written(tmp_path: Path, url: str) -> None:
    other, public = repository(tmp_path / "other"), repository(tmp_path / "hhvm.git")
    declare(public, url, other)
    # Nothing is asked of the network: it would not answer.
    made = make_nightly(tmp_path, public, STAGING, https_proxy="http://127.0.0.1:1", GIT_SSH_COMMAND="false")
    assert made.returncode != 0
    assert "the submodule fix comes from" in made.stderr
    assert "not github.com/hhvm/hhvm-staging" in made.stderr


# Keys


class Engine:
    """An engine that only notes which volumes a container gets."""

    def info(self) -> dict[str, int]:
        return {"MemTotal": 1 << 30}

    def __init__(self) -> None:
        self.volumes: list[str] = []

    def inspect_image(self, _image: str) -> None:
        """It is there."""

    def inspect_network(self, _name: str) -> dict[str, str]:
        return {}

    def create_host_config(self, *, binds: list[str], **_: object) -> None:
        self.volumes = binds

    def create_container(self, *_: object, **__: object) -> None:
        """It is created."""

    def start(self, _name: str) -> None:
        """It is started."""


def plan(version: str, packaging: str) -> BuildPlan:
    nightly = version.startswith("2026.")
    return BuildPlan(
        version=version,
        nightly=nightly,
        commit="0" * 40,
        packaging=packaging,
        packaging_revision="",
        distros=(),
    )


@pytest.mark.parametrize(
    ("kind", "keys"),
    [("nightly", None), ("release", "/srv/read"), ("push", "/srv/push"), ("build", None), ("look", None)],
)
def test_only_the_jobs_that_need_keys_get_them_and_only_one_gets_those_to_push(
    tmp_path: Path, s3: S3Client, kind: str, keys: str | None
) -> None:
    settings = Settings(
        docker_work_directory=tmp_path,
        docker_read_keys=Path("/srv/read"),
        docker_push_keys=Path("/srv/push"),
        docker_volumes=["/srv/git:/srv/git"],
        ec2=Ec2(keys_parameters="/srv/read", push_keys_parameters="/srv/push"),
    )
    store = Store(s3, settings)
    packaging = packaging_files.upload(store, ROOT)
    if kind in ("nightly", "release"):
        version = {"nightly": "2026.11.28", "release": "1.0.0"}[kind]
        job = MakeSourceTarball(plan(version, packaging), store, settings).job(ATTEMPT)
        hidden = {"nightly": settings.staging_repository, "release": None}[kind]
        assert job.environment.get("PRIVATE_REPOSITORY") == hidden
    else:
        job = Job(
            version="1.0.0",
            script="publish-release-source",
            packaging=packaging,
            environment={},
            needs_keys=kind == "push",
            pushes=kind == "push",
            time_limit=60,
        )
    engine = Engine()
    DockerWorker(cast("Any", engine), settings).start("a-job", ATTEMPT, job, {}, store)
    assert [volume for volume in engine.volumes if "/root/.ssh" in volume] == (
        [f"{keys}:/root/.ssh:ro"] if keys else []
    )
    assert f"HHVM_KEYS={keys or chr(39) * 2}\n" in user_data(job, "a-job", "jobs/x/", "0" * 64, settings)


@pytest.mark.parametrize(
    "volume", ["/srv/keys:/root/.ssh:ro", "/srv/key:/root/.ssh/id_ed25519", "/root/.ssh"]
)
def test_keys_among_the_volumes_of_all_jobs_are_refused_at_start(volume: str) -> None:
    with pytest.raises(ValidationError, match="would give git keys to every job"):
        Settings(docker_volumes=[volume])
