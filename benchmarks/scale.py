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
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from demo.compose_stack import BROKER, POSTGRES
from demo.driver import PATIENCE, TIMEOUT
from demo.stack import AIRFLOW, STORAGE, USER, Ports, Stack
from hhvm_packaging.orchestration import connections
from hhvm_packaging.runs.api import AirflowApi
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers.job import Result
from testing import room, s3

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

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
AT_ONCE = 8
"""Tasks' processes at once: the parallelism of LocalExecutor, or twice four of Celery's workers."""


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
        self._port = _free_port()
        self._built = 0

    @property
    def database(self) -> str:
        """The address of PostgreSQL, as libpq has it."""
        return f"postgresql://airflow:airflow@127.0.0.1:{self._port}/airflow"

    @contextmanager
    def running(self) -> Generator[None]:
        """All of it, until the end of the ``with`` statement."""
        with ExitStack() as running:
            variables: dict[str, str] = {}
            if "SQLite" not in self.executor:
                environment = {f"POSTGRES_{name}": "airflow" for name in ("USER", "PASSWORD", "DB")}
                running.enter_context(_container(POSTGRES, self._port, 5432, environment))
                variables["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = self.database.replace(
                    "://", "+psycopg2://"
                )
                _wait_for(self._database_answers)
            if "Celery" in self.executor:
                port = _free_port()
                running.enter_context(_container(BROKER, port, 6379, {}))
                variables["AIRFLOW__CORE__EXECUTOR"] = "CeleryExecutor"
                variables["AIRFLOW__CELERY__BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
                if "nothing preloaded" not in self.executor:
                    name = "deploy.compose.celery_config.CONFIG"
                    variables["AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS"] = name
                variables["AIRFLOW__CELERY__WORKER_CONCURRENCY"] = str(AT_ONCE // 2)
                variables["AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER"] = "1"
            self._prepare(variables)
            running.callback(self.stack.down)
            self.stack.up()
            if "Celery" in self.executor:
                for number in (1, 2):
                    running.enter_context(self._worker(number))
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

    @contextmanager
    def _worker(self, number: int) -> Generator[None]:
        queues = ("--queues", "default,workers,signing", "--celery-hostname", f"worker-{number}@%h")
        environment = self.stack.environment(f"worker-{number}")
        with (
            (self.stack.log_directory / f"worker-{number}.log").open("w") as log,
            subprocess.Popen(
                [
                    environment["PATH"].partition(":")[0] + "/airflow",
                    "celery",
                    "worker",
                    "--skip-serve-logs",
                    *queues,
                ],
                env=environment,
                stdout=log,
                stderr=log,
            ) as worker,
        ):
            try:
                yield
            finally:
                worker.terminate()

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
        if "SQLite" in self.executor:
            return 0
        import psycopg

        with psycopg.connect(self.database) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'airflow' AND pid <> pg_backend_pid()"
            ).fetchone()
        return int(row[0]) if row else 0

    def _database_answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.database, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def _container(image: str, port: int, inner: int, environment: dict[str, str]) -> Generator[None]:
    """A server in a container, which answers at a port of this machine."""
    variables = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    name = f"hhvm-bench-{port}"
    published = f"127.0.0.1:{port}:{inner}"
    command = ["docker", "run", "--detach", "--rm", "--name", name, "--publish", published, *variables, image]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, stdout=subprocess.DEVNULL)


def _wait_for(condition: Callable[[], bool], limit: float = 60) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("PostgreSQL does not answer")
        time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Print a row for each executor and number."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("counts", nargs="*", type=int, default=[10, 100, 500], help="how many jobs")
    arguments = parser.parse_args()
    # Whoever kills this wants what it started gone, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    environment = {**os.environ, "HHVM_DEMO_VAR": tempfile.gettempdir()}
    subprocess.run([ROOT / "demo/base-image", "debian:trixie"], check=True, env=environment)
    images = [f"postgres={POSTGRES}", f"valkey={BROKER}"]
    subprocess.run([ROOT / "demo/service-images", *images], check=True, env=environment)
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
