"""What apt's indices hold, and what may not change in them."""

import gzip
import lzma
from datetime import UTC, datetime, timedelta

import pytest

from hhvm_packaging.apt import index, packages_index, release_file
from testing.indices import variants

NOON = datetime(2026, 3, 1, 12, 0, 0, 700_000, tzinfo=UTC)


def text(
    package: str = "hhvm",
    version: str = "1.0.0-1~bookworm",
    architecture: str = "amd64",
    sha256: str = "a" * 64,
) -> str:
    return (
        f"Package: {package}\n"
        f"Version: {version}\n"
        f"Architecture: {architecture}\n"
        "Maintainer: HHVM  <hhvm@example.org>\n"
        f"Filename: ./{package}.deb\n"
        "Size: 12\n"
        f"SHA256: {sha256}\n"
        "Description: A virtual machine \u2013 for Hack\n"
        " with odd   spacing,\n"
        " .\n"
        " Filename: that is not one\n"
    )


def stanza(**fields: str) -> packages_index.Stanza:
    return packages_index.Stanza.parse(text(**fields))


def test_parsing_and_rendering_keeps_every_byte() -> None:
    content = f"{text()}\n{text(version='1.0.1-1~bookworm')}\n".encode()
    assert packages_index.Packages.parse(content).render() == content


def test_an_empty_file_is_an_empty_index() -> None:
    assert packages_index.Packages.parse(b"").stanzas == ()
    assert packages_index.Packages().render() == b""


def test_a_package_moves_to_the_pool_with_all_its_other_bytes_kept() -> None:
    moved = stanza().at("pool/main/h/hhvm/hhvm.deb")
    assert moved.filename == "pool/main/h/hhvm/hhvm.deb"
    assert moved.text + "\n" == text().replace("Filename: ./hhvm.deb", "Filename: pool/main/h/hhvm/hhvm.deb")


def test_packages_are_in_order_of_name_then_debian_version_then_architecture() -> None:
    wanted = [
        ("hhvm", "1.9.0-1~bookworm", "amd64"),
        ("hhvm", "1.10.0~rc1-1~bookworm", "amd64"),
        ("hhvm", "1.10.0-1~bookworm", "all"),
        ("hhvm", "1.10.0-1~bookworm", "amd64"),
        ("hhvm-nightly", "2026.03.01-1~bookworm", "amd64"),
    ]
    new = [stanza(package=name, version=version, architecture=arch) for name, version, arch in wanted]
    assert [entry.identity for entry in packages_index.Packages().add(reversed(new)).stanzas] == wanted


def test_adding_what_is_there_changes_nothing() -> None:
    packages = packages_index.Packages().add([stanza()])
    assert packages.add([stanza()]) is packages


def test_a_published_version_with_other_bytes_is_refused_with_both_digests() -> None:
    packages = packages_index.Packages().add([stanza(sha256="a" * 64)])
    with pytest.raises(index.AlreadyPublished) as refused:
        packages.add([stanza(sha256="b" * 64)])
    assert "hhvm 1.0.0-1~bookworm amd64" in str(refused.value)
    assert "a" * 64 in str(refused.value)
    assert "b" * 64 in str(refused.value)


def test_a_package_is_found_by_name_and_version() -> None:
    packages = packages_index.Packages().add([stanza()])
    assert packages.find("hhvm", "1.0.0-1~bookworm") == stanza()
    assert packages.find("hhvm", "1.0.1-1~bookworm") is None


@pytest.mark.parametrize("field", ["Package", "Version", "Architecture", "Filename", "Size", "SHA256"])
def test_a_package_without_what_apt_needs_is_refused(field: str) -> None:
    lines = [line for line in text().splitlines() if not line.startswith(f"{field}:")]
    with pytest.raises(index.InvalidIndex, match=field):
        packages_index.Stanza.parse("\n".join(lines))


def test_a_size_that_is_no_number_is_refused() -> None:
    with pytest.raises(index.InvalidIndex, match="Size"):
        packages_index.Stanza.parse(text().replace("Size: 12", "Size: twelve"))


