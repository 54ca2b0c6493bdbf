"""What apt's index of source packages holds."""

import pytest

from hhvm_packaging.apt.index import InvalidIndex
from hhvm_packaging.apt.sources_index import Source, Sources
from testing.indices import variants

TEXT = (
    "Package: hhvm\n"
    "Binary: hhvm\n"
    "Version: 1.0.0-1~bookworm\n"
    "Directory: elsewhere\n"
    "Files:\n"
    " 11 5 hhvm_1.0.0-1~bookworm.dsc\n"
    " 22 7 hhvm_1.0.0.orig.tar.gz\n"
    "Checksums-Sha256:\n"
    " aa 5 hhvm_1.0.0-1~bookworm.dsc\n"
    " bb 7 hhvm_1.0.0.orig.tar.gz\n"
)


def test_a_source_is_known_by_its_dsc_and_names_its_files() -> None:
    source = Source.parse(TEXT)
    assert source.identity == ("hhvm", "1.0.0-1~bookworm", "source")
    assert source.sha256 == "aa"
    assert [(file.name, file.size, file.sha256, file.md5) for file in source.files] == [
        ("hhvm_1.0.0-1~bookworm.dsc", 5, "aa", "11"),
        ("hhvm_1.0.0.orig.tar.gz", 7, "bb", "22"),
    ]


def test_only_its_directory_changes_in_the_pool() -> None:
    moved = Source.parse(TEXT).at("pool/main/h/hhvm")
    assert moved.text == TEXT.replace("Directory: elsewhere\n", "") + "Directory: pool/main/h/hhvm"
    assert Source.parse(moved.text) == moved


def test_an_index_is_read_back() -> None:
    sources = Sources().add([Source.parse(TEXT).at("pool/main/h/hhvm")])
    assert Sources.parse(sources.render()) == sources
    assert set(variants(sources)) == {f"main/source/Sources{suffix}" for suffix in ("", ".gz", ".xz")}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" 22 7 hhvm_1.0.0.orig.tar.gz\n", ""),
        (" bb 7 hhvm", " bb many hhvm"),
        (" bb 7 hhvm", " bb 7 8 hhvm"),
        (".dsc", ".txt"),
    ],
)
def test_contradicting_lists_of_files_are_refused(old: str, new: str) -> None:
    with pytest.raises(InvalidIndex, match=r"list of files|same files"):
        Source.parse(TEXT.replace(old, new, 2 if old == ".dsc" else 1))
