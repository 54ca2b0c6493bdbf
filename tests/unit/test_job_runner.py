"""jobs/run leaves a result, whatever happens, and only facts decide why a job failed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hhvm_packaging.workers.job import Result
from jobs import runner
from testing.debs import Deb
from tests.conftest import ROOT


class Work:
    """The directory of a job whose script the test has written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "packaging/jobs").mkdir(parents=True)

    def prepare(self, script: str, time_limit: int = 60, **job: Any) -> list[str]:
        """Returns the command that runs the job."""
        file = self.path / "packaging/jobs/a-job"
        file.write_text(f"#!/bin/bash\n{script}\n")
        file.chmod(0o755)
        content = {"script": "a-job", "environment": {}, "time_limit": time_limit, **job}
        (self.path / "job.json").write_text(json.dumps(content))
        return [sys.executable, "-B", str(ROOT / "jobs/run"), str(self.path)]

    def run(self, script: str, time_limit: int = 60, **job: Any) -> subprocess.CompletedProcess[str]:
        command = self.prepare(script, time_limit, **job)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    @property
    def log(self) -> str:
        return (self.path / "log.txt").read_text(errors="replace")

    @property
    def result(self) -> Result:
        return Result.model_validate_json((self.path / "result.json").read_bytes())


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "work")


def test_a_job_gets_its_environment_its_files_and_its_directories(work: Work) -> None:
    ran = work.run(
        'printf "%s" "$VALUE" >"$OUT/value"; cp "$IN/expected" "$OUT/"',
        environment={"VALUE": '\nit\'s "ü" $(id)\n'},
        files={"expected": "x" * 300_000},
    )
    assert ran.returncode == 0, ran.stdout
    assert (work.path / "out/value").read_text() == '\nit\'s "ü" $(id)\n'
    assert (work.path / "out/expected").stat().st_size == 300_000
    assert [artifact.name for artifact in work.result.artifacts] == ["expected", "value"]


def test_what_a_job_prints_is_its_log_and_our_own_output(work: Work) -> None:
    ran = work.run('echo "to stdout"; echo "to stderr" >&2; seq 10000; exit 3')
    assert ran.stdout == work.log
    assert work.log.startswith("to stdout\nto stderr\n1\n")
    assert work.log.endswith("\n10000\n")
    assert ran.returncode == work.result.exit_status == 3


# A result, whatever happens


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ("", "no such file|No such file"),
        ("{", "Expecting property name"),
        ("[]", "jobs/run has a mistake"),
        ('{"script": "nothing", "environment": {}, "time_limit": 1}', "no job named 'nothing'"),
        ('{"script": "../../evil", "environment": {}, "time_limit": 1}', "no job named '../../evil'"),
        ('{"script": "a-job", "environment": {"A": 1}, "time_limit": 1}', "jobs/run has a mistake"),
        ('{"script": "a-job", "environment": {}, "time_limit": "soon"}', "soon"),
    ],
)
def test_a_job_that_cannot_be_read_has_a_result_with_the_reason(work: Work, job: str, reason: str) -> None:
    command = work.prepare("true")
    (work.path / "job.json").unlink()
    if job:
        (work.path / "job.json").write_text(job)
    subprocess.run(command, capture_output=True, check=False)
    assert work.result.exit_status != 0
    assert any(part in work.log for part in reason.split("|")), work.log


def test_a_value_that_no_command_can_be_given_fails_the_job_with_a_result(work: Work) -> None:
    work.run("true", environment={"EXPECTED": "x" * 200_000})
    assert work.result.exit_status != 0
    assert "Argument list too long" in work.log


def test_what_cannot_be_described_fails_the_job_by_the_files_name(work: Work) -> None:
    ran = work.run('echo done; : >"$OUT/hhvm_1_amd64.deb"')
    assert ran.returncode == work.result.exit_status == 1
    assert work.result.artifacts == ()
    assert "a-job succeeded, but what it left cannot be used: hhvm_1_amd64.deb: is not a whole" in work.log


def test_a_whole_package_is_described(work: Work, tmp_path: Path) -> None:
    deb = Deb("1.0.0-1~bookworm")
    (tmp_path / deb.name).write_bytes(deb.content)
    work.run(f'cp {tmp_path}/*.deb "$OUT"; ln -s x "$OUT/link"')
    [artifact] = work.result.artifacts
    assert artifact.sha256 == deb.artifact.sha256
    assert artifact.stanza
    assert work.result.left_out == {"link": "it is a link"}


