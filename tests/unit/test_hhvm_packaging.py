"""distros/ as it is: one packaging for all distributions, and build profiles that it knows."""

import re
from pathlib import Path

import pytest
from debian.deb822 import Deb822, PkgRelation

from demo.stack import MINIATURE
from hhvm_packaging import distros
from hhvm_packaging.packaging_tree import PackagingTree

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "distros/debian-12-bookworm/debian"


def build_dependencies(*profiles: str) -> set[str]:
    """What the source package needs with these build profiles, by dpkg's rules."""
    source = Deb822((SHARED / "control").read_text().partition("\n\n")[0])
    return {
        relation["name"]
        for (relation,) in PkgRelation.parse_relations(source["Build-Depends"])
        # One list is enough here: all of its terms must hold.
        if all(
            (term.profile in profiles) == term.enabled
            for terms in relation["restrictions"] or []
            for term in terms
        )
    }


def known_profiles() -> set[str]:
    return set(re.findall(r"!([a-z0-9.+-]+)", (SHARED / "control").read_text()))


@pytest.mark.parametrize("name", distros.names(ROOT))
def test_every_distribution_has_the_same_packaging(name: str) -> None:
    assert PackagingTree(ROOT).resolve(f"distros/{name}/debian") == SHARED


@pytest.mark.parametrize("name", distros.names(ROOT))
def test_the_build_profiles_of_a_distribution_are_known_to_the_control_file(name: str) -> None:
    file = ROOT / "distros" / name / distros.BUILD_PROFILES
    profiles = file.read_text().split() if file.exists() else []
    assert set(profiles) <= known_profiles()


def test_the_miniature_needs_no_build_dependency_of_hhvms_own() -> None:
    assert build_dependencies(MINIATURE) == {"cmake", "debhelper-compat"}


def test_hhvm_needs_all_that_it_names_and_that_a_build_has_not_anyway() -> None:
    assert len(build_dependencies()) == 61 - len({"build-essential", "g++"})


def test_trixie_cuts_what_it_lacks_and_nothing_else() -> None:
    profiles = (ROOT / "distros/debian-13-trixie/BUILD_PROFILES").read_text().split()
    lacks = {"libc-client-dev", "libc-client2007e-dev", "libpcre3-dev"}
    assert build_dependencies() - build_dependencies(*profiles) == lacks
