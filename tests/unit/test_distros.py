"""A directory under distros/ is a distribution, or has a fault with a name."""

import shutil
from pathlib import Path

import pytest

from hhvm_packaging import distros
from hhvm_packaging.distros import InvalidDistro
from hhvm_packaging.release import Release

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def packaging(tmp_path: Path) -> Path:
    """A copy of the packaging files, to be broken."""
    for part in ("bin", "distros"):
        shutil.copytree(ROOT / part, tmp_path / part, symlinks=True)
    return tmp_path


@pytest.mark.parametrize("name", distros.names(ROOT))
def test_every_distribution_of_this_checkout_is_without_fault(name: str) -> None:
    distros.load(ROOT, name)


def test_a_distribution_says_its_suite_repository_image_and_package_version() -> None:
    distro = distros.load(ROOT, "debian-12-bookworm")
    assert (distro.distribution, distro.repository, distro.docker_base) == (
        "bookworm",
        "debian",
        "debian:bookworm",
    )
    assert distro.package_version(Release("1.0.0", nightly=False)) == "1.0.0-1~bookworm"


@pytest.mark.parametrize(
    "required", ["make-package", "DISTRIBUTION", "PKGVER", "debian/control", "debian/rules"]
)
def test_a_missing_file_is_named(packaging: Path, required: str) -> None:
    (packaging / "distros/debian-12-bookworm" / required).unlink()
    with pytest.raises(InvalidDistro, match=f"debian-12-bookworm: the required file {required} is missing"):
        distros.load(packaging, "debian-12-bookworm")


def test_a_directory_without_an_image_is_shared_material_and_no_distribution(packaging: Path) -> None:
    (packaging / "distros/skeleton/etc").mkdir(parents=True)
    assert "skeleton" not in distros.names(packaging)
    with pytest.raises(InvalidDistro, match="skeleton: it has no DOCKER_BASE, so it is shared material"):
        distros.load(packaging, "skeleton")


def test_a_broken_link_in_place_of_the_image_is_a_fault_and_does_not_hide_the_distribution(
    packaging: Path,
) -> None:
    file = packaging / "distros/debian-12-bookworm/DOCKER_BASE"
    file.unlink()
    file.symlink_to("/proc/self/environ")
    assert "debian-12-bookworm" in distros.names(packaging)
    with pytest.raises(InvalidDistro, match="is a link to /proc/self/environ, which leads out"):
        distros.load(packaging, "debian-12-bookworm")


def test_a_link_to_a_directory_is_no_distribution(packaging: Path) -> None:
    (packaging / "distros/debian-11-bullseye").symlink_to("debian-12-bookworm")
    assert "debian-11-bullseye" not in distros.names(packaging)


def test_a_link_that_leads_nowhere_is_named_with_its_target(packaging: Path) -> None:
    shutil.rmtree(packaging / "distros/debian-12-bookworm/debian")
    with pytest.raises(
        InvalidDistro, match=r"debian-13-trixie/debian is a link to /opt/.*, which is not there"
    ):
        distros.load(packaging, "debian-13-trixie")


@pytest.mark.parametrize(
    "target", ["/opt/hhvm-packaging/debian-12-bookworm/debian", "../debian-12-bookworm/debian/"]
)
def test_a_link_to_the_same_files_in_another_form_changes_nothing(packaging: Path, target: str) -> None:
    before = distros.load(packaging, "debian-13-trixie")
    (packaging / "distros/debian-13-trixie/debian").unlink()
    (packaging / "distros/debian-13-trixie/debian").symlink_to(target)
    assert distros.load(packaging, "debian-13-trixie") == before


