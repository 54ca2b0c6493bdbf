"""Queues by what a task needs, so that no machine has both the signing key and a Docker engine.

With CeleryExecutor each worker and each triggerer names the queues that it serves; LocalExecutor ignores
them. All other tasks are in Airflow's default queue and need neither.
"""

from __future__ import annotations

SIGNING = "signing"
"""For tasks that sign: its worker has the signing key, and no engine."""
WORKERS = "workers"
"""For tasks that start, watch or end jobs: its worker and its triggerer have the engine, and no key."""
