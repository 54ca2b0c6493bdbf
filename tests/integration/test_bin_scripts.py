"""The commands in bin/, as a person runs them."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
import uuid
from pathlib import Path

import pytest

from hhvm_packaging import distros

ROOT = Path(__file__).resolve().parents[2]
PASSED_ON = {"PATH", "HOME", "DOCKER_HOST"}


def run(
    command: str | Path, *arguments: str, umask: int = -1, timeout: int = 120, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a script of the checkout, or of a copy of it, with nothing else in its environment."""
    return subprocess.run(
        [str(ROOT / command), *arguments],
        env={name: os.environ[name] for name in PASSED_ON & os.environ.keys()} | env,
        umask=umask,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def git(repository: Path, *arguments: str) -> str:
    command = ["git", f"--git-dir={repository}", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """A directory with the demo's git repositories; release 1.0.0 is tagged on staging."""
    made = run("demo/make-git-repositories", str(tmp_path / "git"), "1.0.0")
    assert made.returncode == 0, made.stderr
    return tmp_path / "git"


@pytest.fixture
def packaging(tmp_path: Path) -> Path:
    """A copy of bin/, with a distribution test-1 whose make-package is for the test to write."""
    root = tmp_path / "packaging"
    shutil.copytree(ROOT / "bin", root / "bin")
    distro = root / "distros/test-1"
    distro.mkdir(parents=True)
    (distro / "DOCKER_BASE").write_text("debian:bookworm\n")
    (root / "out").mkdir()
    (root / "out/hhvm-1.0.0.tar.gz").touch()
    return root


def write_make_package(packaging: Path, script: str) -> None:
    path = packaging / "distros/test-1/make-package"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def make_release_tarball(repositories: Path, out: Path, umask: int = 0o022) -> Path:
    staging = str(repositories / "hhvm-staging.git")
    made = run(
        "bin/make-source-tarball", umask=umask, VERSION="1.0.0", SOURCE_REPOSITORY=staging, OUT=str(out)
    )
    assert made.returncode == 0, made.stderr
    return out / "hhvm-1.0.0.tar.gz"


def test_the_same_commit_gives_the_same_tarball_whatever_the_umask(
    repositories: Path, tmp_path: Path
) -> None:
    usual = make_release_tarball(repositories, tmp_path / "usual", umask=0o022)
    strict = make_release_tarball(repositories, tmp_path / "strict", umask=0o077)
    assert usual.read_bytes() == strict.read_bytes()


def test_the_tarball_holds_the_submodules(repositories: Path, tmp_path: Path) -> None:
    with tarfile.open(make_release_tarball(repositories, tmp_path)) as tarball:
        assert "hhvm-1.0.0/third-party/text/escape.cpp" in tarball.getnames()


def test_the_tarball_holds_nothing_of_git(repositories: Path, tmp_path: Path) -> None:
    with tarfile.open(make_release_tarball(repositories, tmp_path)) as tarball:
        assert not [name for name in tarball.getnames() if ".git" in Path(name).parts]


def test_nothing_but_the_tarball_is_left_in_out(repositories: Path, tmp_path: Path) -> None:
    make_release_tarball(repositories, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["hhvm-1.0.0.tar.gz"]


def test_a_nightly_is_named_so_and_made_from_the_default_branch(repositories: Path, tmp_path: Path) -> None:
    public = str(repositories / "hhvm.git")
    made = run("bin/make-source-tarball", VERSION="2018.06.12", SOURCE_REPOSITORY=public, OUT=str(tmp_path))
    assert made.returncode == 0, made.stderr
    with tarfile.open(tmp_path / "hhvm-nightly-2018.06.12.tar.gz") as tarball:
        header = tarball.extractfile("hhvm-nightly-2018.06.12/hphp/runtime/version.h")
        assert header is not None
        assert b'HHVM_VERSION_SUFFIX "-dev"' in header.read()


def test_a_nightly_is_made_from_the_pinned_commit_rather_than_the_head(
    repositories: Path, tmp_path: Path
) -> None:
    public = repositories / "hhvm.git"
    pinned = git(public, "rev-parse", "master")
    empty_tree = git(public, "hash-object", "-t", "tree", "-w", os.devnull)
    git(public, "update-ref", "refs/heads/master", git(public, "commit-tree", empty_tree, "-m", "later"))
    made = run(
        "bin/make-source-tarball",
        VERSION="2018.06.12",
        SOURCE_REPOSITORY=f"file://{public}",
        COMMIT=pinned,
        OUT=str(tmp_path),
    )
    assert pinned in made.stdout, made.stderr


def test_a_tag_whose_version_h_says_otherwise_is_refused(repositories: Path, tmp_path: Path) -> None:
    staging = repositories / "hhvm-staging.git"
    git(staging, "tag", "HHVM-1.0.9", "master")
    made = run(
        "bin/make-source-tarball", VERSION="1.0.9", SOURCE_REPOSITORY=str(staging), OUT=str(tmp_path / "out")
    )
    assert made.returncode != 0
    assert "says '1.0.0-dev', not '1.0.9'" in made.stderr
    assert not list((tmp_path / "out").iterdir())


def test_a_tag_that_was_moved_is_refused(repositories: Path, tmp_path: Path) -> None:
    staging = repositories / "hhvm-staging.git"
    made = run(
        "bin/make-source-tarball",
        VERSION="1.0.0",
        SOURCE_REPOSITORY=str(staging),
        COMMIT=git(staging, "rev-parse", "master"),
        OUT=str(tmp_path / "out"),
    )
    assert made.returncode != 0
    assert "the tag was moved" in made.stderr


@pytest.mark.parametrize(
    "version",
    [
        "4.26",
        "4.136.0-dev",
        "2026.13.40",
        "2026.02.29",
        "1.0.0;id",
        "$(id)",
        "../1.0.0",
        "1.0.0\n",
        "01.0.0",
        "026.9.29",
        "26.009.29",
        "",
    ],
)
def test_a_malformed_version_is_refused(version: str, tmp_path: Path) -> None:
    made = run("bin/make-source-tarball", VERSION=version, SOURCE_REPOSITORY="/nowhere", OUT=str(tmp_path))
    assert made.returncode != 0
    assert "is neither a release" in made.stderr
    assert "uid=" not in made.stdout + made.stderr


def test_the_demos_repositories_are_the_same_wherever_they_are_made(
    repositories: Path, tmp_path: Path
) -> None:
    made = run(
        "demo/make-git-repositories",
        str(tmp_path / "again"),
        "1.0.0",
        umask=0o077,
        # As git sets them for its hooks.
        GIT_DIR="/nowhere",
        GIT_WORK_TREE="/nowhere",
        GIT_OBJECT_DIRECTORY="/nowhere",
    )
    assert made.returncode == 0, made.stderr
    for name in ("hhvm.git", "hhvm-staging.git", "hhvm-third-party.git"):
        assert git(tmp_path / "again" / name, "show-ref") == git(repositories / name, "show-ref")


def test_releases_of_one_series_build_on_each_other(repositories: Path) -> None:
    run("demo/make-git-repositories", str(repositories), "1.0.1")
    git(repositories / "hhvm-staging.git", "merge-base", "--is-ancestor", "HHVM-1.0.0", "HHVM-1.0.1")


def test_a_release_is_not_on_the_public_repository_before_it_is_published(repositories: Path) -> None:
    assert not git(repositories / "hhvm.git", "tag")


def test_an_unknown_distribution_is_refused_with_the_known_ones() -> None:
    made = run("bin/make-package-in-throwaway-container", "debian-1-buzz", VERSION="1.0.0")
    assert made.returncode != 0
    assert "debian-12-bookworm debian-13-trixie" in made.stderr


def test_a_docker_base_that_is_no_image_name_is_refused(packaging: Path) -> None:
    (packaging / "distros/test-1/DOCKER_BASE").write_text("--privileged\n")
    made = run(packaging / "bin/make-package-in-throwaway-container", "test-1", VERSION="1.0.0")
    assert made.returncode != 0
    assert "test-1: DOCKER_BASE must be one line with the name of a Docker image" in made.stderr


def test_a_package_without_its_source_tarball_says_how_to_make_it(packaging: Path) -> None:
    made = run(packaging / "bin/make-package-in-throwaway-container", "test-1", VERSION="1.0.1")
    assert made.returncode != 0
    assert "run VERSION=1.0.1 bin/make-source-tarball first" in made.stderr


def today() -> str:
    """The version of tonight's nightly."""
    return f"{datetime.datetime.now(datetime.UTC):%Y.%m.%d}"


def choose(directory: Path, version: str | None, *files: str) -> subprocess.CompletedProcess[str]:
    """Which source tarball of these is meant, in the words of what every make-package uses."""
    for name in files:
        (directory / name).touch()
    script = '. "$0/bin/lib/hhvm-packaging.sh"; choose_source "$1"; printf %s "$VERSION $SOURCE"'
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script, ROOT, directory],
        env={"PATH": os.environ["PATH"]} | ({} if version is None else {"VERSION": version}),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("version", "files", "chosen"),
    [
        (None, ["hhvm-4.172.1.tar.gz"], "4.172.1 hhvm-4.172.1"),
        (None, ["hhvm-nightly-2018.06.12.tar.gz"], "2018.06.12 hhvm-nightly-2018.06.12"),
        (
            None,
            [
                "hhvm-4.172.1.tar.gz",
                "hhvm-4.172.1.tar.gz.sig",
                "hhvm-2018.06.12.tar.gz",
                "hhvm-nightly-4.172.1.tar.gz",
                "hhvm-x;id.tar.gz",
                "hhvm_4.172.0.orig.tar.gz",
                "hhvm-.tar.gz",
            ],
            "4.172.1 hhvm-4.172.1",
        ),
        ("26.9.29", ["hhvm-26.09.29.tar.gz", "hhvm-26.09.28.tar.gz"], "26.09.29 hhvm-26.09.29"),
        ("26.09.29", ["hhvm-26.9.29.tar.gz"], "26.9.29 hhvm-26.9.29"),
    ],
)
def test_the_source_tarball_that_is_there_says_which_version_is_meant(
    tmp_path: Path, version: str | None, files: list[str], chosen: str
) -> None:
    made = choose(tmp_path, version, *files)
    assert (made.returncode, made.stdout) == (0, chosen), made.stderr


def test_tonights_nightly_is_meant_beside_a_release(tmp_path: Path) -> None:
    tonight = today()
    made = choose(tmp_path, None, "hhvm-4.172.1.tar.gz", f"hhvm-nightly-{tonight}.tar.gz")
    # The day may change meanwhile.
    assert made.stdout == f"{tonight} hhvm-nightly-{tonight}" or tonight != today(), made.stderr


@pytest.mark.parametrize(
    ("version", "files", "refused"),
    [
        (None, [], "no source tarball in .*; run bin/make-source-tarball first"),
        (
            None,
            ["hhvm-4.172.1.tar.gz", "hhvm-nightly-2018.06.12.tar.gz"],
            r"VERSION is not set, and .* set VERSION to one of: 4\.172\.1 2018\.06\.12$",
        ),
        (
            "1.0.1",
            ["hhvm-1.0.10.tar.gz"],
            r"1\.0\.1: no .*; run VERSION=1\.0\.1 bin/make-source-tarball first",
        ),
        (
            "26.9.29",
            ["hhvm-26.09.29.tar.gz", "hhvm-26.9.29.tar.gz"],
            r"has one release as 26\.09\.29 and as 26\.9\.29; delete",
        ),
        ("", ["hhvm-1.0.1.tar.gz"], "VERSION '' is neither a release"),
    ],
)
def test_a_source_tarball_that_is_not_to_be_told_is_asked_for(
    tmp_path: Path, version: str | None, files: list[str], refused: str
) -> None:
    made = choose(tmp_path, version, *files)
    assert made.returncode != 0
    assert re.search(refused, made.stderr.strip()), made.stderr


def test_packages_are_made_of_the_source_tarball_that_was_made_before_without_a_word_about_versions(
    repositories: Path, tmp_path: Path
) -> None:
    out, before = tmp_path / "out", today()
    made = run("bin/make-source-tarball", SOURCE_REPOSITORY=str(repositories / "hhvm.git"), OUT=str(out))
    assert made.returncode == 0, made.stderr
    chosen = choose(out, None)
    # The day may have changed meanwhile.
    [tarball] = out.iterdir()
    version = tarball.name.removeprefix("hhvm-nightly-").removesuffix(".tar.gz")
    assert (chosen.stdout, version in (before, today())) == (f"{version} hhvm-nightly-{version}", True)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("HipHop VM 26.09.29 (rel)", True),
        ("HipHop VM 26.9.29 (rel)", True),
        ("26.9.029", True),
        ("HipHop VM 26.09.29-dev (rel)", False),
        ("HipHop VM 26.09.2 9 26.92.9 26.09.299 126.09.29 v26.09.29", False),
        ("", False),
    ],
)
def test_hhvm_says_its_version_as_a_word_of_its_own_however_it_is_padded(line: str, says: bool) -> None:
    script = '. "$0/bin/lib/hhvm-packaging.sh"; says_version "$1" 26.09.29'
    said = subprocess.run(["bash", "-eu", "-c", script, ROOT, line], check=False)
    assert (said.returncode == 0) is says


