"""Executors compared: what 10, 100 and 500 mapped jobs cost on each, on one machine.

The jobs are real containers that leave one file and end, so what is measured is what Airflow and this project
add to a job. What it shows is in docs/scale-benchmark.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from demo.driver import PATIENCE, TIMEOUT
from demo.stack import AIRFLOW, STORAGE, USER, Ports, Stack
from hhvm_packaging.orchestration import connections
from hhvm_packaging.runs.api import AirflowApi
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers.job import Result
from testing import executors, room, s3

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).resolve().parents[1]
DAG_FILE = Path(room.__file__).with_name("dags") / "some_builds.py"
EXECUTORS = (
    "LocalExecutor, SQLite",
    "LocalExecutor, PostgreSQL",
    "Celery, two workers",
    "Celery, two workers, nothing preloaded",
)
FEW = 100
"""Without preloading no more jobs than these: each of them pays the same again."""


@dataclass(frozen=True)
class Cost:
    """What a number of jobs cost."""

    started: float
    """Seconds from the trigger until the last job had started."""
    ended: float
    """Seconds from the trigger until the run had ended."""
    memory: int
    """MB of all of Airflow's processes, at the most; shared pages once."""
    connections: int
    """Of the database, at the most; 0 for SQLite."""


class Deployment:
    """Airflow's services with one executor and its database."""

    def __init__(self, directory: Path, executor: str, jobs: int) -> None:
        self.directory = directory
        self.executor = executor
        self.jobs = jobs
        self.dags = directory / "dags"
        self.stack = Stack(
            directory / "var",
            services=(*STORAGE, *AIRFLOW),
            preferred_ports=Ports(0, 0, 0),
            dags_folder=self.dags,
        )
        self.database = ""
        """The address of PostgreSQL, as libpq has it; empty for SQLite."""
        self._built = 0

    @contextmanager
    def running(self) -> Generator[None]:
        """All of it, until the end of the ``with`` statement."""
        with ExitStack() as running:
            variables: dict[str, str] = {}
            if "SQLite" not in self.executor:
                self.database = running.enter_context(executors.postgres())
                variables |= executors.on_postgres(self.database)
            if "Celery" in self.executor:
                url = running.enter_context(executors.broker())
                preloading = "nothing preloaded" not in self.executor
                variables |= executors.on_celery(url, preloading=preloading)
            self._prepare(variables)
            running.callback(self.stack.down)
            self.stack.up()
            if "Celery" in self.executor:
                for number in range(executors.WORKERS):
                    running.enter_context(executors.worker(self.stack, number + 1))
            yield

    def _prepare(self, variables: dict[str, str]) -> None:
        self.dags.mkdir(parents=True)
        shutil.copy(DAG_FILE, self.dags)
        packaging = self.directory / "packaging"
        for part in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / part, packaging / part, symlinks=True)
        self.stack.prepare()
        with s3.rclone(self.stack.var / "s3") as endpoint:
            variables |= room.environment(Store(s3.client(endpoint), Settings()), packaging, self.jobs)
        (self.stack.var / "environment.json").write_text(json.dumps(variables))

    def measure(self, count: int) -> Cost:
        """Run so many jobs."""
        api = AirflowApi(
            self.stack.ui_url, USER, self.stack.secrets.password, patience=PATIENCE, timeout=TIMEOUT
        )
        api.wait_for_dags([DAG_FILE.stem])
        api.ensure_pool("workers", count, include_deferred=True)
        run_id, began = f"run-{count}", time.time()
        api.trigger(DAG_FILE.stem, run_id, {"count": count, "built": self._built})
        self._built += count
        memory = open_connections = 0
        while (state := api.state(DAG_FILE.stem, run_id)) not in ("success", "failed"):
            memory = max(memory, self._memory())
            open_connections = max(open_connections, self._connections())
            time.sleep(5)
        ended = time.time() - began
        results = self.stack.var.glob(
            f"s3/{Settings().scratch_bucket}/{keys.jobs(room.VERSION)}**/{keys.RESULT}"
        )
        started = [Result.model_validate_json(path.read_text()).started.timestamp() for path in results]
        new = [moment - began for moment in started if moment > began - 1]
        if state == "failed" or len(new) != count:
            raise RuntimeError(f"{self.executor}: the run {state}; {len(new)} of {count} jobs left a result")
        return Cost(max(new), ended, memory, open_connections)

    def _memory(self) -> int:
        total = 0
        for process in self.stack.processes():
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total // 1_000_000

    def _connections(self) -> int:
        if not self.database:
            return 0
        import psycopg

        with psycopg.connect(self.database) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'airflow' AND pid <> pg_backend_pid()"
            ).fetchone()
        return int(row[0]) if row else 0


def main() -> None:
    """Print a row for each executor and number."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("counts", nargs="*", type=int, default=[10, 100, 500], help="how many jobs")
    arguments = parser.parse_args()
    # Whoever kills this wants what it started gone, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    environment = {**os.environ, "HHVM_DEMO_VAR": tempfile.gettempdir()}
    subprocess.run([ROOT / "demo/base-image", "debian:trixie"], check=True, env=environment)
    executors.make_images()
    connections.docker_worker().job_image()
    print(f"{os.cpu_count()} cores, load average before: {os.getloadavg()[0]:.1f}")
    print("| jobs | executor | all started | a job | memory | connections |")
    print("|--:|---|--:|--:|--:|--:|", flush=True)
    for executor in EXECUTORS:
        with tempfile.TemporaryDirectory(prefix="hhvm-scale-") as directory:
            most = FEW if "nothing preloaded" in executor else max(arguments.counts)
            if not (counts := [count for count in arguments.counts if count <= most]):
                continue
            deployment = Deployment(Path(directory), executor, sum(counts))
            with deployment.running():
                for count in counts:
                    cost = deployment.measure(count)
                    print(
                        f"| {count} | {executor} | {cost.started:.0f} s | {cost.ended / count:.1f} s "
                        f"| {cost.memory} MB | {cost.connections or ''} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
