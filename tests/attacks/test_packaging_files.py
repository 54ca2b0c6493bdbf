"""Whatever lies in distros/, nothing outside of it is read or quoted, and nothing is read without a bound."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging import distros
from hhvm_packaging.distros import InvalidDistro, InvalidTargets
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.planning.packaging_files import Revision, UnknownRef
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hhvm_packaging.store.buckets import Store

NAME = "debian-12-bookworm"
KEY = "-----BEGIN PGP PRIVATE KEY BLOCK-----"
FILES = [
    "DOCKER_BASE",
    "DISTRIBUTION",
    "PKGVER",
    "BUILD_PROFILES",
    "RETIRED",
    "make-package",
    "make-package.prebuild",
    "debian/control",
    "debian/rules",
    "debian/changelog",
    "skeleton",
    "another",
    "../CURRENT_TARGETS",
    "../a-shared-file",
]
TARGETS = [
    "/proc/self/environ",
    "/proc/self/root{secret}",
    "{secret}",
    "../../../secret",
    "/opt/hhvm-packaging/../../..{secret}",
    "/opt/hhvm-packaging-secret",
    "{name}",
    "../" * 30 + "{secret}",
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This checkout's packaging files, in an environment with a key, beside a file with another one."""
    monkeypatch.setenv("AIRFLOW_CONN_HHVM_SIGNING_KEY", KEY)
    (tmp_path / "secret").write_text(KEY)
    for part in ("bin", "distros"):
        shutil.copytree(ROOT / part, tmp_path / "root" / part, symlinks=True)
    return tmp_path / "root"


def said(root: Path) -> str:
    """All that is read of the packaging files and may be shown: what was loaded, or why it was not."""
    parts = [distros.retirement(root, NAME)]
    reads: list[Callable[[], str]] = [
        lambda: str(distros.current_targets(root)),
        lambda: distros.load(root, NAME).model_dump_json(),
        lambda: str(distros.find_warnings(root, NAME)),
    ]
    for read in reads:
        try:
            parts.append(read())
        except (InvalidDistro, InvalidTargets) as error:
            parts.append(str(error))
    return "\n".join(parts)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("file", FILES)
def test_a_link_out_of_the_files_is_neither_followed_nor_loops(root: Path, file: str, target: str) -> None:
    path = root / "distros" / NAME / file
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target.format(secret=root.parent / "secret", name=path.name))
    text = said(root)
    assert KEY not in text
    assert len(text) < 5_000


@pytest.mark.parametrize("file", ["DOCKER_BASE", "DISTRIBUTION", "PKGVER", "RETIRED", "../CURRENT_TARGETS"])
@pytest.mark.parametrize(
    "content",
    [b"\x1b[2J\x1b]0;x\x07", b"a" * 1_000_000, b"\0" * 1000, b"\xff\xfe", b"../../x\n", b"- [x](y)\r\n"],
)
def test_what_is_not_of_the_allowed_form_is_not_shown_as_it_is(root: Path, file: str, content: bytes) -> None:
    (root / "distros" / NAME / file).write_bytes(content)
    text = said(root)
    assert text.replace("\n", "").isprintable()
    assert len(text) < 5_000


def test_directories_without_end_are_refused_in_words(root: Path) -> None:
    deep = root / "distros" / NAME / "debian" / "/".join(["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "file").write_text("")
    with pytest.raises(InvalidDistro, match="more than 32 directories deep"):
        distros.load(root, NAME)


def test_files_of_any_size_are_refused_in_words(root: Path) -> None:
    with (root / "distros" / NAME / "debian/rules.d").open("wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(InvalidDistro, match="more than 67,108,864 bytes"):
        distros.load(root, NAME)


# A revision, before anything of it is unpacked


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet")
    return repository


def git(root: Path, *arguments: str, given: bytes = b"") -> str:
    command = ["git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments]
    return subprocess.run(command, check=True, capture_output=True, input=given).stdout.decode().strip()


def commit_tree(root: Path, bin_: str, distros_: str) -> Revision:
    """A commit with these trees."""
    tree = git(root, "mktree", given=f"040000 tree {bin_}\tbin\n040000 tree {distros_}\tdistros\n".encode())
    return Revision("refs/heads/evil", git(root, "commit-tree", "-m", "evil", tree))


def refuse(root: Path, revision: Revision) -> str:
    """Why the revision is not used. The store would fail, if it were asked."""
    store: Store = None  # type: ignore[assignment]
    with pytest.raises(
        UnknownRef, match=r"^packaging_ref: refs/heads/evil \([0-9a-f]{40}\) is not used: "
    ) as refused:
        packaging_files.upload(store, root, revision)
    return str(refused.value)


def test_trees_that_unfold_to_billions_of_files_are_refused(repository: Path) -> None:
    tree = git(repository, "mktree", given=b"")
    blob = git(repository, "hash-object", "-w", "--stdin", given=b"x")
    line = f"100644 blob {blob}\t"
    for _ in range(10):
        tree = git(repository, "mktree", given="".join(f"{line}f{n}\n" for n in range(10)).encode())
        line = f"040000 tree {tree}\t"
    assert "more than 20,000 files" in refuse(repository, commit_tree(repository, tree, tree))


def test_a_revision_with_deep_directories_is_refused(repository: Path) -> None:
    blob = git(repository, "hash-object", "-w", "--stdin", given=b"x")
    tree = git(repository, "mktree", given=f"100644 blob {blob}\tf\n".encode())
    for _ in range(100):
        tree = git(repository, "mktree", given=f"040000 tree {tree}\td\n".encode())
    assert "more than 32 deep" in refuse(repository, commit_tree(repository, tree, tree))


def test_a_revision_with_large_files_is_refused(repository: Path) -> None:
    with (repository / "zeros").open("wb") as zeros:
        zeros.truncate(65 << 20)
    blob = git(repository, "-c", "core.compression=1", "hash-object", "-w", "zeros")
    (repository / "zeros").unlink()
    tree = git(repository, "mktree", given=f"100644 blob {blob}\tf\n".encode())
    assert "more than 67,108,864 bytes" in refuse(repository, commit_tree(repository, tree, tree))
