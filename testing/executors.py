"""PostgreSQL, Celery's broker and Celery's workers on this machine, for a stack that is to run on them."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from demo.compose_stack import BROKER, POSTGRES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from demo.stack import Stack

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
AT_ONCE = 8
"""Tasks' processes at once, those of all workers together."""


def make_images() -> None:
    """Make sure that the images of PostgreSQL and of the broker are there."""
    environment = {**os.environ, "HHVM_DEMO_VAR": tempfile.gettempdir()}
    images = [f"postgres={POSTGRES}", f"valkey={BROKER}"]
    subprocess.run([ROOT / "demo/service-images", *images], check=True, env=environment)


@contextmanager
def postgres() -> Generator[str]:
    """Run PostgreSQL with a database for Airflow. Its address is as libpq has it."""
    port = _free_port()
    address = f"postgresql://airflow:airflow@127.0.0.1:{port}/airflow"
    environment = {f"POSTGRES_{name}": "airflow" for name in ("USER", "PASSWORD", "DB")}
    with _container(POSTGRES, port, 5432, environment):
        _wait_for(lambda: _answers(address))
        yield address


@contextmanager
def broker() -> Generator[str]:
    """Run Celery's broker. Yields its URL."""
    port = _free_port()
    with _container(BROKER, port, 6379, {}):
        yield f"redis://127.0.0.1:{port}/0"


def on_postgres(address: str) -> dict[str, str]:
    """Airflow's configuration, as environment variables, for a database of ``postgres``."""
    return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": address.replace("://", "+psycopg2://")}


def on_celery(broker_url: str, *, preloading: bool = True) -> dict[str, str]:
    """Airflow's configuration, as environment variables, for Celery's executor."""
    variables = {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": broker_url,
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(AT_ONCE // WORKERS),
        "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
    }
    if preloading:
        variables["AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS"] = "deploy.compose.celery_config.CONFIG"
        variables["PYTHONPATH"] = f"{ROOT}:{ROOT / 'plugins'}"
    return variables


@contextmanager
def worker(stack: Stack, number: int) -> Generator[None]:
    """Run one of Celery's workers for a stack that is up."""
    queues = ("--queues", "default,workers,signing", "--celery-hostname", f"worker-{number}@%h")
    environment = stack.environment(f"worker-{number}")
    program = environment["PATH"].partition(":")[0] + "/airflow"
    with (
        (stack.log_directory / f"worker-{number}.log").open("w") as log,
        subprocess.Popen(
            [program, "celery", "worker", "--skip-serve-logs", *queues],
            env=environment,
            cwd=ROOT,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def _container(image: str, port: int, inner: int, environment: dict[str, str]) -> Generator[None]:
    """A server in a container, which answers at a port of this machine."""
    variables = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    name = f"hhvm-executors-{port}"
    published = f"127.0.0.1:{port}:{inner}"
    command = ["docker", "run", "--detach", "--rm", "--name", name, "--publish", published, *variables, image]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, stdout=subprocess.DEVNULL)


def _wait_for(condition: Callable[[], bool], limit: float = 120) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("PostgreSQL does not answer")
        time.sleep(0.5)


def _answers(address: str) -> bool:
    import psycopg

    try:
        psycopg.connect(address, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
