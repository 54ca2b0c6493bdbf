"""A directory under distros/ is a distribution, or has a fault with a name."""

import shutil
from pathlib import Path

import pytest

from hhvm_packaging import distros
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


@pytest.mark.parametrize("required", ["make-package", "DOCKER_BASE", "DISTRIBUTION", "PKGVER"])
def test_a_missing_file_is_named(packaging: Path, required: str) -> None:
    (packaging / "distros/debian-12-bookworm" / required).unlink()
    with pytest.raises(
        distros.InvalidDistro, match=f"debian-12-bookworm: the required file {required} is missing"
    ):
        distros.load(packaging, "debian-12-bookworm")


def test_a_missing_debian_directory_is_found_through_the_link_to_it(packaging: Path) -> None:
    shutil.rmtree(packaging / "distros/debian-12-bookworm/debian")
    with pytest.raises(
        distros.InvalidDistro, match=r"debian-13-trixie: the required file debian/control is missing"
    ):
        distros.load(packaging, "debian-13-trixie")


@pytest.mark.parametrize(
    "image",
    ["", "Debian:bookworm", "debian:bookworm;id", "debian bookworm", "-v/:/host", "debian:", "a\nb", "$(id)"],
)
def test_what_is_not_an_image_name_is_refused(packaging: Path, image: str) -> None:
    (packaging / "distros/debian-12-bookworm/DOCKER_BASE").write_text(f"{image}\n")
    with pytest.raises(distros.InvalidDistro, match=r"DOCKER_BASE says .* is not an image name"):
        distros.load(packaging, "debian-12-bookworm")


@pytest.mark.parametrize("image", ["debian:bookworm", "ubuntu", "registry.example.com:5000/team/debian:12.1"])
def test_an_image_name_is_taken(packaging: Path, image: str) -> None:
    (packaging / "distros/debian-12-bookworm/DOCKER_BASE").write_text(f"{image}\n")
    assert distros.load(packaging, "debian-12-bookworm").docker_base == image


def test_a_package_version_copied_from_another_distribution_is_refused(packaging: Path) -> None:
    (packaging / "distros/debian-13-trixie/PKGVER").write_text("1~bookworm\n")
    with pytest.raises(distros.InvalidDistro, match="PKGVER says '1~bookworm'; it must be NUMBER~trixie"):
        distros.load(packaging, "debian-13-trixie")


def test_an_unknown_distribution_is_answered_with_the_known_ones(packaging: Path) -> None:
    with pytest.raises(distros.InvalidDistro, match=r"no such directory.*debian-12-bookworm"):
        distros.load(packaging, "debian-99-nothing")


def test_a_name_that_leaves_the_directory_is_refused(packaging: Path) -> None:
    with pytest.raises(distros.InvalidDistro):
        distros.load(packaging, "../distros/debian-12-bookworm")


def test_the_digest_changes_with_the_distributions_own_files_alone(packaging: Path) -> None:
    before = {name: distros.load(packaging, name).files_sha256 for name in distros.names(packaging)}
    (packaging / "distros/debian-13-trixie/DOCKER_BASE").write_text("debian:trixie-slim\n")
    after = {name: distros.load(packaging, name).files_sha256 for name in distros.names(packaging)}
    assert [name for name in before if before[name] != after[name]] == ["debian-13-trixie"]


def test_the_digest_changes_with_a_shared_file_for_all_that_link_to_it(packaging: Path) -> None:
    before = {name: distros.load(packaging, name).files_sha256 for name in distros.names(packaging)}
    with (packaging / "distros/debian-12-bookworm/debian/rules").open("a") as rules:
        rules.write("# changed\n")
    after = {name: distros.load(packaging, name).files_sha256 for name in distros.names(packaging)}
    assert all(before[name] != after[name] for name in before)
