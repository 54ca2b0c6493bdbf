"""A job that lies about what it left, or leaves what is no file, gains nothing by it.

Whoever collects a job looks at its directory, or at its prefix in the store. Of result.json only how the job
ended counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers import attempts
from hhvm_packaging.workers.docker import DockerWorker
from hhvm_packaging.workers.ec2 import Ec2Worker
from hhvm_packaging.workers.job import Job, JobFailed, TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mypy_boto3_s3 import S3Client

    from hhvm_packaging.workers.job import Result

ATTEMPT = AttemptId.new()
NAME = "hhvm-1.0.0-a-job-0123456789ab"
KEY = "-----BEGIN PGP PRIVATE KEY BLOCK-----"
TIMES = {"started": "2026-11-28T10:00:00Z", "finished": "2026-11-28T10:00:01Z"}
GOOD = {"exit_status": 0, **TIMES}
OUTPUTS = f"1.0.0/debian-12-bookworm/{ATTEMPT}/"
INSTANCE, ANOTHER = "i-0123456789abcdef0", "i-fedcba9876543210f"


class Ended:
    """The engine, as far as collecting asks it: the job's container has ended well."""

    def inspect_container(self, _name: str) -> dict[str, Any]:
        labels = {"hhvm.digest": "", "hhvm.build": str(ATTEMPT)}
        state = {"Status": "exited", "ExitCode": 0, "OOMKilled": False}
        return {"Config": {"Labels": labels}, "State": state}


class Host:
    """A machine with a job that has ended, and with a secret beside its directory."""

    def __init__(self, root: Path, s3: S3Client) -> None:
        self.secret = root / "secret"
        self.secret.write_text(KEY)
        self.settings = Settings(docker_work_directory=root / "work")
        self.store = Store(s3, self.settings)
        self.worker = DockerWorker(cast("Any", Ended()), self.settings)
        self.directory = root / "work" / NAME
        self.out = self.directory / "out"
        self.out.mkdir(parents=True)
        (self.directory / "log.txt").write_text("its log\n")
        self.job = a_job()

    def leave(self, result: object = GOOD, **files: bytes) -> None:
        """Let the job have left this result and these files."""
        for name, content in files.items():
            (self.out / name).write_bytes(content)
        (self.directory / "result.json").write_text(json.dumps(result))

    def collect(self) -> Result:
        return self.worker.collect(NAME, ATTEMPT, self.job, self.store)

    def stored(self) -> dict[str, bytes]:
        """Every object in scratch."""
        listed = list(self.store.scratch.keys(""))
        return {key: self.store.scratch.get(key) or b"" for key in listed}

    def made(self) -> set[str]:
        """The keys of all objects but those of the job's own directory."""
        return {key for key in self.stored() if not key.startswith("jobs/")}


def a_job(**fields: Any) -> Job:
    return Job.model_validate({
        "version": "1.0.0",
        "script": "make-binary-package",
        "packaging": "",
        "environment": {},
        "outputs": OUTPUTS,
        "time_limit": 60,
        **fields,
    })


def claim(name: str, content: bytes = b"") -> dict[str, Any]:
    """An entry of ``artifacts`` in result.json."""
    digest = hashlib.sha256(content).hexdigest()
    return {"name": name, "size": len(content), "sha256": digest, "md5": "0" * 32}


@pytest.fixture
def host(tmp_path: Path, s3: S3Client) -> Host:
    return Host(tmp_path, s3)


