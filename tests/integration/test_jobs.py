"""The jobs, as a worker runs them: in the job image, beside the Docker engine."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo import jobs_network

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

ROOT = Path(__file__).resolve().parents[2]
PASSED_ON = {"PATH", "HOME", "DOCKER_HOST"}
SOCKET = "/var/run/docker.sock"


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing else in its environment."""
    return subprocess.run(
        [str(word) for word in command],
        env={name: os.environ[name] for name in PASSED_ON & os.environ.keys()} | env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def git(repository: Path, *arguments: str) -> str:
    command = ["git", f"--git-dir={repository}", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def served(directory: Path) -> Generator[str]:
    """The URL of a web server over ``directory``, for as long as the ``with`` statement takes."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    with http.server.ThreadingHTTPServer((jobs_network.gateway(), 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{server.server_address[0]!s}:{server.server_port}"
        finally:
            server.shutdown()


class Worker:
    """One job's directory, and the job image to run it in."""

    def __init__(self, work: Path, image: str) -> None:
        self.work = work
        self.image = image
        self.made: set[str] = set()
        for name in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / name, work / "packaging" / name, symlinks=True)
        (work / "in").mkdir()
        (work / "out").mkdir()

    def command(self, job: str, *options: str, **env: str) -> list[str]:
        """What the worker runs. Variables for the engine are the container's, the others are the job's."""
        files = {"expected": env.pop("EXPECTED")} if "EXPECTED" in env else {}
        limit = int(env.pop("HHVM_TIME_LIMIT", "1200"))
        content = {"script": job, "environment": env, "files": files, "time_limit": limit}
        (self.work / "job.json").write_text(json.dumps(content))
        mounts = [f"--volume={SOCKET}:{SOCKET}", f"--volume={self.work}:{self.work}"]
        runner = [str(self.work / "packaging/jobs/run"), str(self.work)]
        return ["docker", "run", "--rm", "--init", *mounts, *options, self.image, *runner]

    def run(self, job: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run(*self.command(job, **env))

    def run_script(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a job that the test has written."""
        self.write("packaging/jobs/test", script)
        return self.run("test", **env)

    def write(self, path: str, script: str) -> None:
        (self.work / path).write_text(f"#!/bin/bash\n{script}\n")
        (self.work / path).chmod(0o755)

    @property
    def log(self) -> str:
        return (self.work / "log.txt").read_text()

    @property
    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.work / "result.json").read_text())
        return result


@pytest.fixture
def worker(tmp_path: Path, docker_engine: None, job_image: str) -> Worker:
    return Worker(tmp_path / "work", job_image)


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """A directory with the demo's git repositories; release 1.0.0 is tagged on staging."""
    made = run(ROOT / "demo/make-git-repositories", tmp_path / "git", "1.0.0")
    assert made.returncode == 0, made.stderr
    return tmp_path / "git"


# The runner


def test_a_jobs_artifacts_are_described(worker: Worker) -> None:
    worker.run_script('printf hello >"$OUT/a.txt"; mkdir "$OUT/directory"; ln -s a.txt "$OUT/link"')
    assert worker.result["exit_status"] == 0
    assert worker.result["timed_out"] is False
    assert worker.result["artifacts"] == [
        {
            "name": "a.txt",
            "size": 5,
            "sha256": hashlib.sha256(b"hello").hexdigest(),
            "md5": hashlib.md5(b"hello", usedforsecurity=False).hexdigest(),
        }
    ]


def test_a_jobs_output_is_in_the_log_and_on_the_workers_own(worker: Worker) -> None:
    ran = worker.run_script('echo "to stdout"; echo "to stderr" >&2; seq 10000')
    assert worker.log.startswith("to stdout\nto stderr\n1\n")
    assert worker.log.endswith("\n10000\n")
    assert ran.stdout == worker.log


def test_a_jobs_inputs_are_where_it_is_told(worker: Worker) -> None:
    (worker.work / "in/input").write_text("from the worker")
    worker.run_script('cat "$IN/input"')
    assert worker.log == "from the worker"


def test_a_failed_job_has_its_status_and_no_artifacts(worker: Worker) -> None:
    ran = worker.run_script('touch "$OUT/half"; exit 7')
    assert ran.returncode == 7
    assert worker.result["exit_status"] == 7
    assert worker.result["artifacts"] == []


def test_a_job_that_runs_too_long_is_ended_and_says_so(worker: Worker) -> None:
    worker.run_script("echo begun; sleep 600", HHVM_TIME_LIMIT="1")
    assert worker.result["timed_out"] is True
    assert worker.result["exit_status"] == 124
    assert worker.log.startswith("begun\n")
    assert "longer than its time limit of 1 seconds" in worker.log.splitlines()[-1]


def test_a_job_that_fails_as_a_time_limit_would_did_not_time_out(worker: Worker) -> None:
    worker.run_script("exit 124")
    assert worker.result["timed_out"] is False


def test_a_stopped_worker_ends_its_job_and_leaves_a_result(worker: Worker) -> None:
    name = f"test-{uuid.uuid4()}"
    worker.write("packaging/jobs/test", "echo begun; exec sleep 600")
    with subprocess.Popen(worker.command("test", f"--name={name}"), stdout=subprocess.DEVNULL):
        deadline = time.monotonic() + 30
        try:
            while not ((worker.work / "log.txt").exists() and worker.log):
                assert time.monotonic() < deadline, "the job did not start"
                time.sleep(0.1)
        finally:
            run("docker", "stop", name)
    assert worker.result["exit_status"] == 128 + signal.SIGTERM


ON_A_SMALL_DISK = """
cp -r "$1/packaging" "$1/job.json" /small/
/small/packaging/jobs/run /small >/dev/null || true
cat /small/result.json
"""
FILL = 'head --bytes 200m /dev/zero >"$OUT/filler" || true; '


@pytest.mark.parametrize(
    ("script", "status", "fault"),
    [
        (f"{FILL} exit 0", 0, ""),
        (f"{FILL} exit 7", 7, "disk"),
        # What is free at the end says nothing.
        (f'{FILL} sleep 1; rm "$OUT/filler"; exit 7', 7, "disk"),
        ("echo No space left on device; exit 7", 7, ""),
    ],
)
def test_on_a_full_disk_there_is_a_result_and_the_least_free_space_decides(
    worker: Worker, script: str, status: int, fault: str
) -> None:
    worker.write("packaging/jobs/test", script)
    command = worker.command("test", "--tmpfs=/small:size=150m,exec")
    ran = run(*command[:-2], "bash", "-euc", ON_A_SMALL_DISK, "small", worker.work)
    result = json.loads(ran.stdout)
    assert (result["exit_status"], result["fault"]) == (status, fault)
    assert [artifact["name"] for artifact in result["artifacts"]] == ([] if status else ["filler"])


def test_a_job_whose_own_container_lacks_memory_says_so(worker: Worker) -> None:
    worker.write("packaging/jobs/test", "head --bytes 400m /dev/zero | tail; exit 1")
    run(*worker.command("test", "--memory=128m", "--memory-swap=128m"))
    assert (worker.result["exit_status"], worker.result["fault"]) == (1, "memory")


def test_an_old_result_is_gone_before_the_job_begins(worker: Worker) -> None:
    (worker.work / "result.json").write_text("{}")
    worker.run_script('[ ! -e "$OUT/../result.json" ]')
    assert worker.result["exit_status"] == 0


def test_what_a_job_made_belongs_to_the_owner_of_its_directory(worker: Worker) -> None:
    worker.run_script('touch "$OUT/made"')
    owner = worker.work.stat().st_uid
    made = [worker.work / name for name in ("out/made", "log.txt", "result.json")]
    assert [path.stat().st_uid for path in made] == [owner] * 3


@pytest.mark.parametrize("job", ["nothing", "../bin/make-source-tarball", "in-container"])
def test_what_is_no_job_is_refused(worker: Worker, job: str) -> None:
    ran = worker.run(job)
    assert ran.returncode != 0
    assert worker.result["exit_status"] != 0
    assert "no job named" in worker.log


# The jobs


def test_the_source_tarball_of_one_commit_is_made(worker: Worker, repositories: Path) -> None:
    staging = repositories / "hhvm-staging.git"
    ran = run(
        *worker.command(
            "make-source-tarball",
            f"--volume={repositories}:/srv/git:ro",
            VERSION="1.0.0",
            COMMIT=git(staging, "rev-parse", "HHVM-1.0.0^{commit}"),
            SOURCE_REPOSITORY="file:///srv/git/hhvm-staging.git",
        )
    )
    assert ran.returncode == 0, worker.log
    assert [artifact["name"] for artifact in worker.result["artifacts"]] == ["hhvm-1.0.0.tar.gz"]


def make_input(worker: Worker, repositories: Path, public_url: str = "http://127.0.0.1:1") -> dict[str, str]:
    """Put the source tarball of 1.0.0 in the worker's inputs; the environment for building it."""
    run(
        ROOT / "bin/make-source-tarball",
        VERSION="1.0.0",
        SOURCE_REPOSITORY=str(repositories / "hhvm-staging.git"),
        OUT=str(worker.work / "in"),
    )
    tarball = (worker.work / "in/hhvm-1.0.0.tar.gz").read_bytes()
    return {
        "VERSION": "1.0.0",
        "DISTRO": "debian-12-bookworm",
        "SOURCE_SHA256": hashlib.sha256(tarball).hexdigest(),
        "PUBLIC_URL": public_url,
        "REPOSITORY": "debian",
        "SUITE": "bookworm",
    }


def test_a_source_tarball_that_was_replaced_is_not_built(worker: Worker, repositories: Path) -> None:
    env = make_input(worker, repositories)
    (worker.work / "in/hhvm-1.0.0.tar.gz").write_bytes(b"something else")
    worker.run("make-binary-package", **env)
    assert worker.result["exit_status"] != 0
    assert "it was damaged or replaced" in worker.log


def test_a_killed_build_says_so_last(worker: Worker, repositories: Path) -> None:
    env = make_input(worker, repositories)
    make_package = worker.work / "packaging/distros/debian-12-bookworm/make-package"
    make_package.unlink()
    worker.write("packaging/distros/debian-12-bookworm/make-package", "exit 137")
    worker.run("make-binary-package", **env)
    assert worker.result["exit_status"] == 137
    assert worker.result["fault"] == ""
    assert "the build was killed (exit status 137), but not for lack of memory" in worker.log.splitlines()[-1]


def test_a_pkgver_copied_from_another_distribution_is_refused(worker: Worker, repositories: Path) -> None:
    env = make_input(worker, repositories)
    (worker.work / "packaging/distros/debian-12-bookworm/PKGVER").write_text("1~trixie\n")
    worker.run("make-binary-package", **env)
    assert "PKGVER must be N~bookworm, as DISTRIBUTION says; it says 1~trixie" in worker.log


# Build dependencies


@pytest.fixture
def dependencies(worker: Worker) -> Iterator[Worker]:
    """A worker whose images with build dependencies hold a file in place of packages; they are removed."""
    worker.write("packaging/jobs/in-container/install-dependencies", f"echo {uuid.uuid4()} >/made")
    yield worker
    run("docker", "image", "rm", "--force", *worker.made)


def image(worker: Worker, days: int = 7) -> str:
    """The id of the image for bookworm, which is made if need be."""
    script = """
      . "$(dirname "$0")/../bin/lib/hhvm-packaging.sh"
      export TMPDIR=${OUT%/*}
      "$(dirname "$0")/dependencies-image" "$(find_image debian:bookworm)" >"${OUT%/*}/image"
    """
    worker.run_script(script, DISTRO="debian-12-bookworm", HHVM_DEPENDENCIES_DAYS=str(days))
    assert worker.result["exit_status"] == 0, worker.log
    made = (worker.work / "image").read_text().strip()
    worker.made.add(made)
    return made


def test_an_image_with_build_dependencies_is_made_once_for_what_a_build_needs(dependencies: Worker) -> None:
    control = dependencies.work / "packaging/distros/debian-12-bookworm/debian/control"
    first = image(dependencies)
    assert "making an image" in dependencies.log
    control.write_text(control.read_text() + " More words.\n")
    assert image(dependencies) == first
    assert "making an image" not in dependencies.log
    control.write_text(control.read_text().replace(" cmake,\n", " cmake, meson,\n"))
    assert image(dependencies) != first


def test_an_image_with_build_dependencies_that_is_too_old_is_made_again(dependencies: Worker) -> None:
    assert image(dependencies, days=1) != image(dependencies, days=0)


def test_an_image_with_build_dependencies_belongs_to_no_job(dependencies: Worker) -> None:
    # Else whoever ends the job that made it would end the containers that use it.
    made = image(dependencies)
    labels = json.loads(run("docker", "image", "inspect", "--format", "{{json .Config.Labels}}", made).stdout)
    assert labels["hhvm.dependencies"] == "debian-12-bookworm"
    assert not labels["hhvm.job"]


def test_a_build_has_the_image_with_its_dependencies_and_its_install_test_has_not(
    dependencies: Worker, repositories: Path
) -> None:
    env = make_input(dependencies, repositories)
    made = image(dependencies)
    dependencies.write("packaging/jobs/check-packages", ':>"$3"')
    dependencies.write("packaging/jobs/in-container/install-gate", "! cat /made && echo none in the gate")
    make_package = dependencies.work / "packaging/distros/debian-12-bookworm/make-package"
    make_package.unlink()
    dependencies.write("packaging/distros/debian-12-bookworm/make-package", "cat /made && touch /var/out/a")
    dependencies.run("make-binary-package", HHVM_DEPENDENCIES_DAYS="7", **env)
    assert dependencies.result["exit_status"] == 0, dependencies.log
    assert f"the build dependencies are those of the image {made}" in dependencies.log
    assert dependencies.log.count("none in the gate") == 3


def build_from_file(dependencies: Worker, repositories: Path, file: Path, command: str) -> None:
    """Build as on an instance, which finds the image as a file."""
    env = make_input(dependencies, repositories)
    file.rename(dependencies.work / "in/dependencies.tar.gz")
    make_package = dependencies.work / "packaging/distros/debian-12-bookworm/make-package"
    make_package.unlink()
    dependencies.write("packaging/distros/debian-12-bookworm/make-package", f"{command} && touch /var/out/a")
    del env["REPOSITORY"]
    dependencies.run("make-binary-package", **env)
    assert dependencies.result["exit_status"] == 0, dependencies.log


def test_a_build_begins_with_the_image_that_a_job_has_saved(dependencies: Worker, repositories: Path) -> None:
    made = image(dependencies)
    dependencies.run("make-dependencies-image", DISTRO="debian-12-bookworm")
    assert [artifact["name"] for artifact in dependencies.result["artifacts"]] == ["dependencies.tar.gz"]
    # As on another machine.
    run("docker", "image", "rm", "--force", made)
    build_from_file(dependencies, repositories, dependencies.work / "out/dependencies.tar.gz", "cat /made")
    assert f"the build dependencies are those of the image {made}" in dependencies.log


def test_an_image_that_was_made_from_another_base_image_is_ignored(
    dependencies: Worker, repositories: Path, tmp_path: Path
) -> None:
    other = run("docker", "image", "inspect", "--format", "{{.Id}}", "debian:trixie").stdout.strip()
    run("docker", "image", "save", "--output", str(tmp_path / "other"), other)
    build_from_file(dependencies, repositories, tmp_path / "other", "grep bookworm /etc/os-release")
    assert "it was made from another image than debian:bookworm is now" in dependencies.log
    assert "the image with the build dependencies is ignored" in dependencies.log


def test_a_build_whose_dependencies_cannot_be_installed_beforehand_goes_on_without(
    dependencies: Worker, repositories: Path
) -> None:
    env = make_input(dependencies, repositories)
    dependencies.write("packaging/jobs/in-container/install-dependencies", "echo no such package; exit 100")
    make_package = dependencies.work / "packaging/distros/debian-12-bookworm/make-package"
    make_package.unlink()
    dependencies.write("packaging/distros/debian-12-bookworm/make-package", "touch /var/out/a")
    del env["REPOSITORY"]
    dependencies.run("make-binary-package", HHVM_DEPENDENCIES_DAYS="7", **env)
    assert dependencies.result["exit_status"] == 0, dependencies.log
    assert "there is no image with the build dependencies, for the reason above" in dependencies.log


# Publishing a release's source


@pytest.fixture
def staging(repositories: Path) -> Path:
    return repositories / "hhvm-staging.git"


@pytest.fixture
def public(repositories: Path) -> Path:
    return repositories / "hhvm.git"


def publish(
    staging: Path, public: Path, version: str = "1.0.0", **env: str
) -> subprocess.CompletedProcess[str]:
    return run(
        ROOT / "jobs/publish-release-source",
        VERSION=version,
        COMMIT=git(staging, "rev-parse", f"HHVM-{version}^{{commit}}"),
        STAGING_REPOSITORY=str(staging),
        PUBLIC_REPOSITORY=str(public),
        **env,
    )


def release_next(repositories: Path) -> None:
    """Tag 1.0.1 on staging."""
    assert run(ROOT / "demo/make-git-repositories", repositories, "1.0.1").returncode == 0


def test_a_releases_tag_and_branch_become_public(staging: Path, public: Path) -> None:
    assert publish(staging, public).returncode == 0
    assert git(public, "rev-parse", "HHVM-1.0.0") == git(staging, "rev-parse", "HHVM-1.0.0")
    assert git(public, "rev-parse", "HHVM-1.0") == git(staging, "rev-parse", "HHVM-1.0.0^{commit}")


def test_a_release_is_published_also_from_a_hook_of_git(staging: Path, public: Path) -> None:
    hook = {f"GIT_{name}": "/nowhere" for name in ("DIR", "WORK_TREE", "OBJECT_DIRECTORY", "INDEX_FILE")}
    published = publish(staging, public, **hook)
    assert published.returncode == 0, published.stderr


def test_publishing_a_release_again_changes_nothing(staging: Path, public: Path) -> None:
    publish(staging, public)
    before = git(public, "show-ref")
    again = publish(staging, public)
    assert again.returncode == 0, again.stderr
    assert "already" in again.stdout
    assert git(public, "show-ref") == before


def test_the_next_release_moves_the_branch_forward(repositories: Path, staging: Path, public: Path) -> None:
    publish(staging, public)
    release_next(repositories)
    assert publish(staging, public, "1.0.1").returncode == 0
    assert git(public, "rev-parse", "HHVM-1.0") == git(staging, "rev-parse", "HHVM-1.0.1^{commit}")


def test_an_older_release_does_not_move_the_branch_back(
    repositories: Path, staging: Path, public: Path
) -> None:
    release_next(repositories)
    publish(staging, public, "1.0.1")
    assert publish(staging, public, "1.0.0").returncode == 0
    assert git(public, "rev-parse", "HHVM-1.0.0") == git(staging, "rev-parse", "HHVM-1.0.0")
    assert git(public, "rev-parse", "HHVM-1.0") == git(staging, "rev-parse", "HHVM-1.0.1^{commit}")


def test_a_public_tag_is_never_moved(staging: Path, public: Path) -> None:
    git(public, "tag", "HHVM-1.0.0", "master")
    before = git(public, "show-ref")
    refused = publish(staging, public)
    assert refused.returncode != 0
    assert "already has another HHVM-1.0.0" in refused.stderr
    assert git(public, "show-ref") == before


def test_a_release_that_is_public_in_another_spelling_is_not_published_again(
    repositories: Path, staging: Path, public: Path
) -> None:
    assert run(ROOT / "demo/make-git-repositories", repositories, "26.09.29").returncode == 0
    git(public, "tag", "HHVM-26.9.29", "master")
    before = git(public, "show-ref")
    refused = publish(staging, public, "26.09.29")
    assert refused.returncode != 0
    assert "already has this release as HHVM-26.9.29; nothing was pushed" in refused.stderr
    assert git(public, "show-ref") == before


def test_a_public_branch_that_went_another_way_is_never_forced(staging: Path, public: Path) -> None:
    other = git(public, "commit-tree", "master^{tree}", "-p", "master", "-m", "another way")
    git(public, "branch", "HHVM-1.0", other)
    before = git(public, "show-ref")
    refused = publish(staging, public)
    assert refused.returncode != 0
    assert "has commits that HHVM-1.0.0 lacks" in refused.stderr
    assert git(public, "show-ref") == before


def test_a_tag_that_moved_since_the_build_is_not_published(staging: Path, public: Path) -> None:
    before = git(public, "show-ref")
    refused = run(
        ROOT / "jobs/publish-release-source",
        VERSION="1.0.0",
        COMMIT=git(staging, "rev-parse", "master"),
        STAGING_REPOSITORY=str(staging),
        PUBLIC_REPOSITORY=str(public),
    )
    assert "the tag was moved" in refused.stderr
    assert git(public, "show-ref") == before


# What users see


MAKE_REPOSITORY = """
set -euo pipefail
mkdir -p /tmp/hhvm/DEBIAN pool dists/bookworm/main/binary-amd64
printf '%s\\n' 'Package: hhvm' 'Version: 1.0.0-1~bookworm' 'Architecture: amd64' \
  'Maintainer: T <t@t>' 'Description: test' >/tmp/hhvm/DEBIAN/control
dpkg-deb --build /tmp/hhvm pool/ >/dev/null
apt-ftparchive packages pool >dists/bookworm/main/binary-amd64/Packages
apt-ftparchive -o APT::FTPArchive::Release::Codename=bookworm \
  -o APT::FTPArchive::Release::Components=main -o APT::FTPArchive::Release::Architectures=amd64 \
  release dists/bookworm >/tmp/Release
mv /tmp/Release dists/bookworm/Release
"""


@pytest.fixture
def published(tmp_path: Path, docker_engine: None, job_image: str) -> Path:
    """The directory of a published repository, with hhvm 1.0.0-1~bookworm."""
    root = tmp_path / "published"
    gnupg = tmp_path / "gnupg"
    gnupg.mkdir(mode=0o700)
    for directory in ("conf", "debian"):
        (root / directory).mkdir(parents=True)
    made = run(
        *("docker", "run", "--rm", f"--user={os.getuid()}:{os.getgid()}", f"--volume={root}/debian:/debian"),
        *("--workdir=/debian", job_image, "bash", "-c", MAKE_REPOSITORY),
    )
    assert made.returncode == 0, made.stderr
    gpg = ["gpg", "--homedir", str(gnupg), "--batch", "--quiet"]
    run(*gpg, "--passphrase", "", "--quick-generate-key", "test@hhvm.invalid", "rsa2048", "sign", "never")
    run(*gpg, "--armor", "--output", root / "conf/hhvm.gpg.key", "--export")
    suite = root / "debian/dists/bookworm"
    signed = run(*gpg, "--output", suite / "InRelease", "--clearsign", suite / "Release")
    run("gpgconf", "--homedir", str(gnupg), "--kill", "all")
    assert signed.returncode == 0, signed.stderr
    return root


def verify(published: Path, expected: str) -> subprocess.CompletedProcess[str]:
    expects = published.parent / "in"
    expects.mkdir()
    (expects / "expected").write_text(f"bookworm {expected}")
    with served(published) as url:
        return run(
            ROOT / "jobs/verify-published",
            DISTRO="debian-12-bookworm",
            PUBLIC_URL=url,
            REPOSITORY="debian",
            IN=str(expects),
        )


def test_a_published_package_is_offered_to_a_user(published: Path) -> None:
    verified = verify(published, "hhvm=1.0.0-1~bookworm")
    assert verified.returncode == 0, verified.stderr
    assert "bookworm: apt offers hhvm=1.0.0-1~bookworm" in verified.stdout


def test_a_version_that_apt_does_not_offer_is_an_error(published: Path) -> None:
    verified = verify(published, "hhvm=1.0.0-1")
    assert verified.returncode != 0
    assert "apt does not offer hhvm=1.0.0-1" in verified.stderr


def test_a_withdrawn_version_that_apt_still_offers_is_an_error(published: Path) -> None:
    verified = verify(published, "!hhvm=1.0.0-1~bookworm")
    assert verified.returncode != 0
    assert "apt still offers hhvm=1.0.0-1~bookworm" in verified.stderr


def test_a_suite_that_was_never_published_is_an_error(published: Path) -> None:
    (published / "debian/dists").rename(published / "elsewhere")
    verified = verify(published, "hhvm=1.0.0-1~bookworm")
    assert verified.returncode != 0
    assert "nothing is published there yet" in verified.stderr


def test_a_package_whose_file_is_missing_is_an_error(published: Path) -> None:
    (published / "debian/pool").rename(published / "elsewhere")
    verified = verify(published, "hhvm=1.0.0-1~bookworm")
    assert verified.returncode != 0
    assert "cannot fetch it" in verified.stderr


def test_an_index_that_its_signature_does_not_cover_is_an_error(published: Path) -> None:
    packages = published / "debian/dists/bookworm/main/binary-amd64/Packages"
    (published / "Packages").write_text(packages.read_text() + "\n")
    (published / "Packages").replace(packages)
    verified = verify(published, "hhvm=1.0.0-1~bookworm")
    assert verified.returncode != 0
    assert "apt refuses" in verified.stderr