def test_what_is_wrong_with_a_line_is_said_in_words(packaging: Path) -> None:
    file = packaging / "distros/debian-13-trixie/PKGVER"
    for content, words in {
        b"1~bookworm": r"as DISTRIBUTION says; it says 1~bookworm$",
        b"1~trixie\r\n": "it has the line ends of Windows: save it with those of Unix$",
        b"\xef\xbb\xbf1~trixie": "it begins with a byte order mark",
        b"": "it is empty$",
        b"1~trixie\n\n": "it has several lines$",
        b"1~trixie\0": "it has NUL bytes$",
        b"1~trixie ": "it has space around it: '1~trixie '$",
        b"\xff": "it is not UTF-8$",
        b"01~trixie": r"one line with N~trixie, N a number without leading zeros; it says 01~trixie$",
    }.items():
        file.write_bytes(content)
        with pytest.raises(InvalidDistro, match=f"^distros/debian-13-trixie: PKGVER must be .*{words}"):
            distros.load(packaging, "debian-13-trixie")


def make_package(packaging: Path, name: str, image: str = "fedora:40") -> Path:
    """A directory with the two required files."""
    directory = packaging / "distros" / name
    directory.mkdir()
    (directory / "DOCKER_BASE").write_text(f"{image}\n")
    (directory / "make-package").write_text("#!/bin/sh\n")
    (directory / "make-package").chmod(0o755)
    return directory


def test_two_files_make_a_distribution_of_any_system(packaging: Path) -> None:
    make_package(packaging, "fedora-40")
    fedora = distros.load(packaging, "fedora-40")
    assert (fedora.docker_base, fedora.distribution, fedora.pkgver) == ("fedora:40", "", "")
    assert fedora.not_published == "there is a publisher for debian and ubuntu, but none for fedora"
    assert fedora.package_version(Release("1.0.0", nightly=False)) == "1.0.0"


def test_a_script_of_its_own_may_have_the_files_of_a_debian_like_one(packaging: Path) -> None:
    directory = make_package(packaging, "debian-11-bullseye", "debian:bullseye")
    assert "DISTRIBUTION" in distros.load(packaging, "debian-11-bullseye").not_published
    (directory / "DISTRIBUTION").write_text("bullseye\n")
    (directory / "PKGVER").write_text("of no use to us\n")
    distro = distros.load(packaging, "debian-11-bullseye")
    assert (distro.distribution, distro.pkgver, distro.not_published) == ("bullseye", "", "")
    (directory / "PKGVER").write_text("2~bullseye\n")
    assert distros.load(packaging, "debian-11-bullseye").pkgver == "2~bullseye"


def test_a_script_that_cannot_be_executed_says_what_to_do(packaging: Path) -> None:
    (make_package(packaging, "fedora-40") / "make-package").chmod(0o644)
    with pytest.raises(InvalidDistro, match=r"make-package is not executable; run chmod \+x on it"):
        distros.load(packaging, "fedora-40")


SHELL_SCRIPT = b"#!/bin/sh\ntrue\n"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (b"true\n", "cannot be started: it does not begin with #!"),
        (SHELL_SCRIPT.replace(b"\n", b"\r\n"), "cannot be started: it has the line ends of Windows"),
        (b"\xef\xbb\xbf" + SHELL_SCRIPT, "cannot be started: it begins with a byte order mark"),
    ],
)
def test_a_script_that_the_kernel_cannot_start_is_refused(
    packaging: Path, content: bytes, fault: str
) -> None:
    (make_package(packaging, "fedora-40") / "make-package").write_bytes(content)
    with pytest.raises(InvalidDistro, match=f"fedora-40: make-package {fault}"):
        distros.load(packaging, "fedora-40")


def test_a_program_of_any_kind_may_make_the_packages(packaging: Path) -> None:
    script = make_package(packaging, "fedora-40") / "make-package"
    for content in (b"\x7fELF\0\r\n", SHELL_SCRIPT + b"printf 'a\r\n'\r\n"):
        script.write_bytes(content)
        distros.load(packaging, "fedora-40")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"true\r\n", "it has the line ends of Windows"),
        (b"true\nif true; then\r\n", "it has the line ends of Windows"),
        (b"\xef\xbb\xbftrue\n", "it begins with a byte order mark"),
    ],
)
def test_a_hook_that_bash_would_misread_is_refused(packaging: Path, content: bytes, fault: str) -> None:
    hook = packaging / "distros/debian-12-bookworm/make-package.prebuild"
    hook.write_bytes(content)
    with pytest.raises(InvalidDistro, match=f"make-package.prebuild cannot be read by bash: {fault}"):
        distros.load(packaging, "debian-12-bookworm")
    hook.unlink()
    hook.mkdir()
    with pytest.raises(InvalidDistro, match=r"make-package\.prebuild is not a file"):
        distros.load(packaging, "debian-12-bookworm")


