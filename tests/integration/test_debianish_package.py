"""bin/make-debianish-package builds a directory of the old form: a nightly's, with what lies beside it."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging import distros
from tests.integration.test_bin_scripts import ROOT, run

if TYPE_CHECKING:
    from pathlib import Path

# Two builds, and apt: on a busy machine that takes minutes.
pytestmark = pytest.mark.timeout(600)

NAME = "debian-12-bookworm"
VERSIONS = {"hhvm": "1.0.0", "hhvm-nightly": "2018.06.12"}
CACHES = {
    "hhvm": "echo cut >/opt/hhvm-ccache/ccache.tar",
    "hhvm-nightly": (
        "mkdir /tmp/cache; echo another >/tmp/cache/compiler; "
        "tar -cf /opt/hhvm-ccache/ccache.tar -C /tmp/cache ."
    ),
}
"""The compiler cache that each build gets."""

CONTROL = """\
Source: hhvm-nightly
maintainer:	H\u00c5VM Open Source <hhvm@example.com>
Section: web
Priority: optional
Standards-Version: 3.9.2
Rules-Requires-Root: binary-targets
Build-Depends: debhelper (>= 9)

Package: hhvm-nightly
Architecture: any
Conflicts: hhvm
Depends: tzdata, ${shlibs:Depends}, ${misc:Depends}
Description: HHVM

Package: hhvm-nightly-dbg
Architecture: any
Depends: hhvm-nightly (= ${binary:Version}), ${misc:Depends}
Section: debug
Description: Debugging symbols for HHVM

Package: hhvm-nightly-dev
Architecture: any
Depends: hhvm-nightly:any (= ${binary:Version}), ${misc:Depends}
Description: Header files for HHVM
"""
BEFORE = "export CCACHE_MAXSIZE=50M\nmkdir /opt/hhvm-ccache\n"
RULES = """\
#!/usr/bin/make -f
include /usr/share/dpkg/pkg-info.mk

%:
	dh $@

override_dh_auto_build:
	debian/build-deps/build-a-tool
	gcc -g -o hhvm hhvm.c

override_dh_strip:
	dh_strip --dbg-package=hhvm-nightly-dbg

