"""Git answers the same whoever asks: the caller's repository, settings and hooks do not count."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.planning import git

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE_CONFIG = """
[log]
    showSignature = true
[tar "tar.gz"]
    command = false
[core]
    attributesFile = {0}/attributes
    hooksPath = {0}/hooks
    excludesFile = {0}/excludes
    autocrlf = true
    eol = crlf
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, which has the file kept, and an untracked file."""
    root = tmp_path / "repository"
    subprocess.run(["git", "init", "--quiet", root], check=True)
    (root / "kept").write_text("$Format:%H$\n")
    (root / ".gitattributes").write_text("* text\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", "-C", root, "add", "--all"], check=True)
    subprocess.run(["git", "-C", root, *who, "commit", "--quiet", "-m", "first"], check=True)
    (root / "untracked").touch()
    return root


QUESTIONS = {
    "refs": ["ls-remote", "--", "."],
    "log": ["log", "-1", "--format=%H"],
    "archive": ["archive", "--format=tar.gz", "HEAD"],
    "edits": ["status", "--porcelain", "--untracked-files=all"],
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_callers_repository_and_settings_change_no_answer(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    usual = git.run("-C", str(repository), *QUESTIONS[question], timeout=30)
    (tmp_path / "attributes").write_text("* export-ignore\n")
    (tmp_path / "excludes").write_text("*\n")
    (tmp_path / "config").write_text(HOSTILE_CONFIG.format(tmp_path))
    other = tmp_path / "other"
    subprocess.run(["git", "init", "--quiet", other], check=True)
    for name, value in {
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": str(other / "index"),
        "GIT_OBJECT_DIRECTORY": str(other / ".git/objects"),
        "GIT_NAMESPACE": "elsewhere",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "protocol.allow",
        "GIT_CONFIG_VALUE_0": "never",
        "GIT_CONFIG_GLOBAL": str(tmp_path / "config"),
        "LC_ALL": "tr_TR.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    assert git.run("-C", str(repository), *QUESTIONS[question], timeout=30) == usual


def test_the_callers_way_to_a_repository_is_kept() -> None:
    ways = {"GIT_SSH_COMMAND": "ssh -i key", "GIT_ASKPASS": "ask", "https_proxy": "proxy", "PATH": "/bin"}
    kept = git.environment(ways | {"GIT_DIR": "/elsewhere", "GIT_CONFIG_PARAMETERS": "'a'='b'"})
    assert ways.items() <= kept.items()
    assert not {"GIT_DIR", "GIT_CONFIG_PARAMETERS"} & kept.keys()


def test_what_git_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(git.GitError, match="does not appear to be a git repository"):
        git.run("ls-remote", "--", str(tmp_path), timeout=30)
