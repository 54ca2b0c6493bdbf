"""The demo's command line; ``make demo`` and its neighbours call it."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from pathlib import Path

from demo.airflow_api import ApiFailed
from demo.commands import CommandFailed
from demo.driver import FIRST_RELEASE, Demo, DemoFailed
from demo.progress import Progress
from demo.stack import DEFAULT_VAR, Stack, StackFailed
from hhvm_packaging.distros import InvalidDistro
from hhvm_packaging.release import InvalidVersion, Release

INTERRUPTED = 130


def main() -> int:
    """Do what the command line asks. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="set up, build, publish and install a release")
    # make passes it by the environment: there, no shell reads what a person typed.
    up.add_argument("version", nargs="?", default=os.environ.get("VERSION", FIRST_RELEASE))
    commands.add_parser("down", help="stop everything that the demo started")
    commands.add_parser("clean", help="stop everything and forget the data")
    commands.add_parser("status", help="show what runs")
    airflow = commands.add_parser("airflow", help="run Airflow's command line on the demo's Airflow")
    airflow.add_argument("arguments", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    progress = Progress.since_make()
    try:
        return _run(arguments, progress)
    except KeyboardInterrupt:
        progress.block(
            "\ninterrupted; the services and the run go on. make demo joins them, make down stops all"
        )
        return INTERRUPTED
    except (ApiFailed, CommandFailed, DemoFailed, InvalidDistro, InvalidVersion, StackFailed) as error:
        progress.console.print()
        progress.block(str(error))
        return 1


def _run(arguments: argparse.Namespace, progress: Progress) -> int:
    stack = Stack(Path(os.environ.get("HHVM_DEMO_VAR") or DEFAULT_VAR))
    match arguments.command:
        case "up":
            today = datetime.datetime.now(datetime.UTC).date()
            release = Release.parse(arguments.version, today=today)
            Demo(stack, progress).up(release)
        case "airflow":
            command = str(Path(sys.executable).parent / "airflow")
            os.execve(command, [command, *arguments.arguments], stack.environment())  # ruff: ignore[start-process-with-no-shell]
        case command:
            getattr(Demo(stack, progress), command)()
    return 0


if __name__ == "__main__":
    sys.exit(main())
