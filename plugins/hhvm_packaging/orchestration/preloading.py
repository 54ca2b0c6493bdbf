"""Imports what every task needs before task processes are forked, so that no task imports it again.

With the LocalExecutor a task's process is a fork of the scheduler's, with Celery one of a worker's. Imports
are most of what a short task does. What was measured: docs/decisions/0020-preloading.md.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from airflow.listeners import hookimpl

from hhvm_packaging.orchestration import _airflow_internals

_LAZY = (
    "airflow.sdk.definitions.connection",
    "airflow.sdk.execution_time.cache",
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.amazon.aws.operators.ec2",
    "airflow.providers.docker.hooks.docker",
    "boto3.s3.inject",
)
"""What tasks import when they need it, besides our own modules and their imports."""


@hookimpl
def on_starting(component: object) -> None:
    """Airflow calls this at the start of a scheduler, a triggerer, and of a task, where it is too late."""
    if not _airflow_internals.is_task(component):
        load()


def load() -> None:
    """Import the modules of this package and those in _LAZY."""
    import hhvm_packaging

    for name in _LAZY:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(hhvm_packaging.__path__, f"{hhvm_packaging.__name__}."):
        importlib.import_module(module.name)
    # The AWS hook looks up who called it. The first time, Python looks at every module for that.
    inspect.stack()