def test_a_job_killed_by_a_signal_has_a_shells_status(work: Work) -> None:
    work.run("kill -KILL $$")
    assert (work.result.exit_status, work.result.fault) == (137, "")


def test_a_job_past_its_time_limit_is_ended_with_its_children(work: Work) -> None:
    work.run('sleep 600 & echo "$!" >"$OUT/child"; wait', time_limit=1)
    assert (work.result.timed_out, work.result.exit_status) == (True, 124)
    assert "longer than its time limit of 1 seconds" in work.log
    child = Path("/proc", (work.path / "out/child").read_text().strip(), "cmdline")
    # Whoever became its parent may not have waited for it yet: then it has no command line.
    assert not child.exists() or child.read_bytes() == b""


def test_a_job_that_does_not_end_when_told_is_killed(work: Work) -> None:
    command = work.prepare('trap "" TERM; while :; do sleep 0.1; done', time_limit=1)
    script = (
        (ROOT / "jobs/run").read_text().replace("sys.exit(runner", "runner._KILL_AFTER = 1\nsys.exit(runner")
    )
    script = script.replace("parents[1]", f"parents[1].joinpath({str(ROOT)!r})")
    (work.path / "run").write_text(script)
    subprocess.run([*command[:2], work.path / "run", command[-1]], check=False)
    assert (work.result.timed_out, work.result.exit_status) == (True, 137)


def test_a_job_that_fails_as_a_time_limit_would_did_not_time_out(work: Work) -> None:
    work.run("exit 124")
    assert (work.result.timed_out, work.result.exit_status) == (False, 124)


def test_a_runner_that_is_told_to_end_ends_its_job_and_leaves_a_result(work: Work) -> None:
    with subprocess.Popen(work.prepare("echo begun; exec sleep 600"), stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    assert work.result.exit_status == 128 + signal.SIGTERM


def test_a_log_is_complete_although_nobody_reads_our_output(work: Work) -> None:
    with subprocess.Popen(work.prepare("seq 100000"), stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.close()
    assert work.log.endswith("\n100000\n")
    assert work.result.exit_status == 0


def test_an_old_result_is_gone_before_the_job_begins(work: Work) -> None:
    (work.path / "result.json").write_text("{}")
    work.run('[ ! -e "$OUT/../result.json" ]')
    assert work.result.exit_status == 0


# Why it failed


WORDS = [
    "No space left on device",
    "cc1plus: fatal error: Killed signal terminated program cc1plus",
    "virtual memory exhausted: Cannot allocate memory",
    "Out of memory: Killed process 1 (cc1plus)",
]


@pytest.mark.parametrize("status", [1, 28, 137])
@pytest.mark.parametrize("words", WORDS)
def test_what_a_log_says_decides_nothing(work: Work, words: str, status: int) -> None:
    work.run(f"echo '{words}'; exit {status}")
    assert work.result.fault == ""


def test_a_container_of_the_job_that_ran_out_of_memory_decides(work: Work) -> None:
    work.run('touch "$HHVM_OOM_MARK"; exit 1')
    assert work.result.fault == "memory"
    assert "jobs/run: it ran out of memory" in work.log


def test_what_the_kernel_killed_is_no_fault_of_a_job_that_succeeded(work: Work) -> None:
    work.run('touch "$HHVM_OOM_MARK"')
    assert (work.result.exit_status, work.result.fault) == (0, "")


def test_a_mark_of_an_earlier_attempt_does_not_count(work: Work) -> None:
    work.run('touch "$HHVM_OOM_MARK"; exit 1')
    work.run("exit 1")
    assert work.result.fault == ""


@pytest.mark.parametrize(
    ("content", "kills"),
    [
        ("low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 1\n", 2),
        ("oom_kill_disable 0\noom_kill 1\n", 1),
    ],
    ids=["cgroup v2", "cgroup v1"],
)
def test_the_kernels_own_counter_is_read(tmp_path: Path, content: str, kills: int) -> None:
    (tmp_path / "memory.events").write_text(content)
    assert runner.count_oom_kills((tmp_path / "nothing", tmp_path / "memory.events")) == kills


def test_the_least_free_space_is_remembered(tmp_path: Path) -> None:
    space = runner.Space((tmp_path,))
    space.measure()
    usual = space.least[tmp_path]
    space.least[tmp_path] = runner.LEAST_FREE - 1  # As an earlier look would have found it.
    space.measure()
    assert space.lacking() == [f"the file system of {tmp_path} had only 63 MiB free while it ran"]
    assert usual > runner.LEAST_FREE