@contextlib.contextmanager
def at_most(megabytes: int) -> Generator[None]:
    """Refuse memory that exceeds what is in use now by more than that."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# What the result says of artifacts


@pytest.mark.parametrize(
    "name",
    ["{secret}", "../../../secret", "../log.txt", "a/b", "manifest.json", ".", "..", "", "\x00", "a\nb"],
)
def test_names_in_the_result_are_not_what_is_uploaded(host: Host, name: str) -> None:
    host.leave({**GOOD, "artifacts": [claim(name.format(secret=host.secret))]}, made=b"made")
    assert [artifact.name for artifact in host.collect().artifacts] == ["made"]
    assert host.made() == {f"{OUTPUTS}made"}
    assert not any(KEY.encode() in content for content in host.stored().values())


def test_what_the_job_left_counts_though_the_result_is_silent_or_lies_about_it(host: Host) -> None:
    host.leave({**GOOD, "artifacts": [claim("made", b"another"), claim("not there")]}, made=b"made")
    [artifact] = host.collect().artifacts
    assert (artifact.name, artifact.size) == ("made", 4)
    assert artifact.sha256 == hashlib.sha256(b"made").hexdigest()
    assert artifact.md5 == hashlib.md5(b"made", usedforsecurity=False).hexdigest()
    assert artifact.stanza is None


def test_an_entry_for_the_index_is_not_taken_for_other_bytes_than_it_was_made_of(host: Host) -> None:
    lie = {**claim("hhvm.deb", b"checked"), "stanza": "Package: hhvm"}
    host.leave({**GOOD, "artifacts": [lie]}, **{"hhvm.deb": b"swapped"})
    assert [artifact.stanza for artifact in host.collect().artifacts] == [None]


def test_reasons_in_the_result_are_for_what_is_there_and_short(host: Host) -> None:
    reasons = {"made": "x" * 100_000 + "\x1b[2J", "not there": "a reason"}
    host.leave({**GOOD, "left_out": reasons}, made=b"made")
    [(name, reason)] = host.collect().left_out.items()
    assert name == "made"
    assert len(reason) <= 200
    assert reason.isprintable()


# Names that the step may produce


def test_a_job_for_one_version_cannot_replace_the_source_of_another(host: Host) -> None:
    host.store.scratch.put("hhvm-1.0.1.tar.gz", b"the embargoed fix")
    host.job = a_job(script="make-source-tarball", outputs="", output_names=["hhvm-1.0.0.tar.gz"])
    forged = {"hhvm-1.0.0.tar.gz": b"made", "hhvm-1.0.1.tar.gz": b"forged"}
    host.leave({**GOOD, "artifacts": [claim(name, content) for name, content in forged.items()]}, **forged)
    with pytest.raises(JobFailed, match=r"left hhvm-1\.0\.1\.tar\.gz, but may leave hhvm-1\.0\.0\.tar\.gz"):
        host.collect()
    assert host.store.scratch.get("hhvm-1.0.1.tar.gz") == b"the embargoed fix"
    assert host.made() == {"hhvm-1.0.1.tar.gz"}


@pytest.mark.parametrize("name", ["manifest.json", "a\nb", "a\x1b[2Jb"])
def test_a_file_whose_name_no_artifact_may_have_fails_the_job_before_any_upload(
    host: Host, name: str
) -> None:
    host.leave(**{"made": b"made", name: b"forged"})
    with pytest.raises(JobFailed, match=r"the job failed: .* is not allowed"):
        host.collect()
    assert host.made() == set()


def test_a_name_that_is_no_text_fails_the_job(host: Host) -> None:
    host.leave()
    Path(os.fsdecode(bytes(host.out) + b"/\xff\xfe")).write_bytes(b"")
    with pytest.raises(JobFailed, match="is not allowed"):
        host.collect()


def test_more_files_than_a_build_can_have_fail_the_job(host: Host) -> None:
    host.leave(**{f"file-{number}": b"" for number in range(1001)})
    with pytest.raises(JobFailed, match="more than 1,000 files"):
        host.collect()
    assert host.made() == set()


# What is no file


def link_to_secret(host: Host, path: Path) -> None:
    path.symlink_to(host.secret)


def link_to_environment(host: Host, path: Path) -> None:
    path.symlink_to("/proc/self/environ")


def fifo(host: Host, path: Path) -> None:
    os.mkfifo(path)


def unix_socket(host: Host, path: Path) -> None:
    # Its path may be longer than an address can be.
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{directory}/{path.name}")
    os.close(directory)


def device(host: Host, path: Path) -> None:
    try:
        os.mknod(path, 0o644 | 0o020000, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("only root makes device files")


def directory(host: Host, path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text(KEY)


def setuid(host: Host, path: Path) -> None:
    path.write_text(KEY)
    path.chmod(0o4755)


def setgid(host: Host, path: Path) -> None:
    path.write_text(KEY)
    path.chmod(0o2755)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (link_to_secret, "it is a link"),
        (link_to_environment, "it is a link"),
        (fifo, "it is no file"),
        (unix_socket, "it is no file"),
        (device, "it is no file"),
        (directory, "it is a directory"),
        (setuid, "it is set-user-ID or set-group-ID"),
        (setgid, "it is set-user-ID or set-group-ID"),
    ],
)
def test_only_files_are_uploaded_and_what_else_is_there_is_named(
    host: Host, make: Callable[[Host, Path], None], reason: str
) -> None:
    make(host, host.out / "hhvm_1_amd64.deb")
    host.leave({**GOOD, "artifacts": [claim("hhvm_1_amd64.deb")]}, made=b"made")
    result = host.collect()
    assert [artifact.name for artifact in result.artifacts] == ["made"]
    assert result.left_out == {"hhvm_1_amd64.deb": reason}
    assert host.made() == {f"{OUTPUTS}made"}


def test_a_link_in_place_of_the_directory_of_outputs_is_not_followed(host: Host, tmp_path: Path) -> None:
    host.leave()
    host.out.rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/id_ed25519").write_text(KEY)
    host.out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JobFailed, match="out is no directory"):
        host.collect()
    assert host.made() == set()


def test_a_file_that_changes_while_it_is_uploaded_fails_the_job(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.leave(made=b"made")
    upload = host.store.scratch.upload

    def swap(*arguments: Any, **more: Any) -> None:
        (host.out / "made").write_bytes(b"swapped")
        upload(*arguments, **more)

    monkeypatch.setattr(host.store.scratch, "upload", swap)
    with pytest.raises(JobFailed, match="made changed while it was uploaded"):
        host.collect()


# Other files of the job's directory


def test_a_link_in_place_of_the_log_shows_nothing(host: Host) -> None:
    host.leave({**GOOD, "exit_status": 1})
    (host.directory / "log.txt").unlink()
    (host.directory / "log.txt").symlink_to(host.secret)
    assert host.worker.log(NAME, host.job, ATTEMPT, 0) == b""
    with pytest.raises(JobFailed) as failed:
        host.collect()
    assert KEY not in str(failed.value)
    assert not any(KEY.encode() in content for content in host.stored().values())


def test_of_a_log_that_never_ends_a_part_is_kept(host: Host) -> None:
    host.leave({**GOOD, "exit_status": 1})
    with (host.directory / "log.txt").open("r+b") as log:
        log.truncate(8 << 30)
        log.seek(0, os.SEEK_END)
        log.write(b"\nits last line\n")
    with at_most(1024), pytest.raises(JobFailed, match="its last line"):
        host.collect()


# Results of every shape


def test_a_result_that_is_as_large_as_a_disk_is_not_read(host: Host) -> None:
    host.leave()
    with (host.directory / "result.json").open("r+b") as result:
        result.truncate(64 << 30)
    with at_most(256), pytest.raises(JobFailed, match=r"result\.json .* larger than"):
        host.collect()


def test_a_link_in_place_of_the_result_is_not_followed(host: Host, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps(GOOD))
    (host.directory / "result.json").symlink_to(tmp_path / "other.json")
    with pytest.raises((JobFailed, TryAgain), match=r"result\.json"):
        host.collect()


def test_a_pipe_in_place_of_the_result_does_not_stop_the_collector(host: Host) -> None:
    os.mkfifo(host.directory / "result.json")
    said: list[str] = []

    def collect() -> None:
        try:
            host.collect()
        except (JobFailed, TryAgain) as error:
            said.append(str(error))

    collecting = threading.Thread(target=collect, daemon=True)
    collecting.start()
    collecting.join(20)
    assert said
    assert "result.json" in said[0]


SHAPES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"good"',
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"\xff\xfe",
    b"9" * 100_000,
    json.dumps({"exit_status": 0}).encode(),
    *(
        json.dumps({**GOOD, **change}).encode()
        for change in (
            {"exit_status": None},
            {"exit_status": False},
            {"exit_status": "0"},
            {"exit_status": 0.0},
            {"exit_status": [0]},
            {"exit_status": -(10**30)},
            {"exit_status": float("nan")},
            {"fault": KEY},
            {"started": "yesterday"},
            {"started": 10**400},
            {"timed_out": "no"},
        )
    ),
]


@pytest.mark.parametrize("content", SHAPES, ids=range(len(SHAPES)))
def test_a_result_of_another_shape_fails_the_job_in_words_and_is_not_quoted(
    host: Host, content: bytes
) -> None:
    host.leave(made=b"made")
    (host.directory / "result.json").write_bytes(content)
    with pytest.raises(JobFailed, match=r"its result\.json is not one") as failed:
        host.collect()
    assert len(str(failed.value)) < 2000
    assert KEY not in str(failed.value)
    assert host.made() == set()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("exit_status", "timed_out", "fault", "started", "finished", "artifacts", "left_out")


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(forged=st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), values, max_size=7))
def test_whatever_a_result_holds_what_is_recorded_is_what_is_there(
    host: Host, forged: dict[str, Any]
) -> None:
    host.leave({**GOOD, **forged}, made=b"made")
    with contextlib.suppress(JobFailed, TryAgain):
        assert [artifact.name for artifact in host.collect().artifacts] == ["made"]
    assert host.made() <= {f"{OUTPUTS}made"}


# What an instance writes to the store


class Instance(Host):
    """An instance that has uploaded its result, with a worker that reads it."""

    def __init__(self, root: Path, s3: S3Client) -> None:
        super().__init__(root, s3)
        self.ec2 = Ec2Worker(
            cast("Any", None), self.store, self.settings, image=str, launch=lambda _: INSTANCE
        )
        self.store.scratch.put(keys.launched("1.0.0", NAME, ATTEMPT, INSTANCE), b"")

    def leave(self, result: object = GOOD, **files: bytes) -> None:
        for name, content in files.items():
            self.put(keys.MADE + name, content)
        self.put_result(json.dumps(result).encode())

    def put_result(self, content: bytes) -> None:
        self.put(keys.RESULT, content)

    def put(self, name: str, content: bytes, worker: str = f"AROA0123456789:{INSTANCE}") -> None:
        """Write as an instance may that has this aws:userid."""
        self.store.scratch.put(keys.worker_file("1.0.0", NAME, ATTEMPT, worker, name), content)

    def collect(self) -> Result:
        return self.ec2.collect(NAME, ATTEMPT, self.job, self.store)

    def attempt(self) -> attempts.Attempt:
        """As the task and the trigger read it."""
        return attempts.read(self.store, "1.0.0", NAME, ATTEMPT)


@pytest.fixture
def instance(tmp_path: Path, s3: S3Client) -> Instance:
    return Instance(tmp_path, s3)


def test_of_an_instance_what_is_in_the_store_counts_and_not_what_it_says(instance: Instance) -> None:
    instance.leave({**GOOD, "artifacts": [claim("made", b"another"), claim("../../x")]}, made=b"made")
    [artifact] = instance.collect().artifacts
    assert (artifact.name, artifact.size) == ("made", 4)
    assert artifact.sha256 == hashlib.sha256(b"made").hexdigest()
    assert artifact.md5 == hashlib.md5(b"made", usedforsecurity=False).hexdigest()


def test_an_instance_that_says_it_left_what_is_not_in_the_store_has_left_nothing(instance: Instance) -> None:
    instance.leave({**GOOD, "artifacts": [claim("hhvm_1_amd64.deb", b"x")]})
    assert instance.collect().artifacts == ()


def test_an_instance_that_made_a_tarball_of_another_version_too_has_made_nothing(instance: Instance) -> None:
    instance.job = a_job(script="make-source-tarball", outputs="", output_names=["hhvm-1.0.0.tar.gz"])
    instance.leave(**{"hhvm-1.0.0.tar.gz": b"made", "hhvm-1.0.1.tar.gz": b"of another version"})
    with pytest.raises(
        JobFailed, match=r"it left hhvm-1\.0\.1\.tar\.gz, but may leave hhvm-1\.0\.0\.tar\.gz"
    ):
        instance.collect()
    assert instance.made() == set()


@pytest.mark.parametrize("name", ["a/b", "manifest.json"])
def test_an_instance_leaves_no_files_below_its_directory_and_none_named_as_airflows_own(
    instance: Instance, name: str
) -> None:
    instance.leave(**{"made": b"made", name: b"{}"})
    with pytest.raises(JobFailed, match=rf"the name {name} of a file that it left is not allowed"):
        instance.collect()
    assert instance.made() == set()


def test_what_an_instance_changes_after_it_was_collected_does_not_count(instance: Instance) -> None:
    instance.leave(made=b"made")
    [artifact] = instance.collect().artifacts
    instance.leave(made=b"changed")
    assert instance.stored()[f"{OUTPUTS}made"] == b"made"
    assert artifact.sha256 == hashlib.sha256(b"made").hexdigest()


# What another instance writes, which can write everywhere below its own aws:userid


def test_a_result_that_another_instance_left_is_not_seen(instance: Instance) -> None:
    instance.put(keys.RESULT, json.dumps(GOOD).encode(), worker=f"AROA0123456789:{ANOTHER}")
    instance.put(keys.LOG, b"forged", worker=f"AROA0123456789:{ANOTHER}")
    assert keys.RESULT not in instance.attempt().worker_files
    assert instance.ec2.log(NAME, instance.job, ATTEMPT, 0) == b""
    assert instance.attempt().log(instance.store) is None


def test_what_another_instance_left_is_not_mixed_with_an_instances_own(instance: Instance) -> None:
    for worker in (f"AROA0000000000:{ANOTHER}", f"AROAZZZZZZZZZZ:{ANOTHER}"):
        instance.put(f"{keys.MADE}made", b"forged", worker=worker)
        instance.put(f"{keys.MADE}added", b"forged", worker=worker)
        instance.put(keys.RESULT, json.dumps({**GOOD, "exit_status": 1}).encode(), worker=worker)
    instance.leave(made=b"made")
    assert [artifact.name for artifact in instance.collect().artifacts] == ["made"]
    assert instance.stored()[f"{OUTPUTS}made"] == b"made"


@pytest.mark.parametrize(
    "key",
    [
        f"AROA1:{ANOTHER}/x/AROA0123456789:{INSTANCE}/result.json",
        f"AROA1:{ANOTHER}/result.json",
        f"AROA1:{ANOTHER}/launched/{INSTANCE}",
        f"x{INSTANCE}/AROA1:{ANOTHER}/result.json",
        f"AROA1:{ANOTHER}:{INSTANCE}/result.json",
    ],
)
def test_a_key_that_looks_like_an_instances_own_is_not(instance: Instance, key: str) -> None:
    instance.store.scratch.put(keys.attempt("1.0.0", NAME, ATTEMPT) + key, json.dumps(GOOD).encode())
    assert keys.RESULT not in instance.attempt().worker_files


def test_an_instance_makes_no_attempts(instance: Instance) -> None:
    later = f"jobs/1.0.0/{NAME}/29991231T235959.000000Z-9/AROA1:{ANOTHER}/"
    for name in (keys.RESULT, keys.LOG, keys.FAILURE, keys.JOB):
        instance.store.scratch.put(later + name, b"{}")
    assert [one.id for one in attempts.of_job(instance.store, "1.0.0", NAME)] == [ATTEMPT]


def test_what_is_in_the_attempts_directory_itself_is_no_result_of_an_instance(instance: Instance) -> None:
    instance.store.scratch.put(keys.job_file("1.0.0", NAME, ATTEMPT, keys.RESULT), json.dumps(GOOD).encode())
    assert keys.RESULT not in instance.attempt().worker_files


def test_a_result_of_an_instance_that_is_too_large_is_refused(instance: Instance) -> None:
    instance.put_result(b" " * (17 << 20))
    with pytest.raises(JobFailed, match=r"its result\.json is not one: .*larger than"):
        instance.collect()


@pytest.mark.parametrize("content", SHAPES, ids=range(len(SHAPES)))
def test_a_result_of_an_instance_of_another_shape_fails_the_job_in_words(
    instance: Instance, content: bytes
) -> None:
    instance.put_result(content)
    with pytest.raises(JobFailed, match=r"its result\.json is not one"):
        instance.collect()