generated=$(patsubst %.in,%,$(wildcard debian/*.in))

$(generated): %: %.in
	sed 's,__PKGROOT__,/opt/hhvm/$(DEB_VERSION_UPSTREAM),g' $< > $@

override_dh_auto_install: $(generated)
	install -D hhvm debian/tmp/opt/hhvm/$(DEB_VERSION_UPSTREAM)/bin/hhvm

override_dh_fixperms:
	dh_fixperms
	chown www-data:www-data debian/hhvm-nightly/var/log/hhvm
"""
DEBIAN = {
    "control": CONTROL,
    "rules": RULES,
    "compat": "10\n",
    "source/format": "3.0 (quilt)\n",
    "hhvm-nightly.dirs": "var/log/hhvm\n",
    "hhvm-nightly.install.in": "__PKGROOT__/bin/hhvm\ndebian/skeleton/etc /\n",
    "hhvm-nightly-dev.install": "hphp/hhvm.h usr/include/hhvm\n",
    "hhvm-nightly-dev.lintian-overrides": "hhvm-nightly-dev: no-upstream-changelog\n",
    "postinst.in": (
        "#!/bin/sh\nset -e\ndpkg -s hhvm-nightly >/dev/null\n"
        "update-alternatives --install /usr/bin/hhvm hhvm __PKGROOT__/bin/hhvm 10\n"
    ),
}
SOURCE = {
    "hhvm.c": "int main() { return 0; }\n",
    "hphp/hhvm.h": "\n",
    # Of somebody else, who packages it otherwise.
    "debian/control": "Source: hhvm-of-upstream\n",
    "debian/install": "nothing there\n",
}


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)


@dataclass
class Built:
    out: Path
    log: str

    def field(self, package: str, field: str) -> str:
        (file,) = self.out.glob(f"{package}_*.deb")
        return subprocess.check_output(["dpkg-deb", "--field", file, field], text=True).strip()

    def contents(self, package: str) -> dict[str, str]:
        """Owner of each file, by its path."""
        (file,) = self.out.glob(f"{package}_*.deb")
        listed = subprocess.check_output(["dpkg-deb", "--contents", file], text=True).splitlines()
        return {line.split()[5].removeprefix("."): line.split()[1] for line in listed}

    def script(self, package: str, tmp_path: Path) -> str:
        (file,) = self.out.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "--control", file, tmp_path / package], check=True)
        return (tmp_path / package / "postinst").read_text()


@pytest.fixture(scope="module")
def built(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A release and a nightly from the same directory, in one container: most of the time goes to apt."""
    root = tmp_path_factory.mktemp("packaging")
    shutil.copytree(ROOT / "bin", root / "bin")
    directory = root / "distros" / NAME
    write(directory, {f"debian/{name}": text for name, text in DEBIAN.items()})
    write(
        directory,
        {"DOCKER_BASE": "debian:bookworm\n", "DISTRIBUTION": "bookworm\n", "PKGVER": "4~bookworm\n"},
    )
    hook = "mkdir debian/build-deps/\ncp /opt/hhvm-packaging/build-deps/build-* debian/build-deps/\ncd /\n"
    write(directory, {"make-package.prebuild": f"{hook}echo hook of $PKGBASE, $UNSET\n"})
    write(
        root / "distros",
        {"build-deps/build-a-tool": "#!/bin/sh\necho a tool\n", "skeleton/etc/hhvm/php.ini": "\n"},
    )
    (root / "distros/skeleton/etc/hhvm/link").symlink_to("/usr/share/hhvm")
    (directory / "make-package").symlink_to("../../bin/make-debianish-package")
    distros.load(root, NAME)
    (directory / "make-package").unlink()
    each = "".join(
        f"{CACHES[kind]}\nVERSION={version} /opt/hhvm-packaging/bin/make-debianish-package\n"
        for kind, version in VERSIONS.items()
    )
    write(directory, {"make-package": f"#!/bin/sh\nset -e\n{BEFORE}{each}"})
    for path in ("make-package", "make-package.prebuild", "debian/rules", "../build-deps/build-a-tool"):
        (directory / path).chmod(0o755)
    out = root / "out"
    out.mkdir()
    for package, version in VERSIONS.items():
        source = root / f"{package}-{version}"
        write(source, SOURCE)
        if package == "hhvm-nightly":
            # A link that leads nowhere is in the way, too.
            shutil.rmtree(source / "debian")
            (source / "debian").symlink_to("packaging/nowhere")
        with tarfile.open(out / f"{source.name}.tar.gz", "w:gz") as tarball:
            tarball.add(source, source.name)
    made = run(root / "bin/make-package-in-throwaway-container", NAME, timeout=590, VERSION="1.0.0")
    assert made.returncode == 0, made.stdout[-5000:] + made.stderr
    return Built(out, made.stdout + made.stderr)


@pytest.mark.parametrize(("kind", "version"), VERSIONS.items())
@pytest.mark.slow
def test_each_kind_has_its_own_packages(built: Built, kind: str, version: str) -> None:
    for package in (kind, f"{kind}-dev", f"{kind}-dbg"):
        assert built.field(package, "Version") == f"{version}-4~bookworm"
        assert built.field(package, "Source") in ("", kind)
    assert built.field(f"{kind}-dev", "Depends") == f"{kind}:any (= {version}-4~bookworm)"
    assert (built.out / f"{kind}_{version}-4~bookworm.debian.tar.xz").exists()


def test_the_nightly_conflicts_with_the_release_and_the_release_with_nothing(built: Built) -> None:
    assert built.field("hhvm-nightly", "Conflicts") == "hhvm"
    assert built.field("hhvm", "Conflicts") == ""


@pytest.mark.parametrize(("kind", "version"), VERSIONS.items())
def test_files_directories_and_owners_go_where_the_rules_say(built: Built, kind: str, version: str) -> None:
    found = built.contents(kind)
    assert found["/var/log/hhvm/"] == "www-data/www-data"
    assert {f"/opt/hhvm/{version}/bin/hhvm", "/etc/hhvm/php.ini", "/etc/hhvm/link"} <= set(found)
    assert "/usr/include/hhvm/hhvm.h" in built.contents(f"{kind}-dev")
    assert f"/usr/share/lintian/overrides/{kind}-dev" in built.contents(f"{kind}-dev")
    assert any(name.startswith("/usr/lib/debug/.build-id/") for name in built.contents(f"{kind}-dbg"))


@pytest.mark.parametrize("kind", VERSIONS)
def test_maintainer_scripts_ask_for_their_own_package(built: Built, kind: str, tmp_path: Path) -> None:
    script = built.script(kind, tmp_path)
    assert f"dpkg -s {kind} >/dev/null" in script
    assert "update-alternatives --install /usr/bin/hhvm hhvm /opt/hhvm/" in script


@pytest.mark.parametrize("kind", VERSIONS)
def test_the_hook_and_the_upstream_directory_are_in_the_log(built: Built, kind: str) -> None:
    assert f"hook of {kind},\n" in built.log
    assert "the source has a debian/ of its own, which ours replaces" in built.log


def test_a_compiler_cache_that_is_cut_or_of_another_compiler_is_ignored_and_the_log_says_so(
    built: Built,
) -> None:
    assert "1.0.0, bookworm: the compiler cache is ignored: it is no whole tar file" in built.log
    assert "2018.06.12, bookworm: the compiler cache is ignored: it is of another compiler" in built.log
    assert (built.out / "ccache.tar").stat().st_size