def test_two_paragraphs_are_not_one_package() -> None:
    with pytest.raises(index.InvalidIndex, match="more than one"):
        packages_index.Stanza.parse(f"{text()}\n{text(package='evil')}")


def test_the_variants_hold_the_same_index() -> None:
    packages = packages_index.Packages().add([stanza()])
    plain, gz, xz = (variants(packages)[name] for name in index.names(packages_index.PACKAGES))
    assert plain == gzip.decompress(gz) == lzma.decompress(xz) == packages.render()


def test_the_compressed_index_does_not_depend_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = packages_index.Packages().add([stanza()])
    first = variants(packages)
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert variants(packages) == first


def test_a_release_names_the_suite_and_each_index_by_its_digest() -> None:
    release = release_file.render_release("bookworm", {"main/binary-amd64/Packages": b"content"}, date=NOON)
    assert release.decode() == (
        "Origin: HHVM\n"
        "Label: HHVM\n"
        "Suite: bookworm\n"
        "Codename: bookworm\n"
        "Date: Sun, 01 Mar 2026 12:00:00 GMT\n"
        "Acquire-By-Hash: yes\n"
        "Architectures: amd64\n"
        "Components: main\n"
        "SHA256:\n"
        " ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73 7 main/binary-amd64/Packages\n"
    )


def test_a_release_is_read_back() -> None:
    indices = variants(packages_index.Packages())
    release = release_file.Release.parse(release_file.render_release("bookworm", indices, date=NOON))
    assert release.date == NOON.replace(microsecond=0)
    assert release.sha256 == {name: index.sha256(content) for name, content in indices.items()}


@pytest.mark.parametrize("zone", ["UTC", "GMT", "+0000", "-0000"])
def test_a_release_of_another_tool_may_spell_utc_differently(zone: str) -> None:
    release = release_file.Release.parse(f"Date: Sun, 01 Mar 2026 12:00:00 {zone}\nSHA256:\n".encode())
    assert release.date == NOON.replace(microsecond=0)


@pytest.mark.parametrize("content", [b"", b"Date: Sun, 01 Mar 2026 12:00:00 UTC\n", b"Date: soon\nSHA256:\n"])
def test_a_release_without_date_or_digests_is_refused(content: bytes) -> None:
    with pytest.raises(index.InvalidIndex):
        release_file.Release.parse(content)


def test_the_date_is_now() -> None:
    assert release_file.next_date(NOON, None) == NOON.replace(microsecond=0)


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(days=1)])
def test_the_date_is_later_than_the_last_whatever_the_clock_says(ahead: timedelta) -> None:
    last = NOON.replace(microsecond=0) + ahead
    assert release_file.next_date(NOON, last) == last + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("trick", "reason"),
    [
        ("Filename: evil.deb\n", "the field Filename twice"),
        ("filename: evil.deb\n", "the field filename twice"),
        ("\r\nHomepage: evil\n", "control character"),
        ("Homepage: a\rFilename: evil.deb\n", "control character"),
        (" \n", "is not a field"),
        ("no field at all\n", "is not a field"),
        ("-Name: value\n", "is not a field"),
    ],
)
def test_what_two_parsers_may_read_differently_is_refused(trick: str, reason: str) -> None:
    with pytest.raises(index.InvalidIndex, match=reason):
        packages_index.Stanza.parse(text().replace("Size:", f"{trick}Size:"))


def test_what_was_withdrawn_is_read_back() -> None:
    withdrawn = frozenset({("hhvm", "1.0.1-1~bookworm", "amd64"), ("hhvm", "1.0.1-1~bookworm", "source")})
    release = release_file.render_release("bookworm", {}, date=NOON, withdrawn=withdrawn)
    assert release_file.Release.parse(release).withdrawn == withdrawn


def test_the_release_names_the_architectures_that_have_an_index() -> None:
    indices = {f"main/binary-{name}/Packages": b"" for name in ("arm64", "amd64")} | {
        "main/source/Sources": b""
    }
    release = release_file.render_release("bookworm", indices, date=NOON)
    assert b"Architectures: amd64 arm64\n" in release
    assert release_file.Release.parse(release).architectures == ("amd64", "arm64")
