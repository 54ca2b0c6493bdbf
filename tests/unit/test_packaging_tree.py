"""Links in the packaging files lead where they lead in a build container, and nowhere else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.packaging_tree import Absent, PackagingTree, Unusable, show

if TYPE_CHECKING:
    from pathlib import Path

CONTROL = "distros/debian-12-bookworm/debian/control"


@pytest.fixture
def tree(tmp_path: Path) -> PackagingTree:
    """Packaging files of two distributions, the second without files of its own."""
    (tmp_path / CONTROL).parent.mkdir(parents=True)
    (tmp_path / CONTROL).write_text("Source: hhvm\n")
    (tmp_path / "distros/debian-13-trixie").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/make-debianish-package").write_text("#!/bin/sh\n")
    (tmp_path / "secret").write_text("of somebody else")
    return PackagingTree(tmp_path)


def link(tree: PackagingTree, path: str, target: str) -> None:
    (tree.root / path).symlink_to(target)


@pytest.mark.parametrize(
    "target",
    [
        "/opt/hhvm-packaging/debian-12-bookworm/debian",
        "/opt/hhvm-packaging/distros/debian-12-bookworm/debian",
        "/opt/hhvm-packaging/distros/../distros/debian-12-bookworm/./debian/",
        "../debian-12-bookworm/debian",
        "../../distros//debian-12-bookworm/debian",
    ],
)
def test_a_link_leads_to_another_distribution_in_either_absolute_form_and_relatively(
    tree: PackagingTree, target: str
) -> None:
    link(tree, "distros/debian-13-trixie/debian", target)
    assert tree.resolve("distros/debian-13-trixie/debian/control") == tree.root / CONTROL
    assert list(tree.files("distros/debian-13-trixie")) == [("debian/control", tree.root / CONTROL)]


def test_links_lead_on_through_links(tree: PackagingTree) -> None:
    link(tree, "distros/debian-12-bookworm/make-package", "../../bin/make-debianish-package")
    link(tree, "distros/debian-13-trixie/make-package", "/opt/hhvm-packaging/debian-12-bookworm/make-package")
    found = tree.resolve("distros/debian-13-trixie/make-package")
    assert found == tree.root / "bin/make-debianish-package"


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("/opt/hhvm-packaging/debian-9-stretch/debian", "is not there"),
        ("/opt/hhvm-packaging/debian-12-bookworm/debian/rules", "is not there"),
        (f"/opt/hhvm-packaging/{CONTROL}/", "is not there"),
        (f"../../{CONTROL}/../control", "is not there"),
        ("/opt/hhvm-packaging/secret", "is not there"),
        ("../../../secret", "leads out of the packaging files"),
        ("../../secret", "is not there"),
        ("/proc/self/environ", "leads out of the packaging files"),
        ("/opt/hhvm-packaging-of-others/debian", "leads out of the packaging files"),
        ("/opt/hhvm-packaging/../../etc/passwd", "leads out of the packaging files"),
        ("//opt/hhvm-packaging/bin", "leads out of the packaging files"),
        ("debian", "leads around in a circle"),
        ("/opt/hhvm-packaging/debian-13-trixie/debian", "leads around in a circle"),
    ],
)
def test_a_link_that_does_not_lead_to_the_packaging_files_is_named_with_its_target(
    tree: PackagingTree, target: str, fault: str
) -> None:
    link(tree, "distros/debian-13-trixie/debian", target)
    with pytest.raises(Unusable) as raised:
        tree.resolve("distros/debian-13-trixie/debian")
    assert str(raised.value) == f"distros/debian-13-trixie/debian is a link to {target}, which {fault}"


def test_of_several_links_the_broken_one_is_named(tree: PackagingTree) -> None:
    link(tree, "distros/debian-12-bookworm/rules", "../gone")
    link(tree, "distros/debian-13-trixie/rules", "../debian-12-bookworm/rules")
    with pytest.raises(Unusable, match=r"^distros/debian-12-bookworm/rules is a link to \.\./gone, which"):
        tree.resolve("distros/debian-13-trixie/rules")


def test_what_is_missing_behind_a_link_that_is_right_is_not_blamed_on_the_link(tree: PackagingTree) -> None:
    link(tree, "distros/debian-13-trixie/debian", "../debian-12-bookworm/debian")
    with pytest.raises(Absent, match=r"^distros/debian-13-trixie/debian/rules is missing$"):
        tree.resolve("distros/debian-13-trixie/debian/rules")


def test_two_links_to_one_directory_are_no_circle_and_one_to_a_directory_above_is(
    tree: PackagingTree,
) -> None:
    link(tree, "distros/debian-13-trixie/a", "../debian-12-bookworm")
    link(tree, "distros/debian-13-trixie/b", "../debian-12-bookworm")
    assert [name for name, _ in tree.files("distros/debian-13-trixie")] == [
        "a/debian/control",
        "b/debian/control",
    ]
    link(tree, "distros/debian-12-bookworm/debian/up", "..")
    with pytest.raises(Unusable, match="debian/up leads around in a circle"):
        list(tree.files("distros/debian-13-trixie"))


def test_links_that_multiply_end_in_a_refusal(tree: PackagingTree) -> None:
    top = tree.root / "distros/debian-13-trixie"
    for level in range(20):
        (top / f"{level}").mkdir()
        link(tree, f"distros/debian-13-trixie/{level}/a", f"../{level + 1}")
        link(tree, f"distros/debian-13-trixie/{level}/b", f"../{level + 1}")
    (top / "20").mkdir()
    (top / "20/file").touch()
    with pytest.raises(Unusable, match="more than 100 files"):
        list(PackagingTree(tree.root, most_files=100).files("distros/debian-13-trixie"))


def test_what_is_neither_a_file_nor_a_directory_is_named(tree: PackagingTree) -> None:
    os.mkfifo(tree.root / "distros/debian-13-trixie/pipe")
    with pytest.raises(Unusable, match=r"^distros/debian-13-trixie/pipe is neither a file nor a directory$"):
        list(tree.files("distros/debian-13-trixie"))


def test_a_path_itself_leads_out_no_more_than_a_link(tree: PackagingTree) -> None:
    for path in (
        "../etc/passwd",
        "distros/../../etc/passwd",
        "distros/debian-99/../debian-12-bookworm",
        "secret",
    ):
        with pytest.raises(Absent):
            tree.resolve(path)


def test_a_name_in_a_message_has_no_raw_control_character() -> None:
    assert show("debian-12-bookworm") == "debian-12-bookworm"
    assert show("a\r\n\x1b[31mb\u202e\udcff") == r"'a\r\n\x1b[31mb\u202e\udcff'"
