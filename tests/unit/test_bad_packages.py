"""What a publisher refuses to put into an index, from what it can see: a file, its digest, what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from hhvm_packaging.apt.incoming import Build, Incoming
from hhvm_packaging.apt.pool import Unpublishable
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.store.buckets import Bucket
from testing import s3 as s3_server
from testing.debs import Deb, digest, package
from testing.publisher import POOL, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.workers.job import Artifact

DEB = Deb("1.0.0-1~bookworm")
CONTROL = DEB.control
EVIL = Deb("9.9.9-1~bookworm", package="evil").control


class NobodySigns:
    """A signer who is never asked to sign: what is refused is refused before."""

    def public_key(self) -> bytes:
        return b""


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with mock_aws():
        s3 = s3_server.client("https://s3.amazonaws.com")  # which moto answers for
        s3.create_bucket(Bucket="bucket")
        yield Bucket(s3, "bucket")


def refused(bucket: Bucket, artifact: Artifact, content: bytes = DEB.content) -> str:
    """The reason; the package's bytes are in scratch, and nothing was written to the repository."""
    bucket.put("build/package.deb", content)
    signer: Any = NobodySigns()
    with pytest.raises(Unpublishable) as error:
        publish(Suite(bucket, bucket, "debian", "bookworm"), {"build/package.deb": artifact}, signer)
    assert not list(bucket.keys("debian/"))
    return str(error.value)


def changed(**fields: Any) -> Artifact:
    return DEB.artifact.model_copy(update=fields)


def refused_control(bucket: Bucket, control: str) -> str:
    """The reason for a package of DEB's name with this control file."""
    content = package(control.encode(), "./usr/bin/hhvm", b"")
    artifact = changed(size=len(content), sha256=digest("sha256", content), md5=digest("md5", content))
    return refused(bucket, artifact, content)


# The file


def test_a_truncated_package(bucket: Bucket) -> None:
    reason = refused(bucket, DEB.artifact, DEB.content[:-100])
    assert DEB.name in reason
    assert "has other bytes" in reason
    assert "build it again" in reason


def test_a_package_that_is_as_long_as_it_should_be_but_another(bucket: Bucket) -> None:
    assert "has other bytes" in refused(bucket, DEB.artifact, bytes(len(DEB.content)))


def test_a_file_that_is_no_package(bucket: Bucket) -> None:
    artifact = changed(size=100, sha256=digest("sha256", bytes(100)))
    assert "it is no ar archive" in refused(bucket, artifact, bytes(100))


# Its name


@pytest.mark.parametrize(
    "name",
    [
        "../hhvm_1.0.0-1~bookworm_amd64.deb",
        "/hhvm_1.0.0-1~bookworm_amd64.deb",
        "x/hhvm_1.0.0-1~bookworm_amd64.deb",
        "hhvm_1.0.0-1~bookworm_amd64.deb/..",
        "hhvm_../../1_amd64.deb",
        "..",
        "hhvm_1.0.0-1~bookworm_amd64.deb\n",
        "hhvm_1.0.0-1~bookworm_amd64.deb\nFilename: evil",
        "hhvm_1.0.0-1~bookworm_amd64.deb\0",
        "hhvm_1.0.0-1~bookworm_amd64.DEB",
        "hhvm 1.0.0_1_amd64.deb",
        "hhvm_1.0.0-1%2F..%2F_amd64.deb",
        "",
    ],
)
def test_a_file_name_that_leads_elsewhere_or_is_none_of_a_package(bucket: Bucket, name: str) -> None:
    reason = refused(bucket, changed(name=name))
    assert "is not a Debian package's file name" in reason
    assert "\n" not in reason


@pytest.mark.parametrize("architecture", ["arm64", "i386", "source"])
def test_an_architecture_that_the_suite_lacks(bucket: Bucket, architecture: str) -> None:
    deb = Deb(DEB.version, architecture=architecture)
    reason = refused(bucket, deb.artifact, deb.content)
    assert deb.name in reason
    assert "the suite is for amd64" in reason


# What it says of itself


@pytest.mark.parametrize(
    ("field", "other"),
    [("Package", "hhvm-dev"), ("Version", "1.0.1-1~bookworm"), ("Architecture", "all")],
)
def test_a_package_that_says_it_is_another(bucket: Bucket, field: str, other: str) -> None:
    here = next(line for line in CONTROL.splitlines() if line.startswith(f"{field}: "))
    reason = refused_control(bucket, CONTROL.replace(here, f"{field}: {other}"))
    assert f"{DEB.name}: it says {field} {other}, but it is {here.partition(': ')[2]}" in reason


@pytest.mark.parametrize("field", ["Filename", "Size", "SHA256", "MD5sum", "sha512", "Status"])
def test_a_package_that_says_what_only_an_index_says(bucket: Bucket, field: str) -> None:
    assert "which no package has" in refused_control(bucket, f"{field}: 1\n{CONTROL}")


# Fields with a newline trick


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("\n\n", id="an empty line"),
        pytest.param("\n\n\n", id="two empty lines"),
        pytest.param("\n\r\n", id="a carriage return, at which apt ends a paragraph too"),
        pytest.param("\n \n", id="a space, at which some parsers end a paragraph"),
        pytest.param("\n\t\n", id="a tab, at which some parsers end a paragraph"),
    ],
)
def test_a_field_that_ends_the_paragraph_and_begins_another_package(bucket: Bucket, end: str) -> None:
    refused_control(bucket, CONTROL.rstrip("\n") + end + EVIL)


@pytest.mark.parametrize("field", ["Package", "Version", "Architecture", "Description"])
@pytest.mark.parametrize("spelling", [str, str.upper, str.lower])
def test_a_field_that_is_there_twice(bucket: Bucket, field: str, spelling: Any) -> None:
    """Whoever reads it may take the one or the other."""
    here = next(line for line in CONTROL.splitlines() if line.startswith(f"{field}: "))
    refused_control(bucket, f"{spelling(field)}: ../../../evil\n{CONTROL}")
    refused_control(bucket, CONTROL.replace(here, f"{here}\n{spelling(field)}: ../../../evil"))


@pytest.mark.parametrize("line", ["no field", ": no name", "# a comment", "-Field: x", "Fi eld: x"])
def test_a_line_that_is_no_field(bucket: Bucket, line: str) -> None:
    refused_control(bucket, f"{CONTROL}{line}\n")


@pytest.mark.parametrize("character", ["\0", "\r", "\x0b", "\x1b"])
def test_a_control_character_in_a_field(bucket: Bucket, character: str) -> None:
    refused_control(bucket, CONTROL.replace("A virtual", f"A{character}virtual"))


def test_a_package_with_none_of_these_is_fine(bucket: Bucket) -> None:
    """A test of the tests."""
    bucket.put(DEB.key, DEB.content)
    build = Build("debian", POOL, {DEB.key: DEB.artifact}, {}, ["amd64"])
    assert Incoming.read("bookworm", build, bucket, bucket).entries[0].package == "hhvm"
