"""The demo's command line; ``make demo`` and its neighbours call it."""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import sys
from pathlib import Path

from demo.commands import CommandFailed
from demo.compose_stack import ComposeDemo, ComposeStack
from demo.driver import FIRST_RELEASE, Demo, DemoFailed
from demo.progress import Progress
from demo.stack import DEFAULT_VAR, Stack, StackFailed
from hhvm_packaging.distros import InvalidDistro
from hhvm_packaging.release import InvalidVersion, Release
from hhvm_packaging.runs.api import ApiError

INTERRUPTED = 130


def main() -> int:
    """Do what the command line asks. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--compose", action="store_true", help="with the services of docker-compose.yaml")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="set up, build, publish and install a release")
    # make passes it by the environment: there, no shell reads what a person typed.
    up.add_argument("version", nargs="?", default=os.environ.get("VERSION", FIRST_RELEASE))
    commands.add_parser("down", help="stop everything that the demo started")
    commands.add_parser("clean", help="stop everything and forget the data")
    commands.add_parser("status", help="show what runs")
    run = commands.add_parser("run", help="run a command as the demo's Airflow would, or docker compose")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="COMMAND")
    arguments = parser.parse_args()
    progress = Progress.since_make()
    try:
        return _run(arguments, progress)
    except KeyboardInterrupt:
        progress.block(
            "\ninterrupted; the services and the run go on. make demo joins them, make down stops all"
        )
        return INTERRUPTED
    except (ApiError, CommandFailed, DemoFailed, InvalidDistro, InvalidVersion, StackFailed) as error:
        progress.console.print()
        progress.block(str(error))
        return 1


def _run(arguments: argparse.Namespace, progress: Progress) -> int:
    demo = _demo(progress, compose=arguments.compose)
    match arguments.command:
        case "up":
            today = datetime.datetime.now(datetime.UTC).date()
            release = Release.parse(arguments.version, today=today)
            demo.up(release)
        case "run":
            environment = demo.stack.person_environment()
            words = [*demo.stack.person_command, *arguments.arguments]
            command = shutil.which(words[0], path=environment["PATH"]) or words[0]
            os.execve(command, [command, *words[1:]], environment)  # ruff: ignore[start-process-with-no-shell]
        case command:
            getattr(demo, command)()
    return 0


def _demo(progress: Progress, *, compose: bool) -> Demo:
    var = os.environ.get("HHVM_DEMO_VAR")
    if compose:
        return ComposeDemo(ComposeStack(Path(var or DEFAULT_VAR / "compose")), progress)
    return Demo(Stack(Path(var or DEFAULT_VAR)), progress)


if __name__ == "__main__":
    sys.exit(main())
