"""What a job left is described as apt needs it, or refused by the name of the file."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from debian import deb822
from hypothesis import given, settings
from hypothesis import strategies as st

from hhvm_packaging.apt.packages_index import Stanza
from hhvm_packaging.apt.sources_index import Source
from jobs import artifacts
from testing import debs
from testing.debs import Deb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEB = Deb("1.0.0-1~bookworm")
DSC, ORIG, DEBIAN = debs.source(DEB)


def leave(out: Path, *files: Deb | debs.SourceFile, **others: bytes) -> Path:
    for file in files:
        (out / file.name).write_bytes(file.content)
    for name, content in others.items():
        (out / name).write_bytes(content)
    return out


def control(**fields: str) -> bytes:
    """A control file with these fields, any of which may be odd."""
    usual = {
        "Package": "hhvm",
        "Version": "1.0-1",
        "Architecture": "amd64",
        "Maintainer": "T <t@example.org>",
    }
    return "".join(f"{name}: {text}\n" for name, text in {**usual, **fields}.items()).encode()


def changes(*files: Deb | debs.SourceFile, source: str = "hhvm", **fields: str) -> bytes:
    usual = {"Format": "1.8", "Source": source, "Binary": "hhvm", "Architecture": "source amd64"}
    text = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in {**usual, **fields}.items())
    for field, algorithm, more in (("Checksums-Sha256", "sha256", ""), ("Files", "md5", "web optional ")):
        lines = [
            f" {debs.digest(algorithm, file.content)} {len(file.content)} {more}{file.name}\n"
            for file in files
        ]
        text += f"{field}:\n{''.join(lines)}"
    return text.encode()


# What is described


def test_a_package_is_described_by_its_own_control_file_and_its_digests(tmp_path: Path) -> None:
    [found] = artifacts.describe(leave(tmp_path, DEB)).artifacts
    stanza = Stanza.parse(found["stanza"])
    assert stanza.identity == ("hhvm", "1.0.0-1~bookworm", "amd64")
    assert (stanza.size, stanza.sha256, stanza.md5) == (
        len(DEB.content),
        hashlib.sha256(DEB.content).hexdigest(),
        hashlib.md5(DEB.content, usedforsecurity=False).hexdigest(),
    )
    assert found["stanza"].startswith(DEB.control.strip("\n"))
    assert deb822.Deb822(found["stanza"]) == deb822.Deb822(DEB.artifact.stanza)


def test_a_debug_package_of_ubuntus_kind_is_a_package(tmp_path: Path) -> None:
    ddeb = Deb("1.0.0-1~noble", package="hhvm-dbgsym", suffix="ddeb")
    [found] = artifacts.describe(leave(tmp_path, ddeb)).artifacts
    assert Stanza.parse(found["stanza"]).filename == "./hhvm-dbgsym_1.0.0-1~noble_amd64.ddeb"


def test_a_source_package_is_described_with_its_dsc_among_its_files(tmp_path: Path) -> None:
    found = {one["name"]: one for one in artifacts.describe(leave(tmp_path, DSC, ORIG, DEBIAN)).artifacts}
    source = Source.parse(found[DSC.name]["stanza"])
    assert source.identity == ("hhvm", "1.0.0-1~bookworm", "source")
    assert {file.name for file in source.files} == {DSC.name, ORIG.name, DEBIAN.name}
    for file in source.files:
        assert file.sha256 == found[file.name]["sha256"]
        assert file.md5 == found[file.name]["md5"]


@pytest.mark.parametrize("size", [137_000, 3_000_000])
def test_a_field_may_be_longer_than_an_argument_of_a_command(tmp_path: Path, size: int) -> None:
    content = debs.package(control(Depends=", ".join(["libexample"] * (size // 12))), "./usr/bin/a", b"")
    [found] = artifacts.describe(leave(tmp_path, **{"hhvm_1.0-1_amd64.deb": content})).artifacts
    assert len(found["stanza"]) > size


# No line ends or surrogates, which no field has; and nothing that begins or ends with space, which is cut.
TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@settings(max_examples=40, deadline=None)
@given(TEXTS, TEXTS)
def test_what_a_control_file_says_arrives_byte_for_byte(directory: Path, maintainer: str, more: str) -> None:
    content = control(Maintainer=maintainer, Description=f"short\n {more}")
    leave(directory, **{"hhvm_1.0-1_amd64.deb": debs.package(content, "./usr/bin/a", b"")})
    [found] = artifacts.describe(directory).artifacts
    assert found["stanza"].encode().startswith(content.strip(b"\n"))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"Maintainer: ", b"Description: short\n ", b"", b"\n"]))
def test_any_bytes_arrive_as_they_are_or_are_refused_by_the_files_name(
    directory: Path, odd: bytes, before: bytes
) -> None:
    content = b"Package: hhvm\nVersion: 1.0-1\nArchitecture: amd64\n" + before + odd
    leave(directory, **{"hhvm_1.0-1_amd64.deb": debs.package(content, "./usr/bin/a", b"")})
    try:
        said = artifacts.describe(directory).artifacts[0]["stanza"].encode()
    except artifacts.Unusable as refused:
        said = str(refused).encode()
    assert said.startswith((content.strip(b"\n"), b"hhvm_1.0-1_amd64.deb: "))


def test_what_is_no_file_is_left_out_by_name(tmp_path: Path) -> None:
    leave(tmp_path, **{"a.txt": b"hello"})
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    found = artifacts.describe(tmp_path)
    assert [one["name"] for one in found.artifacts] == ["a.txt"]
    assert found.left_out == {
        "directory": "it is a directory",
        "link": "it is a link",
        "pipe": "it is no file",
    }


def test_a_package_that_nothing_declares_is_left_out_by_name(tmp_path: Path) -> None:
    other = Deb("1.0.0-1~bookworm", package="hhvm-build-deps", architecture="all")
    leave(tmp_path, DEB, other, **{"hhvm.changes": changes(DEB)})
    assert artifacts.describe(tmp_path).left_out == {
        other.name: "no .dsc or .changes of the build declares it"
    }


# What is refused


def cuts(content: bytes) -> Iterator[bytes]:
    """Cut at many places, from empty to one byte short."""
    step = max(1, len(content) // 20)
    yield from (content[:length] for length in range(0, len(content), step))
    yield content[:-1]


DDEB = Deb("1.0.0-1~bookworm", package="hhvm-dbgsym", suffix="ddeb")
UDEB = Deb("1.0.0-1~bookworm", package="hhvm-udeb", suffix="udeb")
CHANGES = debs.SourceFile("hhvm_1.0.0-1~bookworm_amd64.changes", changes(ORIG, DEBIAN))


@pytest.mark.parametrize(
    "file", [DEB, DDEB, UDEB, DSC, CHANGES], ids=["deb", "ddeb", "udeb", "dsc", "changes"]
)
def test_a_file_that_is_empty_or_cut_anywhere_is_refused_by_name(
    tmp_path: Path, file: Deb | debs.SourceFile
) -> None:
    leave(tmp_path, ORIG, DEBIAN)
    for content in cuts(file.content):
        (tmp_path / file.name).write_bytes(content)
        if file in (DSC, CHANGES) and content == file.content[:-1]:
            continue  # It lacks nothing but the last line's end.
        with pytest.raises(artifacts.Unusable, match=rf"^{re.escape(file.name)}: "):
            artifacts.describe(tmp_path)


TAR = gzip.decompress(ORIG.content)
NO_TARS = {
    "nothing": b"",
    "no archive": b"<html>404 Not Found</html>" * 50,
    "a compressed nothing": gzip.compress(b""),
    "a compressed text": gzip.compress(b"404 Not Found" * 100),
    "cut before it was compressed": gzip.compress(TAR[:514]),
    "without its digest": gzip.compress(TAR)[:-8],
    "cut": gzip.compress(TAR + os.urandom(5000))[:2000],
}


@pytest.mark.parametrize("content", NO_TARS.values(), ids=NO_TARS)
def test_a_package_whose_files_cannot_be_unpacked_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    """Its members are whole, and its control file is good: only dpkg would notice, on a user's machine."""
    leave(tmp_path, **{DEB.name: debs.archive(DEB.control.encode(), content)})
    with pytest.raises(artifacts.Unusable, match=rf"^{re.escape(DEB.name)}: is not a whole Debian package"):
        artifacts.describe(tmp_path)


