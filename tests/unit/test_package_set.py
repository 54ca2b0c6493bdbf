"""The package set of a build is what the build itself declares."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from jobs import package_set
from testing.debs import Deb, SourceFile, listed
from tests.conftest import ROOT
from tests.unit.test_artifacts import changes, leave

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "1.0.0-1~bookworm"


def dsc(*packages: str, source: str = "hhvm") -> SourceFile:
    """A .dsc whose Package-List has these lines, without files."""
    orig = SourceFile(f"{source}_1.0.0.orig.tar.gz", b"the source")
    lines = "".join(f"\n {line}" for line in packages)
    text = (
        f"Format: 3.0 (quilt)\nSource: {source}\nVersion: {VERSION}\nPackage-List:{lines}\n{listed([orig])}"
    )
    return SourceFile(f"{source}_{VERSION}.dsc", text.encode(), others=(orig,))


def built(*names: str, architecture: str = "amd64") -> list[Deb]:
    return [Deb(VERSION, name, architecture) for name in names]


def read(out: Path, source: SourceFile, *debs: Deb, **others: bytes) -> package_set.PackageSet:
    return package_set.read(leave(out, source, *source.others, *debs, **others))


# Lines of a Package-List, build profiles, and which of the packages must be there.
HHVM = "hhvm deb web optional arch=any"
LISTS = {
    "alone": ([HHVM], "", {"hhvm"}),
    "debug, development and for all": (
        [HHVM, "hhvm-dbg deb debug extra arch=any", "hhvm-doc deb doc optional arch=all"],
        "",
        {"hhvm", "hhvm-dbg", "hhvm-doc"},
    ),
    "for this machine": ([HHVM, "x deb web optional arch=i386,amd64"], "", {"hhvm", "x"}),
    "for any Linux": ([HHVM, "x deb web optional arch=linux-any"], "", {"hhvm", "x"}),
    "for any such processor": ([HHVM, "x deb web optional arch=any-amd64"], "", {"hhvm", "x"}),
    "for another machine": ([HHVM, "x deb web optional arch=arm64"], "", {"hhvm"}),
    "for another system": ([HHVM, "x deb web optional arch=hurd-any"], "", {"hhvm"}),
    "for Debian's installer": ([HHVM, "hhvm-udeb udeb web optional arch=any"], "", {"hhvm"}),
    "essential": ([f"{HHVM} essential=yes"], "", {"hhvm"}),
    "not in this profile": ([HHVM, "x deb web optional arch=any profile=!small"], "small", {"hhvm"}),
    "only in another": ([HHVM, "x deb web optional arch=any profile=small"], "", {"hhvm"}),
    "in this profile": ([HHVM, "x deb web optional arch=any profile=small"], "small", {"hhvm", "x"}),
    "in one of two": ([HHVM, "x deb web optional arch=any profile=a+!b"], "b a", {"hhvm", "x"}),
    "in both": ([HHVM, "x deb web optional arch=any profile=a,!b"], "b a", {"hhvm"}),
}


@pytest.mark.parametrize(("lines", "profiles", "required"), LISTS.values(), ids=LISTS)
def test_what_the_dsc_lists_for_this_machine_and_profile_must_be_there(
    tmp_path: Path, lines: list[str], profiles: str, required: set[str]
) -> None:
    hhvm, others = built("hhvm"), {"hhvm.changes": changes(*built("hhvm"), Built_For_Profiles=profiles)}
    found = read(tmp_path, dsc(*lines), *hhvm, **others)
    assert set(found.required) == required
    assert set(found.missing) == required - {"hhvm"}
    assert found.undeclared == []


def test_debug_symbols_of_what_is_declared_may_be_there_or_not(tmp_path: Path) -> None:
    symbols = [Deb(VERSION, "hhvm-dbgsym"), Deb(VERSION, "hhvm-dev-dbgsym", suffix="ddeb")]
    other = Deb(VERSION, "other-dbgsym")
    lines = [HHVM, "hhvm-dev deb libdevel optional arch=any"]
    found = read(tmp_path, dsc(*lines), *built("hhvm", "hhvm-dev"), *symbols, other)
    assert found.missing == {}
    assert found.undeclared == [other.name]
    assert set(found.declared) == {deb.name for deb in [*built("hhvm", "hhvm-dev"), *symbols]}


def test_several_sources_declare_packages_together(tmp_path: Path) -> None:
    other = dsc(
        "libother1 deb libs optional arch=any", "libother-dev deb libs optional arch=any", source="other"
    )
    leave(tmp_path, other, *other.others)
    found = read(tmp_path, dsc(HHVM), *built("hhvm", "libother1"))
    assert found.missing == {"libother-dev": other.name}
    assert found.undeclared == []


def test_a_build_without_source_package_declares_what_its_changes_name(tmp_path: Path) -> None:
    debs = built("hhvm", "hhvm-dbg", "hhvm-build-deps")
    leave(tmp_path, *debs, **{"hhvm.changes": changes(*debs[:2], Binary="hhvm hhvm-dbg")})
    found = package_set.read(tmp_path)
    assert found.undeclared == [debs[2].name]
    assert found.missing == {}


def test_where_nothing_declares_packages_all_that_are_there_count(tmp_path: Path) -> None:
    debs = built("hhvm", "hhvm-extra")
    found = package_set.read(leave(tmp_path, *debs))
    assert found.declared == sorted(deb.name for deb in debs)
    assert found.undeclared == []


# The command


def check(out: Path, package: str = "hhvm") -> subprocess.CompletedProcess[str]:
    names = out.parent / "packages"
    command = [sys.executable, str(ROOT / "jobs/check-packages"), str(out), package, str(names)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_the_packages_that_the_gate_installs_are_those_that_are_declared(out: Path) -> None:
    debs = built("hhvm", "hhvm-dbg")
    source = dsc(HHVM, "hhvm-dbg deb debug optional arch=any")
    leave(out, source, *source.others, *debs, *built("stray"))
    checked = check(out)
    assert checked.returncode == 0, checked.stderr
    assert (out.parent / "packages").read_text().splitlines() == sorted(deb.name for deb in debs)
    assert f"stray_{VERSION}_amd64.deb is left out" in checked.stdout


def test_a_declared_package_that_is_missing_fails_the_build_by_its_name(out: Path) -> None:
    source = dsc(HHVM, "hhvm-dev deb libdevel optional arch=any")
    leave(out, source, *source.others, *built("hhvm"))
    checked = check(out)
    assert checked.returncode == 1
    assert f"did not make hhvm-dev, which {source.name} declares, but left hhvm_{VERSION}" in checked.stderr


def test_a_build_without_the_main_package_fails(out: Path) -> None:
    leave(out, *built("hhvm-dev"))
    assert "did not make hhvm-nightly but left hhvm-dev_" in check(out, "hhvm-nightly").stderr


def test_a_package_that_is_none_fails_the_build_by_its_name(out: Path) -> None:
    leave(out, *built("hhvm"), **{"hhvm-dev_1_amd64.deb": b""})
    checked = check(out)
    assert checked.returncode == 1
    assert "error: hhvm-dev_1_amd64.deb: is not a whole Debian package" in checked.stderr
