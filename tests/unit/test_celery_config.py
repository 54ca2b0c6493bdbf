"""Celery's configuration in the deployment by docker-compose."""

from __future__ import annotations

import configparser
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from celery.signals import worker_init

from hhvm_packaging.orchestration import preloading

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_worker_imports_what_tasks_need_when_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configparser.RawConfigParser()
    config.read(ROOT / "deploy/compose/airflow.cfg")
    module, _, name = config["celery"]["celery_config_options"].rpartition(".")
    assert getattr(import_module(module), name)["worker_prefetch_multiplier"]
    loaded: list[str] = []
    monkeypatch.setattr(preloading, "load", lambda: loaded.append("all"))
    worker_init.send(sender=None)
    assert loaded == ["all"]
