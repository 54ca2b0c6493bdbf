"""What tests share: an Airflow home of their own, the Docker engine, its images."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).resolve().parents[1]

# A busy machine may stop a test for longer than an example may take.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

# The processes of one test run share it: pytest's own sets it, those that it starts inherit it.
SHARED = Path(os.environ.get("HHVM_TEST_RUN") or tempfile.mkdtemp(prefix="hhvm-test-run-"))
os.environ["HHVM_TEST_RUN"] = str(SHARED)
ENGINE = {**os.environ, "HHVM_DEMO_VAR": str(SHARED / "engine")}

# Airflow reads these when it is first imported.
os.environ.update(
    AIRFLOW_HOME=tempfile.mkdtemp(prefix="airflow-", dir=SHARED),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "plugins"),
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
)


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """A Docker engine that answers; ``pytest_sessionfinish`` stops it if it was started for the tests."""
    with one_at_a_time():
        subprocess.run([ROOT / "demo/docker-engine", "ensure"], env=ENGINE, check=True)


@pytest.fixture(scope="session")
def base_images(docker_engine: None) -> None:
    """The base images of the distributions that the demo builds."""
    from demo.stack import TARGETS

    images = {(ROOT / "distros" / name / "DOCKER_BASE").read_text().strip() for name in TARGETS}
    with one_at_a_time():
        subprocess.run([ROOT / "demo/base-image", *sorted(images)], check=True)


@pytest.fixture(scope="session")
def job_image(base_images: None) -> str:
    """The image of the jobs' own containers, built as the Docker workers build it; that for looking, too."""
    from hhvm_packaging.orchestration import connections

    with one_at_a_time():
        subprocess.run([ROOT / "jobs/looking-image"], check=True)
        return connections.docker_worker().job_image()


@contextmanager
def one_at_a_time() -> Generator[None]:
    """Keep the test processes that run beside each other from preparing the same thing twice."""
    with (SHARED / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop what the test processes shared, after the last of them."""
    if not hasattr(session.config, "workerinput"):
        subprocess.run([ROOT / "demo/docker-engine", "stop"], env=ENGINE, check=True)
        shutil.rmtree(SHARED)
