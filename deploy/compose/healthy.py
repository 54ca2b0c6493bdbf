"""Exits with 0 if the service of this container is healthy; else says what is wrong and exits with 1.

``python3 -m deploy.compose.healthy api-server | scheduler | dag-processor | triggerer | worker``

A job is healthy if its heartbeat is in the database, which is what ``airflow jobs check --local`` asks for.
That takes five seconds of processor time, as it loads all of Airflow; this takes a third of one.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

OLDEST = 60
"""Seconds. A job whose last heartbeat is older hangs."""
PATIENCE = 10
"""Seconds to wait for an answer."""

JOBS = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}


class Unhealthy(Exception):
    """What is wrong."""


def check_api_server() -> None:
    """Raise Unhealthy unless the server answers and reaches its database."""
    with urllib.request.urlopen("http://127.0.0.1:8080/api/v2/monitor/health", timeout=PATIENCE) as answer:
        database = json.load(answer)["metadatabase"]["status"]
    if database != "healthy":
        raise Unhealthy(f"the database is {database}")


def check_job(job_type: str) -> None:
    """Raise Unhealthy unless this container's job of that type has a recent heartbeat."""
    import psycopg

    url = _address("database-url").replace("+psycopg2", "")
    with psycopg.connect(url, connect_timeout=PATIENCE) as connection:
        newest = connection.execute(
            "SELECT extract(epoch FROM now() - max(latest_heartbeat))::float FROM job"
            " WHERE job_type = %s AND hostname = %s AND state = 'running'",
            (job_type, socket.gethostname()),
        ).fetchone()
    if newest is None or newest[0] is None:
        raise Unhealthy(f"no {job_type} of this container runs")
    if newest[0] > OLDEST:
        raise Unhealthy(f"the last heartbeat of its {job_type} was {newest[0]:.0f} seconds ago")


def check_worker() -> None:
    """Raise Unhealthy unless this container's Celery worker answers a ping."""
    from celery import Celery

    name = f"celery@{socket.gethostname()}"
    with Celery(broker=_address("broker-url"), set_as_current=False) as app:
        if not app.control.inspect(destination=[name], timeout=PATIENCE).ping():
            raise Unhealthy(f"{name} does not answer a ping")


def _address(script: str) -> str:
    command = ["sh", str(Path(__file__).with_name(script))]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(service: str) -> int:
    """Check one service. Returns the exit status."""
    try:
        if service == "api-server":
            check_api_server()
        elif service == "worker":
            check_worker()
        else:
            check_job(JOBS[service])
    except Exception as error:
        print(f"{service}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
