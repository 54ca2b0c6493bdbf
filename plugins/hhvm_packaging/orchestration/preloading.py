"""Has what every task imports and reads in memory before their processes are forked: each has it at once.

A task's process is a fork of its executor's, which is a fork of the scheduler. Imports are most of what a
short task would do.
"""

from __future__ import annotations

import importlib
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
"""What tasks import when they need it, besides our own modules and what these import."""


@hookimpl
def on_starting(component: object) -> None:
    """Airflow calls this when a scheduler or a triggerer begins, and when a task does, which is too late."""
    if not _airflow_internals.is_task(component):
        load()


def load() -> None:
    """Import all of them, and read what a client of S3 needs."""
    import hhvm_packaging

    for name in _LAZY:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(hhvm_packaging.__path__, f"{hhvm_packaging.__name__}."):
        importlib.import_module(module.name)
    from hhvm_packaging.orchestration import aws

    aws.preload()