def test_what_dpkg_would_refuse_in_debian_is_refused_before(packaging: Path) -> None:
    control = packaging / "distros/debian-12-bookworm/debian/control"
    control.write_bytes(control.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(InvalidDistro, match="debian-13-trixie: debian/control has the line ends of Windows"):
        distros.load(packaging, "debian-13-trixie")


def test_an_unknown_distribution_is_answered_with_the_known_ones(packaging: Path) -> None:
    with pytest.raises(InvalidDistro, match=r"no such directory.*debian-12-bookworm"):
        distros.load(packaging, "debian-99-nothing")


def test_a_name_that_leaves_the_directory_is_refused(packaging: Path) -> None:
    with pytest.raises(InvalidDistro):
        distros.load(packaging, "../distros/debian-12-bookworm")


def test_the_digest_changes_with_the_distributions_own_files_alone(packaging: Path) -> None:
    before = {name: distros.load(packaging, name).files_sha256 for name in distros.names(packaging)}
    (packaging / "distros/debian-13-trixie/DOCKER_BASE").write_text("debian:trixie-slim\n")
    after = {name: distros.load(packaging, name).files_sha256 for name in distros.names(packaging)}
    assert [name for name in before if before[name] != after[name]] == ["debian-13-trixie"]


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077])
def test_the_digest_does_not_change_with_the_umask_of_whoever_checked_it_out(
    packaging: Path, umask: int
) -> None:
    before = {name: distros.load(packaging, name).files_sha256 for name in distros.names(packaging)}
    for path in packaging.rglob("*"):
        if not path.is_symlink():
            path.chmod((0o777 if path.is_dir() or path.stat().st_mode & 0o100 else 0o666) & ~umask)
    assert before == {name: distros.load(packaging, name).files_sha256 for name in before}


def test_the_digest_changes_with_a_shared_file_for_all_that_link_to_it(packaging: Path) -> None:
    before = {name: distros.load(packaging, name).files_sha256 for name in distros.names(packaging)}
    with (packaging / "distros/debian-12-bookworm/debian/rules").open("a") as rules:
        rules.write("# changed\n")
    after = {name: distros.load(packaging, name).files_sha256 for name in distros.names(packaging)}
    assert all(before[name] != after[name] for name in before)


def test_the_digest_changes_with_shared_material_for_all_but_not_with_another_distribution(
    packaging: Path,
) -> None:
    def digest() -> str:
        return distros.load(packaging, "debian-13-trixie").files_sha256

    seen = [digest()]
    skeleton = packaging / "distros/skeleton/etc"
    skeleton.mkdir(parents=True)
    (skeleton / "php.ini").write_text("a")
    seen.append(digest())
    (skeleton / "php.ini").chmod(0o755)
    seen.append(digest())
    (skeleton / "link").symlink_to("/usr/share/hhvm")
    seen.append(digest())
    (skeleton / "link").unlink()
    (skeleton / "link").symlink_to("/usr/share/other")
    seen.append(digest())
    (packaging / "distros/debian-13-trixie/make-package.prebuild").touch()
    seen.append(digest())
    (packaging / "distros/common.mk").touch()
    seen.append(digest())
    assert len(set(seen)) == len(seen)
    make_package(packaging, "fedora-40")
    (packaging / "distros/CURRENT_TARGETS").write_text("fedora-40\n")
    assert digest() == seen[-1]


def test_a_broken_link_anywhere_in_the_directory_is_named(packaging: Path) -> None:
    (packaging / "distros/debian-12-bookworm/debian/hhvm.dirs").symlink_to("../../shared/hhvm.dirs")
    with pytest.raises(
        InvalidDistro, match=r"debian/hhvm.dirs is a link to \.\./\.\./shared/hhvm.dirs, which is"
    ):
        distros.load(packaging, "debian-12-bookworm")
