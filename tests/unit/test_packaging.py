"""The packaging files that workers get are exactly those of one revision."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hhvm_packaging import packaging

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of this checkout's packaging files."""
    for part in ("bin", "distros", "jobs"):
        shutil.copytree(ROOT / part, tmp_path / part, symlinks=True)
    return tmp_path


def test_equal_content_makes_equal_bytes(root: Path) -> None:
    before = packaging.pack(root)
    for path in root.rglob("*"):
        os.utime(path, (0, 0), follow_symlinks=False)
    assert packaging.pack(root) == before


def test_any_edit_makes_other_bytes(root: Path) -> None:
    before = packaging.pack(root)
    with (root / "bin/make-debianish-package").open("a") as script:
        script.write("\n")
    assert packaging.pack(root) != before


def test_an_uncommitted_edit_shows_in_the_revision(root: Path) -> None:
    git = ["git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    assert packaging.revision(root) == "unknown"
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "All"], check=True)
    clean = packaging.revision(root)
    assert len(clean) == 40
    (root / "bin/make-debianish-package").write_text("")
    assert packaging.revision(root) == f"{clean}-dirty"


def test_outside_git_the_revision_is_unknown(tmp_path: Path) -> None:
    assert packaging.revision(tmp_path) == "unknown"
