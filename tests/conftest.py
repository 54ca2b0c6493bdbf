"""What tests share: an Airflow home of their own, the Docker engine, its images."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Airflow reads these when it is first imported.
os.environ.update(
    AIRFLOW_HOME=tempfile.mkdtemp(prefix="hhvm-packaging-tests-"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "plugins"),
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
)


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """A Docker engine that answers."""
    subprocess.run([ROOT / "demo/docker-engine", "ensure"], check=True)


@pytest.fixture(scope="session")
def base_images(docker_engine: None) -> None:
    """The distributions' base images."""
    images = {(path / "DOCKER_BASE").read_text().strip() for path in (ROOT / "distros").iterdir()}
    subprocess.run([ROOT / "demo/base-image", *sorted(images)], check=True)


@pytest.fixture(scope="session")
def job_image(base_images: None) -> str:
    """The image of the jobs' own containers, built as the Docker workers build it."""
    from hhvm_packaging import runtime

    return runtime.worker().job_image()
