"""Python and the shell read a distribution's files alike, whatever is in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hhvm_packaging import distros
from hhvm_packaging.distros import InvalidDistro

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
NAME = "debian-9-stretch"
VALID = {"DOCKER_BASE": b"debian:stretch\n", "DISTRIBUTION": b"stretch\n", "PKGVER": b"1~stretch\n"}

SHELL = r"""
set -euo pipefail
. "$1/bin/lib/hhvm-packaging.sh"
while IFS= read -r packaging_root; do
  name=$(<"$packaging_root/name")
  status=0
  (
    read_distro "$name"
    read_release "$distro_dir"
    printf '%s\n' "$docker_base" "$distribution" "$pkgver"
  ) >"$packaging_root/said" 2>&1 || status=$?
  printf '%s\n' "$status"
done
"""


class Shell:
    """bin/lib in one process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["bash", "-c", SHELL, "make-debianish-package", ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self, packaging: Path) -> tuple[bool, str]:
        """Whether the shell takes the distribution of those packaging files, and all that it said."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{packaging}\n")
        self.process.stdin.flush()
        taken = self.process.stdout.readline() == "0\n"
        return taken, (packaging / "said").read_bytes().decode("ascii")


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    shell = Shell()
    with shell.process:
        yield shell
        assert shell.process.stdin
        shell.process.stdin.close()


@pytest.fixture(scope="module")
def packaging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packaging")
    shutil.copytree(ROOT / "bin", root / "bin")
    return root


def write(packaging: Path, contents: Mapping[str, bytes] | None = None, *, name: str = NAME) -> Path:
    """Packaging files with one distribution; ``contents`` replace its valid files."""
    shutil.rmtree(packaging / "distros", ignore_errors=True)
    directory = packaging / "distros" / name
    (directory / "debian").mkdir(parents=True)
    (directory / "debian/control").write_text(
        "Source: hhvm\nMaintainer: A <a@example.com>\n\nPackage: hhvm\n"
    )
    (directory / "debian/rules").write_text("#!/usr/bin/make -f\n")
    (directory / "make-package").symlink_to("/opt/hhvm-packaging/bin/make-debianish-package")
    for file, content in (VALID | dict(contents or {})).items():
        (directory / file).write_bytes(content)
    (packaging / "name").write_text(name)
    return directory


def check(shell: Shell, packaging: Path, name: str = NAME) -> bool:
    """Whether both take the distribution. They agree, on its values too, and what they say is plain."""
    taken, said = shell.read(packaging)
    if not taken:
        with pytest.raises(InvalidDistro) as refused:
            distros.load(packaging, name)
        for message in (said.removesuffix("\n"), str(refused.value)):
            assert re.fullmatch(r"[ -~]+", message), message
        return False
    distro = distros.load(packaging, name)
    assert said.splitlines() == [distro.docker_base, distro.distribution, distro.pkgver]
    return True


LINES = {
    "as it should be": (b"%s\n", True),
    "without a line end": (b"%s", True),
    "line end of Windows": (b"%s\r\n", False),
    "line end of old Macs": (b"%s\r", False),
    "byte order mark": (b"\xef\xbb\xbf%s\n", False),
    "UTF-16": (b"\xff\xfe%s\n", False),
    "space at the end": (b"%s \n", False),
    "space at the beginning": (b" %s\n", False),
    "tab at the end": (b"%s\t\n", False),
    "an empty line at the end": (b"%s\n\n", False),
    "an empty line at the beginning": (b"\n%s\n", False),
    "a second line": (b"%s\nid\n", False),
    "a second line without a line end": (b"%s\nid", False),
    "NUL at the end": (b"%s\0", False),
    "NUL at the end of the line": (b"%s\0\n", False),
    "NUL after the line": (b"%s\n\0", False),
    "NUL at the beginning": (b"\0%s\n", False),
    "not UTF-8": (b"%s\xe9\n", False),
    "a letter that looks like another": (b"%s\xd0\xb0\n", False),
    "escape sequence": (b"\x1b[31m%s\n", False),
    "a second value": (b"%s %s\n", False),
    "a comment": (b"%s # ours\n", False),
    "quotes": (b'"%s"\n', False),
    "an option": (b"--%s\n", False),
    "a command": (b"$(%s)\n", False),
    "a very long line": (b"%s" + 300 * b"a" + b"\n", False),
}


@pytest.mark.parametrize("file", VALID)
@pytest.mark.parametrize("case", LINES)
def test_a_file_of_one_line_is_taken_by_both_or_by_neither(
    shell: Shell, packaging: Path, file: str, case: str
) -> None:
    template, valid = LINES[case]
    write(packaging, {file: template.replace(b"%s", VALID[file].strip())})
    assert check(shell, packaging) == valid


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n", b" \n", b"\r\n", b"\0"])
@pytest.mark.parametrize("file", VALID)
def test_an_empty_file_is_taken_by_neither(shell: Shell, packaging: Path, file: str, content: bytes) -> None:
    write(packaging, {file: content})
    assert not check(shell, packaging)


@pytest.mark.parametrize(
    ("pkgver", "valid"),
    [
        ("10~stretch", True),
        ("0~stretch", False),
        ("01~stretch", False),
        ("1~Stretch", False),
        ("1-stretch", False),
        ("1~buster", False),
        ("1", False),
        ("~stretch", False),
        ("1~stretch~stretch", False),
        ("-1~stretch", False),
        ("1.5~stretch", False),
    ],
)
def test_a_package_revision_is_a_number_without_leading_zeros_and_the_codename(
    shell: Shell, packaging: Path, pkgver: str, *, valid: bool
) -> None:
    write(packaging, {"PKGVER": f"{pkgver}\n".encode()})
    assert check(shell, packaging) == valid


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        ("ubuntu", True),
        ("debian:stretch-20180101", True),
        ("registry.example.com:5000/team/debian:9.1", True),
        ("localhost/a__b/c---d", True),
        (f"debian@sha256:{64 * 'a'}", True),
        (f"debian:stretch@sha256:{64 * 'a'}", True),
        (f"debian:{128 * 'a'}", True),
        (f"debian:{129 * 'a'}", False),
        ("Debian:stretch", False),
        ("debian:", False),
        ("debian/", False),
        ("-v/host", False),
        ("--privileged", False),
        ("debian:stretch;id", False),
        ("debian@sha256:abc", False),
        ("a//b", False),
        ("a._b", False),
    ],
)
def test_an_image_is_named_as_docker_names_it(
    shell: Shell, packaging: Path, image: str, *, valid: bool
) -> None:
    write(packaging, {"DOCKER_BASE": f"{image}\n".encode()})
    assert check(shell, packaging) == valid


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("debian-9-stretch", True),
        ("ubuntu-16.04-xenial", True),
        ("fedora-40", True),
        ("opensuse-leap-15.6", True),
        ("debian-9", True),
        ("debian", False),
        ("debian-stretch", False),
        ("debian-9-", False),
        ("debian-9-Stretch", False),
        ("debian-9.-stretch", False),
        ("Debian-9-stretch", False),
        ("9-debian", False),
        ("debian-9-stretch\n", False),
        ("debian-9-stretch ", False),
        ("debian_9", False),
        ("débian-9", False),
    ],
)
def test_a_directorys_name_is_read_alike(shell: Shell, packaging: Path, name: str, *, valid: bool) -> None:
    write(packaging, name=name)
    assert check(shell, packaging, name) == valid


@pytest.mark.parametrize(
    ("profiles", "valid"),
    [
        (b"nocheck", True),
        (b"nocheck\n", True),
        (b"pkg.hhvm.no-imap nodoc c++\n", True),
        (b"", False),
        (b" nocheck\n", False),
        (b"nocheck  nodoc\n", False),
        (b"nocheck\nnodoc\n", False),
        (b"nocheck\r\n", False),
        (b"!nocheck\n", False),
        (b"NoCheck\n", False),
        (b"-P\n", False),
        (b"nocheck,nodoc\n", False),
        (b"$(id)\n", False),
    ],
)
def test_build_profiles_are_names_with_one_space_between_two(
    shell: Shell, packaging: Path, profiles: bytes, *, valid: bool
) -> None:
    write(packaging, {"BUILD_PROFILES": profiles})
    assert check(shell, packaging) == valid


@pytest.mark.parametrize("target", ["nothing", "BUILD_PROFILES", "debian", "/proc/self/environ"])
def test_build_profiles_that_are_no_file_are_taken_by_neither(
    shell: Shell, packaging: Path, target: str
) -> None:
    (write(packaging) / "BUILD_PROFILES").symlink_to(target)
    assert not check(shell, packaging)


ODD = ["missing", "directory", "pipe", "dangling link", "loop", "link to itself above", "link out"]


@pytest.mark.parametrize("file", VALID)
@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_is_taken_by_neither(shell: Shell, packaging: Path, file: str, kind: str) -> None:
    path = write(packaging) / file
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling link":
        path.symlink_to("nothing")
    elif kind == "loop":
        path.symlink_to(file)
    elif kind == "link to itself above":
        path.symlink_to(f"../{NAME}/{file}")
    elif kind == "link out":
        path.symlink_to("/proc/self/environ")
    assert not check(shell, packaging)


def write_shared(packaging: Path) -> Path:
    """Packaging files whose distribution has its DOCKER_BASE elsewhere. Returns where a link to it goes."""
    directory = write(packaging)
    other = packaging / "distros/shared"
    (other / "inside").mkdir(parents=True)
    (directory / "DOCKER_BASE").rename(other / "DOCKER")
    return directory / "DOCKER_BASE"


STARTS = ["", "../", "../../", "/", "/opt/hhvm-packaging", "/opt/hhvm-packaging/", "/opt/hhvm"]
ENDS = ["DOCKER", "shared/DOCKER", "shared/inside/../DOCKER", "DOCKER/", "distros/shared/DOCKER"]
PARTS = ["..", ".", "", "shared", "inside", "DOCKER", "DOCKER_BASE", "distros", "bin", NAME, "debian", "x"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from(STARTS),
    parts=st.lists(st.sampled_from(PARTS), max_size=5),
    end=st.sampled_from(ENDS),
)
def test_a_link_of_any_form_is_followed_to_the_same_file(
    shell: Shell, packaging: Path, start: str, parts: list[str], end: str
) -> None:
    write_shared(packaging).symlink_to(start + "/".join([*parts, end]))
    check(shell, packaging)


def test_links_of_the_forms_that_people_write_are_followed(shell: Shell, packaging: Path) -> None:
    for target in (
        "../shared/DOCKER",
        "/opt/hhvm-packaging/shared/DOCKER",
        "/opt/hhvm-packaging/distros/shared/DOCKER",
    ):
        write_shared(packaging).symlink_to(target)
        assert check(shell, packaging), target


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(sorted(VALID)),
    content=st.one_of(
        st.binary(max_size=20),
        st.text("debianstrch019:~./@-_ \n\r\t\0", max_size=20).map(str.encode),
        st.from_regex(r"[a-z0-9:~./@_-]{1,12}\n?", fullmatch=True).map(str.encode),
    ),
)
def test_any_content_is_taken_by_both_or_by_neither(
    shell: Shell, packaging: Path, file: str, content: bytes
) -> None:
    write(packaging, {file: content})
    check(shell, packaging)
