"""What a task imports after preloading, seen in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DAGS = str(Path(__file__).resolve().parents[2] / "dags")
SCRIPT = """
import sys
import airflow.sdk.execution_time.supervisor
from airflow.dag_processing.dagbag import DagBag
from hhvm_packaging.orchestration import connections, preloading

preloading.load()
before = set(sys.modules)
{then}
libraries = ("airflow", "boto3", "botocore", "docker", "hhvm_packaging", "jinja2", "pydantic")
print(sorted(name for name in set(sys.modules) - before if name.partition(".")[0] in libraries))
"""
READ_DAGS = f"assert not DagBag({DAGS!r}, bundle_path={DAGS!r}, bundle_name='dags').import_errors"

CONNECTION = {"AIRFLOW_CONN_HHVM_AWS": "aws://key:secret@/?region_name=us-west-2"}


@pytest.mark.parametrize("then", [READ_DAGS, "connections.store()", "connections.docker_worker()"])
@pytest.mark.slow
def test_a_task_that_is_forked_afterwards_imports_nothing_more_for(then: str, docker_engine: None) -> None:
    assert printed(SCRIPT.format(then=then)) == "[]"


def printed(script: str) -> str:
    """The last line of what a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | CONNECTION,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]
