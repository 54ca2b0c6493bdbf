"""Git, run so that what it finds does not depend on who asks.

From the caller come only the ways to reach a repository: keys, proxies, certificates, credentials.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_WAYS = (
    "GIT_ASKPASS",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_HTTP_",
    "GIT_PROXY_",
    "GIT_SSH",
    "GIT_SSL_",
    "GIT_TRACE",
)
"""How the names of git's variables begin that do not change what a repository holds."""

_OPTIONS = (
    # The repository may be another user's, and is only read.
    "safe.directory=*",
    # What people set for themselves, and what would change what git prints, packs or runs.
    "core.attributesFile=/dev/null",
    "core.autocrlf=false",
    "core.eol=lf",
    "core.excludesFile=/dev/null",
    "core.hooksPath=/dev/null",
    "log.showSignature=false",
    "tar.tar.gz.command=gzip -cn",
)


class GitError(Exception):
    """Git is not there, or did not do what it was asked. The message is git's."""


class TooMuch(GitError):
    """Git prints more than anybody wants to read."""


def run(*arguments: str, timeout: float, more: Mapping[str, str] | None = None) -> bytes:
    """What git prints. ``more`` are further variables. Raises GitError, also after ``timeout`` seconds."""
    if (git := shutil.which("git")) is None:
        raise GitError("git is not installed")
    options = [word for option in _OPTIONS for word in ("-c", option)]
    try:
        done = subprocess.run(
            [git, "--no-optional-locks", *options, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=environment(os.environ) | dict(more or {}),
            # Nobody is there to answer a question: neither git's nor, without a terminal, ssh's.
            start_new_session=True,
            timeout=timeout,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise GitError(error.stderr.decode(errors="replace").strip()) from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"no answer within {timeout:.0f} seconds") from error
    return done.stdout


def run_up_to(limit: int, *arguments: str, timeout: float) -> bytes:
    """What git prints, if that is at most ``limit`` bytes; it is stopped once it prints more.

    Raises TooMuch then; GitError as ``run`` does.
    """
    if (git := shutil.which("git")) is None:
        raise GitError("git is not installed")
    options = [word for option in _OPTIONS for word in ("-c", option)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [git, "--no-optional-locks", *options, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(os.environ),
            start_new_session=True,
        ) as running,
    ):
        timer = threading.Timer(timeout, running.kill)
        timer.start()
        try:
            printed = running.stdout.read(limit + 1) if running.stdout else b""
            if len(printed) > limit:
                running.kill()
                raise TooMuch(f"git {arguments[-1]} prints more than {limit:,} bytes")
            if running.wait():
                errors.seek(0)
                raise GitError(errors.read(10_000).decode(errors="replace").strip() or "it was ended")
        finally:
            timer.cancel()
    return printed


def environment(caller: Mapping[str, str]) -> dict[str, str]:
    """The environment for git: the caller's, without what names another repository or other settings.

    Git itself sets GIT_DIR and others for what it starts, such as hooks.
    """
    kept = {name: value for name, value in caller.items() if not name.startswith("GIT_") or _is_way(name)}
    return kept | {"LC_ALL": "C", "GIT_ATTR_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}


def _is_way(name: str) -> bool:
    return name.startswith(_WAYS)