@pytest.mark.parametrize("content", NO_TARS.values(), ids=NO_TARS)
def test_a_source_package_whose_tarball_cannot_be_unpacked_is_refused_by_name(
    tmp_path: Path, content: bytes
) -> None:
    """Its .dsc has the right digest of it: it was made from what was cut already."""
    orig = debs.SourceFile(ORIG.name, content)
    text = DSC.content.decode().partition("Checksums")[0] + debs.listed([orig, DEBIAN])
    leave(tmp_path, orig, DEBIAN, **{DSC.name: text.encode()})
    with pytest.raises(artifacts.Unusable, match=rf"^{re.escape(ORIG.name)}: is (empty|not a whole tarball)"):
        artifacts.describe(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "compress"), [("gz", gzip.compress), ("xz", lzma.compress), ("bz2", bz2.compress)]
)
def test_a_tarball_is_read_however_it_is_compressed(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    orig = debs.SourceFile(f"hhvm_1.0.0.orig.tar.{suffix}", compress(TAR))
    text = DSC.content.decode().partition("Checksums")[0] + debs.listed([orig, DEBIAN])
    leave(tmp_path, orig, DEBIAN, **{DSC.name: text.encode()})
    assert len(artifacts.describe(tmp_path).artifacts) == 3


@pytest.mark.parametrize("name", ["hhvm.rpm", "hhvm.apk", "hhvm.pkg.tar.zst", "hhvm.tar", "hhvm.zip"])
def test_an_empty_package_of_another_system_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(artifacts.Unusable, match=rf"^{re.escape(name)}: is empty"):
        artifacts.describe(leave(tmp_path, **{name: b""}))


def test_what_dpkg_only_warns_of_is_no_fault_in_any_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "tools/dpkg-deb"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/sh\ncase $LC_ALL in C*) what=warning ;; *) what=Warnung ;; esac\n"
        f'echo "dpkg-deb: $what: odd" >&2\nexec {shutil.which("dpkg-deb")} "$@"\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    (tmp_path / "out").mkdir()
    assert artifacts.describe(leave(tmp_path / "out", DEB)).artifacts


