"""Many builds on EC2 and room for few: a real Airflow, over an account that has no more room than that."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demo.driver import PATIENCE, TIMEOUT
from demo.stack import AIRFLOW, USER, Ports, Stack
from hhvm_packaging.distros import Distro
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.runs.api import AirflowApi
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from testing.ec2 import AIRFLOW as CALLER
from testing.ec2 import AMI_PARAMETER, REGION, emulated_ec2
from testing.unhurried import UNHURRIED

if TYPE_CHECKING:
    from testing.ec2 import EC2

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Outcome:
    """What became of the builds."""

    states: dict[str, str]
    """Those of the tasks, by distribution."""
    built: set[str]
    """The distributions whose build left what it should."""
    tries: int
    """Of all tasks."""
    launches: int
    """Instances that there were."""
    refused: int
    """Launches that EC2 had no room for."""
    peak: int
    """Instances that there were at once."""
    seconds: float
    """From the trigger to the run's end."""
    late: list[float]
    """Seconds from each result to the end of its task."""


VERSION = "3.0.0"
"""What is built."""
DAG_FILE = Path(__file__).with_name("dags") / "builds.py"


def build(directory: Path, *, builds: int, room: int, limit: float) -> Outcome:
    """Run so many builds with ``room`` for few, in pool and account, in ``limit`` seconds at most."""
    with emulated_ec2() as ec2:
        stack = _stack(directory, ec2, builds)
        try:
            stack.up()
            api = AirflowApi(stack.ui_url, USER, stack.secrets.password, patience=PATIENCE, timeout=TIMEOUT)
            api.wait_for_dags([DAG_FILE.stem])
            return run(api, ec2, room, limit)
        finally:
            stack.down()


def run(api: AirflowApi, ec2: EC2, room: int, limit: float) -> Outcome:
    """Run the builds that the environment says, with ``room`` for few, in ``limit`` seconds at most."""
    api.ensure_pool("workers", room, include_deferred=True)
    ec2.limit_instances(room)
    earlier, began = len(ec2.launches), time.monotonic()
    api.trigger(DAG_FILE.stem, "run", {})
    while api.state(DAG_FILE.stem, "run") not in ("success", "failed") and time.monotonic() < began + limit:
        time.sleep(1)
    seconds = time.monotonic() - began
    tasks, launches = api.tasks(DAG_FILE.stem, "run"), ec2.launches[earlier:]
    store = Store(ec2.client("s3"), Settings())
    results = {
        fields["job"].removeprefix(f"hhvm-{VERSION}-a-build-").rpartition("-")[0]: entry.modified
        for entry in store.scratch.entries(keys.jobs(VERSION))
        if (fields := keys.Scratch.JOB_FILE.match(entry.key)) and fields["job_file"] == keys.RESULT
    }
    return Outcome(
        states={task.label: task.state for task in tasks},
        built={key.split("/")[1] for key in store.scratch.keys(f"{VERSION}/") if key.endswith("/built")},
        tries=sum(task.try_number for task in tasks),
        launches=len({name for launch in launches for name in launch.instances}),
        refused=sum(launch.error == "VcpuLimitExceeded" for launch in launches),
        peak=ec2.peak,
        seconds=seconds,
        late=[
            (task.end_date - results[task.label]).total_seconds()
            for task in tasks
            if task.end_date and task.label in results
        ],
    )


def environment(store: Store, packaging: Path, builds: int) -> dict[str, str]:
    """What tells the DAG of DAG_FILE what to build; ``packaging`` gets the script that does it."""
    (packaging / "jobs/a-build").write_text('#!/bin/bash\necho "$DISTRO" >"$OUT/built"\n')
    (packaging / "jobs/a-build").chmod(0o755)
    distros = [f"debian-{number}-trivial" for number in range(1, builds + 1)]
    plan = BuildPlan(
        version=VERSION,
        nightly=False,
        commit="",
        packaging=packaging_files.upload(store, packaging),
        packaging_revision="",
        distros=tuple(
            Distro(name=name, docker_base="", distribution="trivial", pkgver="", files_sha256="")
            for name in distros
        ),
    )
    return {
        "HHVM_TEST_PLAN": plan.model_dump_json(),
        "HHVM_TEST_DISTROS": json.dumps(distros),
        # The DAG files import from here.
        "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",
    }


def _stack(directory: Path, ec2: EC2, builds: int) -> Stack:
    """Airflow's services over ``directory``, with one DAG, on that EC2."""
    dags, packaging = directory / "dags", directory / "packaging"
    dags.mkdir()
    shutil.copy(DAG_FILE, dags)
    for part in ("bin", "jobs", "distros"):
        shutil.copytree(ROOT / part, packaging / part, symlinks=True)
    connection = {
        "conn_type": "aws",
        "login": CALLER,
        "password": "emulated",
        "extra": {"endpoint_url": ec2.endpoint, "region_name": REGION},
    }
    variables = UNHURRIED | {
        "HHVM_PACKAGING_WORKERS": "ec2",
        "HHVM_PACKAGING_EC2__REGION": REGION,
        "HHVM_PACKAGING_EC2__IMAGE_PARAMETER": AMI_PARAMETER,
        "AIRFLOW_CONN_HHVM_AWS": json.dumps(connection),
        **environment(Store(ec2.client("s3"), Settings()), packaging, builds),
    }
    (directory / "environment.json").write_text(json.dumps(variables))
    return Stack(directory, services=AIRFLOW, preferred_ports=Ports(0, 0, 0), dags_folder=dags)
