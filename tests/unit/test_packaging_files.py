"""The packaging files that workers get are exactly those of one revision."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from hhvm_packaging.planning import packaging_files
from hhvm_packaging.planning.packaging_files import WORKTREE, Revision, UnknownRef
from hhvm_packaging.workers import packaging_archive

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "bin/make-debianish-package"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of this checkout's packaging files."""
    for part in ("bin", "distros", "jobs"):
        shutil.copytree(ROOT / part, tmp_path / "root" / part, symlinks=True)
    return tmp_path / "root"


@pytest.fixture
def checkout(root: Path) -> Path:
    """The same, committed to the branch main."""
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "All")
    return root


def git(root: Path, *arguments: str) -> str:
    """What git prints in ``root``."""
    command = ["git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def unpacked(archive: bytes, directory: Path) -> Path:
    """The directory, with what is in the archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        # Python 3.11.2, which Debian 12 has, knows no filters yet.
        tar.extractall(directory)  # ruff: ignore[tarfile-unsafe-members]
    return directory


def test_equal_content_makes_equal_bytes(root: Path) -> None:
    before = packaging_files.pack(root)
    for path in root.rglob("*"):
        os.utime(path, (0, 0), follow_symlinks=False)
    assert packaging_files.pack(root) == before


def test_any_edit_makes_other_bytes(root: Path) -> None:
    before = packaging_files.pack(root)
    with (root / SCRIPT).open("a") as script:
        script.write("\n")
    assert packaging_files.pack(root) != before


def test_jobs_keep_their_own_library_beside_a_bin_of_another_revision(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for part in ("bin", "distros"):
        shutil.copytree(root / part, other / part, symlinks=True)
    library = other / "bin/lib/hhvm-packaging.sh"
    library.write_text("echo from another revision; exit 9\n")
    files = unpacked(packaging_files.pack(other, root / "jobs"), tmp_path / "unpacked")
    assert (files / "bin/lib/hhvm-packaging.sh").read_text() == library.read_text()
    for job in ("make-binary-package", "look-as-user", "on-instance", "in-container/install-gate"):
        helped = subprocess.run([files / "jobs" / job, "--help"], capture_output=True, check=True)
        assert b"another revision" not in helped.stdout


@pytest.mark.parametrize("options", ["--exclude-vcs", "--exclude=distros --strip-components=1"])
def test_whoever_unpacks_them_gets_all_of_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    (root / "distros/.gitignore").write_text("out\n")
    archive = packaging_files.pack(root)
    monkeypatch.setenv("TAR_OPTIONS", options)
    files = tmp_path / "files"
    files.mkdir()
    packaging_archive.extract(archive, files)
    assert packaging_files.pack(files) == archive


def test_the_worktree_has_its_commit_for_a_revision(checkout: Path) -> None:
    assert packaging_files.worktree(checkout) == Revision(WORKTREE, git(checkout, "rev-parse", "HEAD"))


@pytest.mark.parametrize("path", [SCRIPT, "distros/a-new-file", "jobs/run"])
def test_an_uncommitted_edit_shows_in_the_revision(checkout: Path, path: str) -> None:
    (checkout / path).write_text("")
    head = git(checkout, "rev-parse", "HEAD")
    assert packaging_files.worktree(checkout) == Revision(WORKTREE, f"{head}-dirty")


def test_without_a_commit_without_a_repository_and_without_git_the_revision_is_unknown(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Revision(WORKTREE, "unknown")
    assert packaging_files.resolve(root, None, "HHVM-1.0") == unknown
    git(root, "init", "--quiet")
    assert packaging_files.resolve(root, None, "HHVM-1.0") == unknown
    monkeypatch.setenv("PATH", "")
    assert packaging_files.resolve(root, None, "HHVM-1.0") == unknown
    with pytest.raises(UnknownRef, match=r"^packaging_ref: "):
        packaging_files.resolve(root, "main", None)


def test_in_an_image_which_has_no_repository_a_file_says_the_revision(root: Path) -> None:
    (root / "REVISION").write_text("0123abcd\n")
    assert packaging_files.worktree(root) == Revision(WORKTREE, "0123abcd")


def test_a_branch_a_tag_and_a_commit_can_be_asked_for(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD")
    git(checkout, "tag", "--annotate", "--message=An annotated tag", "a-tag")
    git(checkout, "branch", "a/branch")
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "Another")
    for ref in ("a-tag", "a/branch", "refs/heads/a/branch", first, first[:12]):
        assert packaging_files.resolve(checkout, ref, "HHVM-1.0").commit == first
    (checkout / SCRIPT).write_text("an edit")
    assert packaging_files.resolve(checkout, "HEAD", None).commit == git(checkout, "rev-parse", "HEAD")


@pytest.mark.parametrize("ref", ["no-such-branch", "0123abcd" * 5, "HHVM-1.0", "HEAD:bin"])
def test_a_ref_that_is_not_there_is_refused_by_the_name_of_its_field(checkout: Path, ref: str) -> None:
    with pytest.raises(UnknownRef, match=rf"^packaging_ref: .* {ref!r}\. Allowed: one that is there"):
        packaging_files.resolve(checkout, ref, "HHVM-1.0")


@pytest.mark.parametrize(
    "ref",
    ["--output=made", "-x", "--upload-pack=touch made", "$(touch made)", "; touch made", "a\nb", "^main"],
)
@pytest.mark.parametrize("has_origin", [True, False])
def test_nothing_that_a_person_typed_is_an_option_or_a_command(
    checkout: Path, ref: str, has_origin: bool
) -> None:
    if has_origin:
        git(checkout, "remote", "add", "origin", str(checkout))
    before = packaging_files.pack(checkout)
    with pytest.raises(UnknownRef):
        packaging_files.resolve(checkout, ref, None)
    assert not (checkout / "made").exists()
    assert packaging_files.pack(checkout) == before


@pytest.fixture
def clone(checkout: Path, tmp_path: Path) -> Path:
    """A clone of ``checkout``, which is its origin."""
    git(tmp_path, "clone", "--quiet", str(checkout), "clone")
    return tmp_path / "clone"


def test_a_branch_that_only_the_origin_has_is_found_without_a_change_to_the_clones_refs(
    checkout: Path, clone: Path
) -> None:
    git(checkout, "checkout", "--quiet", "-b", "HHVM-1.0")
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "Newer than the clone")
    git(checkout, "tag", "a-tag")
    newest = git(checkout, "rev-parse", "HEAD")
    refs = git(clone, "for-each-ref")
    assert packaging_files.resolve(clone, None, "HHVM-1.0") == Revision("origin refs/heads/HHVM-1.0", newest)
    for ref in ("HHVM-1.0", "origin/HHVM-1.0", "a-tag", newest):
        assert packaging_files.resolve(clone, ref, None).commit == newest
    git(clone, "cat-file", "-e", newest)
    assert git(clone, "for-each-ref") == refs


def test_a_commit_that_only_the_origin_has_is_fetched(checkout: Path, clone: Path) -> None:
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "Newer than the clone")
    newest = git(checkout, "rev-parse", "HEAD")
    assert packaging_files.resolve(clone, newest, None).commit == newest


def test_a_branch_of_the_checkouts_own_comes_before_its_origins(checkout: Path, clone: Path) -> None:
    git(clone, "branch", "HHVM-1.0")
    git(checkout, "checkout", "--quiet", "-b", "HHVM-1.0")
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "Newer than the clone")
    assert packaging_files.resolve(clone, None, "HHVM-1.0") == Revision(
        "refs/heads/HHVM-1.0", git(clone, "rev-parse", "HEAD")
    )


def test_of_an_origin_that_does_not_answer_what_it_last_had_counts(
    checkout: Path, clone: Path, tmp_path: Path
) -> None:
    git(checkout, "branch", "HHVM-1.0")
    git(clone, "fetch", "--quiet")
    checkout.rename(tmp_path / "elsewhere")
    found = packaging_files.resolve(clone, None, "HHVM-1.0")
    assert found == Revision("refs/remotes/origin/HHVM-1.0", git(clone, "rev-parse", "HEAD"))
    assert packaging_files.resolve(clone, None, "HHVM-2.0").ref == WORKTREE


def of_the_old_layout(checkout: Path, name: str) -> None:
    """Make a branch as the repository's branches were: the distributions' directories at its top."""
    git(checkout, "checkout", "--quiet", "-b", name)
    git(checkout, "mv", "distros/debian-12-bookworm", "debian-9-stretch")
    git(checkout, "rm", "--quiet", "-r", "distros")
    git(checkout, "commit", "--quiet", "--message", "The old layout")
    git(checkout, "checkout", "--quiet", "main")


def test_a_releases_branch_without_distros_counts_as_absent_and_the_log_says_so(
    checkout: Path, clone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    of_the_old_layout(checkout, "HHVM-1.0")
    for root in (checkout, clone):
        caplog.clear()
        assert packaging_files.resolve(root, None, "HHVM-1.0") == packaging_files.worktree(root)
        assert "has no directory distros/, so it does not count" in caplog.text


def test_a_revision_without_packaging_files_is_refused_if_it_is_asked_for(checkout: Path) -> None:
    of_the_old_layout(checkout, "HHVM-1.0")
    with pytest.raises(UnknownRef, match=r"^packaging_ref: refs/heads/HHVM-1.0 .* has no directory distros/"):
        packaging_files.resolve(checkout, "HHVM-1.0", None)


def test_a_file_in_place_of_distros_is_no_directory_of_that_name(checkout: Path) -> None:
    git(checkout, "rm", "--quiet", "-r", "distros")
    (checkout / "distros").write_text("moved\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "A file")
    with pytest.raises(UnknownRef, match="has no directory distros/"):
        packaging_files.resolve(checkout, "main", None)