@pytest.mark.usefixtures("docker_engine", "base_images")
def test_make_package_gets_the_version_and_the_three_mounts(packaging: Path) -> None:
    write_make_package(
        packaging,
        'echo "$VERSION $IS_NIGHTLY"; touch /var/out/made;'
        " ! touch /opt/hhvm-packaging/x && ! touch /opt/hhvm-distro-packaging/x",
    )
    made = run(packaging / "bin/make-package-in-throwaway-container", "test-1", VERSION="1.0.0")
    assert (made.returncode, made.stdout) == (0, "1.0.0 false\n")
    assert (packaging / "out/made").exists()


@pytest.mark.usefixtures("docker_engine", "base_images")
def test_links_between_directories_lead_there_in_the_container_in_every_form(packaging: Path) -> None:
    """Also a relative link behind an absolute one, and one to a make-package elsewhere."""
    shared = packaging / "distros/shared"
    shared.mkdir()
    (shared / "message").write_text("shared\n")
    (shared / "link").symlink_to("../../distros/shared/message")
    write_make_package(
        packaging,
        "cd /opt/hhvm-distro-packaging; cat relative/message seeds/link ours/link; echo $VERSION >&2",
    )
    distro = packaging / "distros/test-1"
    (distro / "make-package").rename(shared / "make-package")
    (distro / "make-package").symlink_to("/opt/hhvm-packaging/shared/make-package")
    (distro / "relative").symlink_to("../shared")
    (distro / "seeds").symlink_to("/opt/hhvm-packaging/shared")
    (distro / "ours").symlink_to("/opt/hhvm-packaging/distros/shared")
    distros.load(packaging, "test-1")
    made = run(packaging / "bin/make-package-in-throwaway-container", "test-1", VERSION="1.0.0")
    assert (made.returncode, made.stdout, made.stderr) == (0, "shared\nshared\nshared\n", "1.0.0\n")


