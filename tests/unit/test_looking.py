"""What is compared between the packages of a version and those of the one before."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from jobs.looking import Look, Package

FILES = {
    "a file that stays": (["/usr/bin/hhvm"], ["/usr/bin/hhvm"], []),
    "a file that is gone": (["/usr/bin/hhvm", "/usr/bin/hh"], ["/usr/bin/hhvm"], ["/usr/bin/hh"]),
    "the version in a path": (["/opt/hhvm/1.0.0/hhvm"], ["/opt/hhvm/1.0.1/hhvm"], []),
    "the packaging version, too": (["/opt/1.0.0-1~bookworm/hhvm"], ["/opt/1.0.1-1~bookworm/hhvm"], []),
    "a number that was the version by chance": (["/usr/lib/libz.so.1.0.0"], ["/usr/lib/libz.so.1.0.0"], []),
    "a number that is the version by chance": (["/usr/lib/libz.so.1.0.1"], ["/usr/lib/libz.so.1.0.1"], []),
    "a directory that is merged into /usr": (["/lib/systemd/hhvm"], ["/usr/lib/systemd/hhvm"], []),
    "another name that begins like it": (["/library/hhvm"], ["/usr/library/hhvm"], ["/library/hhvm"]),
}


def package(version: str, *paths: str, name: str = "hhvm", size: int = 100_000) -> Package:
    """A package of symbolic links: reading what a library defines would need binutils."""
    made = Package(Path(f"{name}_{version}_amd64.deb"), name, f"{version}-1~bookworm", size)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path in paths:
            member = tarfile.TarInfo(f".{path}")
            member.type, member.linkname = tarfile.SYMTYPE, "elsewhere"
            tar.addfile(member)
    content.seek(0)
    with tarfile.open(fileobj=content) as tar:
        for member in tar:
            made.add(tar, member)
    return made


@pytest.mark.parametrize(("before", "after", "gone"), FILES.values(), ids=FILES)
def test_files_that_are_gone_are_named(before: list[str], after: list[str], gone: list[str]) -> None:
    look = Look([package("1.0.1", *after)], [package("1.0.0", *before)], percent=25)
    assert list(look.files()) == [f"hhvm: {path} is gone, which 1.0.0-1~bookworm has" for path in gone]


def test_a_file_that_moves_to_another_package_is_not_gone() -> None:
    new = [package("1.0.1"), package("1.0.1", "/usr/include/hhvm.h", name="hhvm-dev")]
    assert not list(Look(new, [package("1.0.0", "/usr/include/hhvm.h")], percent=25).files())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/opt/hhvm/1.0.0/lib/libhhvm.so.2", "/opt/hhvm/1.0.1/lib/libhhvm.so.2"),
        ("/usr/lib/libhhvm.so.1.0.0", "/usr/lib/libhhvm.so.1.0.0"),
        ("/lib/libhhvm.so.2", "/usr/lib/libhhvm.so.2"),
    ],
)
def test_symbols_are_compared_with_those_of_the_same_library(before: str, after: str) -> None:
    old, new = package("1.0.0", before), package("1.0.1", after)
    (path,), (now,) = old.files, new.files
    old.symbols[path], new.symbols[now] = {"run", "stop"}, {"run", "halt"}
    assert list(Look([new], [old], percent=25).symbols()) == [f"hhvm: {path} has no stop any more"]


def test_a_library_that_is_gone_is_a_file_and_no_list_of_symbols() -> None:
    old = package("1.0.0", "/usr/lib/libhhvm.so.1")
    old.symbols["/usr/lib/libhhvm.so.1"] = {"run"}
    assert not list(Look([package("1.0.1")], [old], percent=25).symbols())


@pytest.mark.parametrize(
    ("before", "after", "jumps"),
    [
        (100_000, 125_000, False),
        (100_000, 130_000, True),
        (100_000, 70_000, True),
        (1_000, 5_000, False),
        (0, 100_000, False),
    ],
)
def test_a_size_jumps_from_a_share_on_and_not_by_a_few_bytes(before: int, after: int, jumps: bool) -> None:
    look = Look([package("1.0.1", size=after)], [package("1.0.0", size=before)], percent=25)
    assert bool(list(look.sizes())) is jumps


def test_a_release_without_a_predecessor_is_compared_with_nothing() -> None:
    assert Look([package("1.0.1")], [], percent=25).all(["lintian"]) == [
        f"skipped\t{gate}\tnothing is published yet to compare with" for gate in ("files", "symbols", "sizes")
    ]
