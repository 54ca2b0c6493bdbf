"""What tests share: an Airflow home of their own, the Docker engine, its images."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

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
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Docker engine that answers; stopped in the end if it was started for the tests."""
    environment = {**os.environ, "HHVM_DEMO_VAR": str(tmp_path_factory.mktemp("engine"))}
    subprocess.run([ROOT / "demo/docker-engine", "ensure"], env=environment, check=True)
    yield
    subprocess.run([ROOT / "demo/docker-engine", "stop"], env=environment, check=True)


@pytest.fixture(scope="session")
def base_images(docker_engine: None) -> None:
    """The distributions' base images."""
    images = {(path / "DOCKER_BASE").read_text().strip() for path in (ROOT / "distros").iterdir()}
    subprocess.run([ROOT / "demo/base-image", *sorted(images)], check=True)


@pytest.fixture(scope="session")
def job_image(base_images: None) -> str:
    """The image of the jobs' own containers, built as the Docker workers build it."""
    from hhvm_packaging import runtime

    return runtime.docker_worker().job_image()