@pytest.mark.usefixtures("docker_engine", "base_images")
def test_nothing_is_left_beside_what_was_built(packaging: Path, tmp_path: Path) -> None:
    write_make_package(packaging, "touch /var/out/made")
    (tmp_path / "tmp").mkdir()
    made = run(
        packaging / "bin/make-package-in-throwaway-container",
        "test-1",
        VERSION="1.0.0",
        TMPDIR=str(tmp_path / "tmp"),
    )
    assert made.returncode == 0, made.stderr
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.usefixtures("docker_engine", "base_images")
def test_the_status_of_make_package_is_passed_on(packaging: Path) -> None:
    write_make_package(packaging, "exit 7")
    made = run(packaging / "bin/make-package-in-throwaway-container", "test-1", VERSION="1.0.0")
    assert made.returncode == 7


LATE_ENGINE = """#!/bin/sh
# An engine that knows why a container ended only when it is asked for the second time.
case $1 in
  create) echo a-container ;;
  start) exit 137 ;;
  inspect)
    if [ -e asked ]; then echo true; else echo false; fi
    touch asked
    ;;
esac
"""


def test_that_the_kernel_killed_a_process_is_noticed_also_if_the_engine_hears_of_it_late(
    tmp_path: Path,
) -> None:
    engine = tmp_path / "docker"
    engine.write_text(LATE_ENGINE)
    engine.chmod(0o755)
    mark = tmp_path / "oom-killed"
    script = '. "$0/bin/lib/hhvm-packaging.sh"; run_throwaway_container image'
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script, ROOT],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "HHVM_OOM_MARK": str(mark)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 137
    assert "a container ran out of memory" in ran.stderr
    assert mark.exists()


@pytest.mark.usefixtures("docker_engine", "base_images")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_build_leaves_no_container(packaging: Path, sent: signal.Signals) -> None:
    write_make_package(packaging, "sleep 600")
    job = f"test-{uuid.uuid4()}"

    def containers(*states: str) -> str:
        command = ["docker", "ps", "--quiet", "--filter", f"label=hhvm.job={job}", *states]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    script = packaging / "bin/make-package-in-throwaway-container"
    # Tests that run in a shell's background have it ignored, and what they start inherits that.
    command = ["env", f"--default-signal={sent.name}", str(script), "test-1"]
    with subprocess.Popen(command, env=os.environ | {"VERSION": "1.0.0", "HHVM_JOB": job}) as build:
        deadline = time.monotonic() + 30
        try:
            while not containers():
                assert time.monotonic() < deadline, "the container did not start"
                time.sleep(0.1)
        finally:
            build.send_signal(sent)
    assert not containers("--all")
    assert build.returncode == 128 + sent


def test_every_script_explains_itself() -> None:
    for script in (path for path in (ROOT / "bin").iterdir() if path.is_file()):
        explained = run(script, "--help")
        assert explained.returncode == 0, script
        assert script.name in explained.stdout or "make-package" in explained.stdout
