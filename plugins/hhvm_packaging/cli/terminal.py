"""What the commands of bin/hhvm-packaging share: how they print, ask, refuse, and reach Airflow."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from hhvm_packaging.runs.api import AirflowApi

if TYPE_CHECKING:
    from collections.abc import Generator

# What is printed is text as it is: versions, names and logs of others.
_AS_IT_IS: dict[str, Any] = {"highlight": False, "soft_wrap": True, "markup": False, "emoji": False}
out, err = Console(**_AS_IT_IS), Console(stderr=True, **_AS_IT_IS)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class Refused(Exception):
    """It cannot be done. The message says why, and what to do."""


@contextmanager
def airflow() -> Generator[AirflowApi]:
    """Airflow, with the login of the environment. Raises Refused if there is none."""
    url = os.environ.get("AIRFLOW_API_URL", "http://localhost:8080").rstrip("/")
    login = {name: os.environ.get(f"AIRFLOW_API_{name}", "") for name in ("USER", "PASSWORD")}
    if missing := [f"AIRFLOW_API_{name}" for name, value in login.items() if not value]:
        raise Refused(f"{' and '.join(missing)} not set: set your login for {url}, see --help")
    with AirflowApi(url, login["USER"], login["PASSWORD"], timeout=60) as api:
        yield api


def confirm(question: str, command: str) -> None:
    """Ask before something that cannot be taken back. Raises Refused if nobody is there, typer.Abort."""
    if not sys.stdin.isatty():
        raise Refused(f"{command}: nobody is there to be asked. Add --yes to do it.")
    typer.confirm(question, abort=True, err=True)


def print_json(content: object) -> None:
    """Print it for programs."""
    print(json.dumps(content, indent=2))
