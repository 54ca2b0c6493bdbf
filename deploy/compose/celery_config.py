"""Celery's configuration: Airflow's own. It also has workers import what tasks need before they fork.

``[celery] celery_config_options`` names CONFIG. Why workers preload: docs/decisions/0020-preloading.md.
"""

from __future__ import annotations

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG
from celery.signals import worker_init

CONFIG = DEFAULT_CELERY_CONFIG


def preload(**_: object) -> None:
    """Import what every task needs. Celery calls this in a worker's first process."""
    from hhvm_packaging.orchestration import preloading

    preloading.load()


worker_init.connect(preload)
