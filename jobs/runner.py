"""How jobs/run runs a job, and what it says of it: result.json.

Runs in the job image, with Debian's Python and python-debian. The result has

- ``exit_status``: the job's; 124 or 137 after the time limit,
- ``timed_out``, ``started``, ``finished``,
- ``fault``: ``memory`` or ``disk`` if the job failed and lacked that; else empty. Facts decide: what the
  kernel killed, and the least space that was free while the job ran. What a log says decides nothing,
- ``artifacts`` and ``left_out``, after success: see jobs/artifacts.py; ``facts`` and ``gates``, which the
  script wrote.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import artifacts

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_RESULT = 28
"""The exit status if not even the result could be written: the number of the error ENOSPC."""
LOG_SIZE = 256
"""MiB that a job may print, where HHVM_LOG_SIZE says nothing else."""
LEAST_FREE = 64 << 20
"""Bytes. A job that failed while less than this was free lacked space."""

_POLL = 0.1
"""Seconds."""
_KILL_AFTER = 30
"""Seconds from the end of the time limit until the job is killed."""
_TIMED_OUT, _CANNOT_START = 124, 126
_BALLAST = 1 << 20
"""Bytes that are kept for the result."""
_SCRIPT = re.compile(r"[a-z][a-z-]*")
_OOM_KILLS = (
    Path("/sys/fs/cgroup/memory.events"),  # cgroup v2
    Path("/sys/fs/cgroup/memory/memory.oom_control"),  # cgroup v1
)
"""Files of the container's own cgroup that count the kernel's kills for lack of memory, as ``oom_kill N``."""


class CannotRun(Exception):
    """The job cannot be started. The message says why."""


@dataclass
class Space:
    """The least space that was free, on each file system that a job writes to."""

    paths: tuple[Path, ...]
    least: dict[Path, int] = field(default_factory=dict)
    """Bytes, by path."""

    def measure(self) -> None:
        """Look at it now. A file system without free inodes has no space either."""
        for path in self.paths:
            found = os.statvfs(path)
            free = found.f_bavail * found.f_frsize if found.f_favail or not found.f_files else 0
            self.least[path] = min(free, self.least.get(path, free))

    def lacking(self) -> list[str]:
        """What was as good as full, in words."""
        return [
            f"the file system of {path} had only {free >> 20} MiB free while it ran"
            for path, free in self.least.items()
            if free < LEAST_FREE
        ]


def count_oom_kills(counters: Iterable[Path] = _OOM_KILLS) -> int:
    """How many processes of this container the kernel killed for lack of memory."""
    for path in counters:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0


@dataclass
class Runner:
    """One job's way from job.json to result.json."""

    work: Path
    killed_by: int = 0
    """The signal that ended this process's job; 0 if none did."""
    job: subprocess.Popen[bytes] | None = None
    result: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.space = Space((self.work, Path("/")))
        self.result = {
            "exit_status": _CANNOT_START,
            "timed_out": False,
            "fault": "",
            "started": _now(),
            "artifacts": [],
            "left_out": {},
        }

    @property
    def log_limit(self) -> int:
        """How long the log may become, in bytes."""
        return int(os.environ.get("HHVM_LOG_SIZE") or LOG_SIZE) << 20

    @property
    def log(self) -> Path:
        """All that the job prints."""
        return self.work / "log.txt"

    @property
    def oom_mark(self) -> Path:
        """Is there if the kernel killed something in another container of the job; see bin/lib."""
        return self.work / "oom-killed"

    def run(self) -> int:
        """Run the job and write its result. Returns the exit status."""
        os.umask(0o022)
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        try:
            self._run()
        except CannotRun as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"it cannot be run: {error}")
        except Exception:  # Whatever it is, it is said, and there is a result.
            self._fail(f"jobs/run has a mistake:\n{traceback.format_exc()}")
        self._give_back()
        self.result["finished"] = _now()
        return int(self.result["exit_status"]) if self._write() else NO_RESULT

    def _run(self) -> None:
        for name in ("result.json", "facts.json", "gates.json", self.oom_mark.name):
            (self.work / name).unlink(missing_ok=True)
        self.log.write_bytes(b"")
        self.space.measure()
        (self.work / "ballast").write_bytes(os.urandom(_BALLAST))
        command, environment, limit = self._read()
        oom_kills = count_oom_kills()
        status, ended = self._wait(command, environment, limit)
        self.result |= {"exit_status": status, "timed_out": ended}
        if self.log.stat().st_size > self.log_limit:
            self._shorten_log()
            self.result |= {"exit_status": status or 1, "timed_out": False}
            self.say(
                f"{command.name} was ended: it printed more than {self.log_limit >> 20} MiB; "
                "see the setting container_limits"
            )
        elif ended:
            self.say(f"{command.name} was ended: it ran longer than its time limit of {limit} seconds")
        elif status:
            self._find_fault(count_oom_kills() > oom_kills)
        else:
            self._describe(command.name)

    def _read(self) -> tuple[Path, dict[str, str], int]:
        """What job.json says: the script, its environment and its time limit. Writes the job's files."""
        job = json.loads((self.work / "job.json").read_bytes())
        script = self.work / "packaging/jobs" / job["script"]
        if not _SCRIPT.fullmatch(job["script"]) or not script.is_file():
            raise CannotRun(f"there is no job named {job['script']!r} in {script.parent}")
        for name in ("in", "out"):
            (self.work / name).mkdir(exist_ok=True)
        for name, text in job.get("files", {}).items():
            (self.work / "in" / name).write_text(text, encoding="utf-8")
        return script, job["environment"], int(job["time_limit"])

    def _wait(self, command: Path, environment: dict[str, str], limit: int) -> tuple[int, bool]:
        """Run the script. Returns its exit status, and whether it was ended at its time limit."""
        variables = {
            **os.environ,
            **environment,
            "IN": str(self.work / "in"),
            "OUT": str(self.work / "out"),
            "FACTS": str(self.work / "facts.json"),
            "GATES": str(self.work / "gates.json"),
            "HHVM_OOM_MARK": str(self.oom_mark),
            # Nobody is there to answer a question.
            "GIT_TERMINAL_PROMPT": "0",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        with self.log.open("ab") as log:
            # A session of its own: a signal reaches all of its processes.
            self.job = subprocess.Popen(
                [command],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # The log is a file, so that it is complete even when whoever reads our output goes away.
        follow = ["tail", "--lines=+1", "--follow", "--sleep-interval=0.2", f"--pid={self.job.pid}"]
        with subprocess.Popen([*follow, self.log]):
            return self._poll(self.job, limit)

    def _poll(self, job: subprocess.Popen[bytes], limit: int) -> tuple[int, bool]:
        deadline, ended = time.monotonic() + limit, False
        if self.killed_by:
            self._signal(self.killed_by)
        while (status := job.poll()) is None:
            self.space.measure()
            now = time.monotonic()
            if not ended and (now >= deadline or self.log.stat().st_size > self.log_limit):
                ended, deadline = True, now
                self._signal(signal.SIGTERM)
            elif ended and now >= deadline + _KILL_AFTER:
                self._signal(signal.SIGKILL)
            time.sleep(_POLL)
        if ended:
            return (128 + signal.SIGKILL if status == -signal.SIGKILL else _TIMED_OUT), True
        return (128 - status if status < 0 else status), False

    def _shorten_log(self) -> None:
        """Cut the log to its limit. What printed may be faster than who ends it."""
        os.truncate(self.log, self.log_limit)
        with self.log.open("ab") as log:
            log.write(b"\n")

    def _find_fault(self, oom_killed: bool) -> None:
        """Find what a job that failed lacked."""
        self.space.measure()
        if lacking := self.space.lacking():
            self.result["fault"] = "disk"
            self.say(f"it ran out of disk: {'; '.join(lacking)}")
        elif oom_killed or self.oom_mark.exists():
            self.result["fault"] = "memory"
            self.say("it ran out of memory: the kernel killed a process of it for that")

    def _describe(self, name: str) -> None:
        """Add what the job left."""
        try:
            found = artifacts.describe(self.work / "out")
        except artifacts.Unusable as error:
            self._fail(f"{name} succeeded, but what it left cannot be used: {error}")
        else:
            self.result |= {"artifacts": found.artifacts, "left_out": found.left_out}
            # What the script wrote of how it worked, and of what its quality gates found.
            for name in ("facts", "gates"):
                with suppress(FileNotFoundError):
                    self.result[name] = json.loads((self.work / f"{name}.json").read_bytes())

    def _fail(self, reason: str) -> None:
        self.result |= {"exit_status": self.result["exit_status"] or 1}
        self.say(f"error: {reason}")
        if self.space.least:
            self._find_fault(oom_killed=False)

    def say(self, text: str) -> None:
        """Print a line, and add it to the log as far as there is room."""
        line = f"jobs/run: {text}\n".encode(errors="backslashreplace")
        try:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        except OSError:
            pass
        try:
            with self.log.open("ab") as log:
                log.write(line)
        except OSError:
            pass

    def _write(self) -> bool:
        """Write the result. Returns whether it could be written."""
        (self.work / "ballast").unlink(missing_ok=True)
        if self._try_to_write():
            return True
        # Of a job that failed nothing else is kept, so its files make room.
        self.result |= {"artifacts": [], "left_out": {}, "fault": "disk"}
        self.result["exit_status"] = self.result["exit_status"] or 1
        for path in (self.work / "out", self.work / "in"):
            shutil.rmtree(path, ignore_errors=True)
        self.say("error: there was no room for the result, so what the job left was removed")
        return self._try_to_write()

    def _try_to_write(self) -> bool:
        new = self.work / "result.json.new"
        try:
            new.write_text(json.dumps(self.result))
            self._own(new)
            new.rename(self.work / "result.json")
        except OSError as error:
            self.say(f"error: cannot write the result: {error}")
            return False
        return True

    def _give_back(self) -> None:
        """Give what the job made to the owner of its directory, who may not be root."""
        try:
            self._own(self.work)
            for directory, directories, files in os.walk(self.work):
                for name in (*directories, *files):
                    self._own(Path(directory, name))
        except OSError as error:
            self.say(f"cannot give {self.work} back to its owner: {error}")

    def _own(self, path: Path) -> None:
        owner = self.work.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def _end(self, signum: int, _: object) -> None:
        """End the job because this process is to end."""
        self.killed_by = signum
        self._signal(signal.SIGTERM)

    def _signal(self, signum: int) -> None:
        if self.job is not None and self.job.poll() is None:
            os.killpg(self.job.pid, signum)


def main(work: Path) -> int:
    """Run the job whose directory this is. Returns the exit status."""
    return Runner(work.resolve()).run()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
