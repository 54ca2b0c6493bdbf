"""make check-distros says what is wrong in plain words; bin/new-distro makes a directory that is right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hhvm_packaging import distros
from hhvm_packaging.cli import check_distros, new_distro
from hhvm_packaging.cli.new_distro import Refused
from hhvm_packaging.distros import InvalidDistro

ROOT = Path(__file__).resolve().parents[2]
BOOKWORM, TRIXIE, FORKY = "debian-12-bookworm", "debian-13-trixie", "debian-14-forky"


@pytest.fixture
def packaging(tmp_path: Path) -> Path:
    """The packaging files of two distributions, to be broken."""
    shutil.copytree(ROOT / "bin", tmp_path / "bin", symlinks=True)
    for name in (BOOKWORM, TRIXIE):
        shutil.copytree(ROOT / "distros" / name, tmp_path / "distros" / name, symlinks=True)
    return tmp_path


def findings(packaging: Path) -> list[str]:
    """The lines that are not about what is right."""
    return [f"{kind.strip()} {text}" for kind, text in check_distros.check(packaging) if kind != "right  "]


def run(packaging: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hhvm_packaging.cli.check_distros", str(packaging)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "plugins")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_this_checkout_has_no_findings() -> None:
    assert findings(ROOT) == []


def test_what_is_right_says_where_it_is_built_and_published(packaging: Path) -> None:
    checked = run(packaging)
    assert checked.returncode == 0
    line = "right    distros/debian-12-bookworm: is built in debian:bookworm, published in debian bookworm"
    assert line in checked.stdout.splitlines()


def test_what_plan_refuses_is_wrong_and_the_status_says_so(packaging: Path) -> None:
    (packaging / "distros" / TRIXIE / "PKGVER").write_bytes(b"1~trixie\r\n")
    checked = run(packaging)
    assert checked.returncode == 1
    (wrong,) = findings(packaging)
    assert wrong.startswith("WRONG distros/debian-13-trixie: PKGVER must be one line with N~trixie")
    assert wrong.endswith("it has the line ends of Windows: save it with those of Unix")


def test_a_directory_without_distros_is_refused(tmp_path: Path) -> None:
    checked = run(tmp_path)
    assert (checked.returncode, checked.stdout) == (1, "")
    assert "has no directory distros/" in checked.stderr


def odd(packaging: Path, how: str) -> None:
    distro = packaging / "distros" / TRIXIE
    if how == "no image":
        (distro / "DOCKER_BASE").unlink()
    elif how == "link":
        (packaging / "distros" / FORKY).symlink_to(TRIXIE)
    elif how == "hook":
        (distro / "make-package.prebuild").touch()
    elif how == "same suite":
        shutil.copytree(distro, packaging / "distros/debian-13", symlinks=True)
    elif how == "another's codename":
        shutil.move(distro, packaging / "distros" / FORKY)
    elif how == "owners":
        (distro / "debian").unlink()
        shutil.copytree(packaging / "distros" / BOOKWORM / "debian", distro / "debian")
        rules = distro / "debian/rules"
        rules.write_text(f"{rules.read_text()}\nexecute_after_dh_fixperms:\n\tchown a:a debian/hhvm/var\n")
    elif how == "all retired":
        for name in (BOOKWORM, TRIXIE):
            (packaging / "distros" / name / "RETIRED").touch()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no image", "debian-13-trixie: it has no DOCKER_BASE, so it is shared material"),
        ("link", "debian-14-forky: it is a link, so it is no distribution"),
        ("hook", "make-package.prebuild is not executable, so it is not run"),
        ("same suite", "debian-13-trixie: it is published in the suite trixie, as debian-13 is"),
        ("another's codename", "DISTRIBUTION says trixie, but the directory is named for forky"),
        ("owners", "debian/rules changes owners"),
        ("all retired", "nothing is built if nobody says which"),
    ],
)
def test_what_may_not_be_meant_is_a_warning_and_the_status_is_well(
    packaging: Path, how: str, words: str
) -> None:
    odd(packaging, how)
    (warning,) = findings(packaging)
    assert warning.startswith("warning ")
    assert words in warning
    assert run(packaging).returncode == 0


def test_a_list_of_targets_that_names_none_is_wrong(packaging: Path) -> None:
    (packaging / "distros/CURRENT_TARGETS").write_text(f"{BOOKWORM}\ndebian-9-strech\n")
    assert findings(packaging) == [
        "WRONG distros/CURRENT_TARGETS: it lists debian-9-strech, which is no distribution"
    ]


def test_a_new_distribution_is_right_and_shares_the_files_of_the_other(packaging: Path) -> None:
    new_distro.make(packaging, FORKY, BOOKWORM, "debian:forky")
    forky, bookworm = (distros.load(packaging, name) for name in (FORKY, BOOKWORM))
    assert (forky.docker_base, forky.distribution, forky.pkgver) == ("debian:forky", "forky", "1~forky")
    assert (packaging / "distros" / FORKY / "debian").is_symlink()
    assert findings(packaging) == []
    assert forky.files_sha256 != bookworm.files_sha256


def test_a_new_distribution_may_have_files_of_its_own(packaging: Path) -> None:
    made = new_distro.make(packaging, FORKY, BOOKWORM, "debian:forky", own_debian=True)
    assert (made / "debian/rules").is_file()
    assert not (made / "debian").is_symlink()


def test_a_new_distribution_of_another_system_has_its_script_and_its_image(packaging: Path) -> None:
    fedora = packaging / "distros/fedora-40"
    fedora.mkdir()
    (fedora / "DOCKER_BASE").write_text("fedora:40\n")
    (fedora / "make-package").write_text("#!/bin/sh\n")
    (fedora / "make-package").chmod(0o755)
    (fedora / "RETIRED").touch()
    made = new_distro.make(packaging, "fedora-41", "fedora-40", "fedora:41")
    assert {path.name for path in made.iterdir()} == {"DOCKER_BASE", "make-package"}
    assert distros.load(packaging, "fedora-41").docker_base == "fedora:41"


@pytest.mark.parametrize(
    ("name", "other", "image", "words"),
    [
        (TRIXIE, BOOKWORM, "debian:trixie", "is there already"),
        ("forky", BOOKWORM, "debian:forky", "'forky' is no name: it must be DISTRO-NUMERIC_VERSION"),
        ("../debian-14-forky", BOOKWORM, "debian:forky", "is no name"),
        ("debian-14", BOOKWORM, "debian:forky", "has no codename at its end: say it with --codename"),
        (FORKY, "debian-9-stretch", "debian:forky", "there is no such directory"),
        (FORKY, BOOKWORM, "--privileged", "DOCKER_BASE must be one line with the name of a Docker image"),
    ],
)
def test_what_would_not_be_right_is_refused_and_nothing_is_made(
    packaging: Path, name: str, other: str, image: str, words: str
) -> None:
    before = sorted((packaging / "distros").iterdir())
    with pytest.raises((Refused, InvalidDistro), match=words):
        new_distro.make(packaging, name, other, image)
    assert sorted((packaging / "distros").iterdir()) == before


def test_the_command_says_what_it_made_and_what_is_next(packaging: Path) -> None:
    command = [str(ROOT / "bin/new-distro"), FORKY, "--from", TRIXIE, "--image", "debian:forky"]
    command += ["--packaging", str(packaging)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert "debian-14-forky/debian -> /opt/hhvm-packaging/" in made.stdout
    assert "Next: make check-distros" in made.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (
        1,
        "new-distro: error: distros/debian-14-forky is there already\n",
    )