def test_a_tool_that_prints_an_error_and_says_that_all_is_well_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "tools/dpkg-deb"
    tool.parent.mkdir()
    tool.write_text(
        f"#!/bin/sh\necho dpkg-deb: error: it is damaged >&2\nprintf '%s' '{control().decode()}'\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    (tmp_path / "out").mkdir()
    with pytest.raises(
        artifacts.Unusable, match=rf"^{re.escape(DEB.name)}: .*: dpkg-deb: error: it is damaged"
    ):
        artifacts.describe(leave(tmp_path / "out", DEB))


def test_a_package_with_a_flipped_bit_in_its_files_is_refused(tmp_path: Path) -> None:
    content = bytearray(DEB.content)
    content[content.index(b"data.tar.gz") + 60 + 25] ^= 0x10
    with pytest.raises(artifacts.Unusable, match=rf"^{re.escape(DEB.name)}: is not a whole Debian package"):
        artifacts.describe(leave(tmp_path, **{DEB.name: bytes(content)}))


@pytest.mark.parametrize("field", ["Maintainer", "Description", "X-Any"])
def test_bytes_that_are_not_utf_8_are_refused_by_file_and_field(tmp_path: Path, field: str) -> None:
    text = control(**{field: "Jürgen", "Tag": "after"}).decode().encode("latin-1")
    leave(tmp_path, **{"hhvm_1.0-1_amd64.deb": debs.package(text, "./usr/bin/a", b"")})
    with pytest.raises(
        artifacts.Unusable, match=rf"^hhvm_1.0-1_amd64.deb: field {field} is not UTF-8: .*0xfc"
    ):
        artifacts.describe(tmp_path)


@pytest.mark.parametrize("name", [DSC.name, CHANGES.name])
@pytest.mark.parametrize("field", ["Maintainer", "Uploaders", "Changes"])
def test_a_source_or_a_changelog_that_is_not_utf_8_is_refused_by_file_and_field(
    tmp_path: Path, name: str, field: str
) -> None:
    files = {DSC.name: DSC.content, CHANGES.name: CHANGES.content}
    files[name] = f"{field}:\n J\u00fcrgen <a@example.org>\n".encode("latin-1") + files[name]
    leave(tmp_path, ORIG, DEBIAN, **files)
    with pytest.raises(artifacts.Unusable, match=rf"^{re.escape(name)}: field {field} is not UTF-8: .*0xfc"):
        artifacts.describe(tmp_path)


@pytest.mark.parametrize(
    "field", ["Package", "Version", "Architecture", "Filename", "Size", "sha256", "MD5sum", "SHA512"]
)
def test_a_control_file_without_what_it_must_have_or_with_what_it_must_not_is_refused(
    tmp_path: Path, field: str
) -> None:
    text = (
        control(**{field: ""}) if field in ("Package", "Version", "Architecture") else control(**{field: "1"})
    )
    leave(tmp_path, **{"a.deb": debs.package(text, "./usr/bin/a", b"")})
    with pytest.raises(artifacts.Unusable, match=rf"(?i)^a.deb: .* field {field}\b"):
        artifacts.describe(tmp_path)


@pytest.mark.parametrize("by", ["dsc", "changes"])
@pytest.mark.parametrize(
    ("left", "reason"),
    [(None, "names {}, which the job did not leave"), (b"short", "bytes, but it has 5"), (b"", "has 0")],
)
def test_a_file_that_is_named_and_not_there_or_another_is_refused(
    tmp_path: Path, by: str, left: bytes | None, reason: str
) -> None:
    notes = debs.SourceFile("notes.txt", b"some notes")
    if by == "dsc":
        file, where = DEBIAN, DSC.name
        leave(tmp_path, DSC, ORIG)
    else:
        file, where = notes, "hhvm.changes"
        leave(tmp_path, DEB, **{"hhvm.changes": changes(DEB, notes)})
    if left is not None:
        (tmp_path / file.name).write_bytes(left)
    with pytest.raises(
        artifacts.Unusable, match=rf"^{re.escape(where)}: .*{re.escape(reason.format(file.name))}"
    ):
        artifacts.describe(tmp_path)


def test_a_file_with_other_bytes_of_the_same_size_is_refused(tmp_path: Path) -> None:
    leave(tmp_path, DSC, ORIG, DEBIAN)
    (tmp_path / ORIG.name).write_bytes(b"x" * len(ORIG.content))
    with pytest.raises(artifacts.Unusable, match=rf"{re.escape(ORIG.name)} has SHA256 .*, but it has"):
        artifacts.describe(tmp_path)


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/passwd", "a/b", ".."])
def test_a_source_package_with_files_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    text = DSC.content.decode().replace(ORIG.name, name)
    with pytest.raises(artifacts.Unusable, match="which is no file name"):
        artifacts.describe(leave(tmp_path, DEBIAN, **{DSC.name: text.encode()}))


@pytest.mark.parametrize("name", [b"latin-\xfc.deb", b"new\nline", b"bell\x07"])
def test_a_name_that_no_key_can_have_is_refused(tmp_path: Path, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).write_bytes(b"")
    with pytest.raises(artifacts.Unusable, match="the file's name"):
        artifacts.describe(tmp_path)


def test_names_with_spaces_quotes_and_dashes_are_kept(tmp_path: Path) -> None:
    names = ["-n", "a b", 'it\'s "quoted"', "$(id)", "Grüße", "*"]
    leave(tmp_path, **dict.fromkeys(names, b"x"))
    assert [one["name"] for one in artifacts.describe(tmp_path).artifacts] == sorted(names)
