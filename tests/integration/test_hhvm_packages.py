"""HHVM's own packaging in the distributions themselves: its build dependencies, its packages, their service.

What is built is the miniature. Debian's real apt, debhelper and dpkg do the rest. systemd does not run in a
container, so the tests start what the unit starts, as the user that it names.
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.stack import MINIATURE
from testing.distro_container import DistroContainer, distro_container

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DISTROS = {"bookworm": "debian-12-bookworm", "trixie": "debian-13-trixie"}
RELEASE, NEXT, NIGHTLY = "1.0.0", "1.0.1", "2018.06.12"
VERSIONS = {"bookworm": (RELEASE, NEXT, NIGHTLY), "trixie": (RELEASE, NEXT)}
"""What is built. A nightly's packages differ from a release's in the same way everywhere."""

pytestmark = pytest.mark.timeout(1200)

FILES = """
find / -xdev '(' -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/cache/apt \
  -o -path /var/lib/apt -o -path '/var/lib/dpkg/*-old' -o -path /var/log/apt \
  -o -path /var/log/alternatives.log ')' -prune -o -print | sort
"""
ASK = "SCRIPT_FILENAME={} REQUEST_METHOD=GET cgi-fcgi -bind -connect 127.0.0.1:{}"
WAIT_FOR_PORT = """
for _ in {{1..100}}; do (: </dev/tcp/127.0.0.1/{}) 2>/dev/null && exit; sleep 0.1; done
exit 1
"""
STOP = """
process=$(cat /run/hhvm/pid)
kill "$process"
while kill -0 "$process" 2>/dev/null; do sleep 0.1; done
rm -r /run/hhvm
"""
REMOVE = f"""
if [ -e /run/hhvm/pid ]; then {STOP} fi
mapfile -t packages < <(dpkg-query --show --showformat '${{Package}}\\n' | grep ^hhvm)
if [ ${{#packages[@]}} -gt 0 ]; then dpkg --purge "${{packages[@]}}"; fi
"""

OLD = """
cd "$(mktemp -d)"
mkdir -p tree/DEBIAN tree/etc/init.d tree/etc/hhvm tree/etc/default tree/opt/hhvm/0.9.0/bin
printf '#!/bin/sh\\n' | tee tree/etc/init.d/hhvm >tree/opt/hhvm/0.9.0/bin/hhvm
echo 'hhvm.server.port = 9000' >tree/etc/hhvm/server.ini
echo '#ADDITIONAL_ARGS=""' >tree/etc/default/hhvm
printf '%s\\n' /etc/init.d/hhvm /etc/hhvm/server.ini /etc/default/hhvm >tree/DEBIAN/conffiles
cat >tree/DEBIAN/control <<'END'
Package: hhvm
Version: 0.9.0-1~old
Architecture: amd64
Maintainer: A <a@example.org>
Description: as it was
END
cat >tree/DEBIAN/postinst <<'END'
#!/bin/bash
install -d -m 755 -o www-data -g www-data /var/run/hhvm
install -d -m 01733 /var/lib/hhvm/sessions
update-alternatives --install /usr/bin/hhvm hhvm /opt/hhvm/0.9.0/bin/hhvm 10
END
cat >tree/DEBIAN/prerm <<'END'
#!/bin/bash
set -e
if [ -f /etc/init.d/hhvm ]; then /etc/init.d/hhvm stop; fi
update-alternatives --remove hhvm /opt/hhvm/0.9.0/bin/hhvm
END
chmod 0755 tree/DEBIAN/p* tree/etc/init.d/hhvm tree/opt/hhvm/0.9.0/bin/hhvm
dpkg-deb --root-owner-group --build tree "$PWD/old.deb"
apt_get install "$PWD/old.deb"
"""
"""Installs a package that does what those of github.com/hhvm/packaging do."""


@dataclass
class Built:
    """One distribution: a container where packages were built, and what it left."""

    suite: str
    builder: DistroContainer
    out: Path

    @property
    def profiles(self) -> str:
        """The build profiles that the distribution needs, with commas."""
        file = ROOT / "distros" / DISTROS[self.suite] / "BUILD_PROFILES"
        return ",".join(file.read_text().split()) if file.exists() else ""

    def packages(self, version: str, package: str = "hhvm") -> list[str]:
        """The packages of a version, as a container of users has them."""
        found = sorted(self.out.glob(f"{package}*_{version}-1~{self.suite}_amd64.deb"))
        return [f"/packages/{file.name}" for file in found]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the source tarballs of two releases and a nightly."""
    directory = tmp_path_factory.mktemp("sources")
    for version in (RELEASE, NEXT):
        subprocess.run([ROOT / "demo/make-git-repositories", directory / "git", version], check=True)
    for version in (RELEASE, NEXT, NIGHTLY):
        repository = "hhvm.git" if version == NIGHTLY else "hhvm-staging.git"
        wanted = {"VERSION": version, "SOURCE_REPOSITORY": str(directory / "git" / repository)}
        subprocess.run(
            [ROOT / "bin/make-source-tarball"],
            env={**os.environ, **wanted, "OUT": str(directory / "out")},
            check=True,
        )
    return directory / "out"


@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.slow)])
def built(
    request: pytest.FixtureRequest, base_images: None, sources: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    """The miniature's packages, built with HHVM's packaging, as a build container has it."""
    out = tmp_path_factory.mktemp(request.param)
    for tarball in sources.iterdir():
        (out / tarball.name).write_bytes(tarball.read_bytes())
    distro = ROOT / "distros" / DISTROS[request.param]
    mounts = {
        "/var/out": str(out),
        "/opt/hhvm-packaging:ro": str(ROOT),
        "/opt/hhvm-distro-packaging:ro": str(distro),
    }
    with distro_container((distro / "DOCKER_BASE").read_text().strip(), mounts) as builder:
        for version in VERSIONS[request.param]:
            builder.run(
                f"export VERSION={version} DEB_BUILD_PROFILES={MINIATURE}\n"
                "/opt/hhvm-distro-packaging/make-package"
            )
        yield Built(request.param, builder, out)


@dataclass
class Machine:
    """A user's machine of that distribution, without HHVM."""

    machine: DistroContainer
    built: Built
    before: set[str] = field(default_factory=set)

    def install(self, *packages: str) -> None:
        self.machine.run(f"apt_get install --allow-downgrades {' '.join(packages)}")

    def files(self) -> set[str]:
        return set(self.machine.run(FILES).splitlines())

    def unit(self) -> configparser.ConfigParser:
        """The service's unit, as it is installed."""
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(self.machine.run("cat /lib/systemd/system/hhvm.service"))
        return unit

    def start_service(self, port: int = 9000) -> None:
        """Start what the unit starts."""
        service = self.unit()["Service"]
        user, directory = service["User"], service["RuntimeDirectory"]
        self.machine.run(f"install -d -o {user} -g {service['Group']} /run/{directory}")
        # Both the unit's variables and the files that it reads mean the same to a shell.
        setting, files = service["Environment"], service["EnvironmentFile"].removeprefix("-")
        self.machine.start(f"{setting}; . {files}; exec {service['ExecStart']}", user)
        self.machine.run(WAIT_FOR_PORT.format(port))

    def stop_service(self) -> None:
        """Stop it as systemd does, which also removes its runtime directory."""
        self.machine.run(STOP)

    def ask(self, script: str, port: int = 9000) -> str:
        """What the service answers to a web server that asks for a script."""
        return self.machine.run(ASK.format(script, port))


@pytest.fixture(scope="module")
def machine(built: Built) -> Iterator[Machine]:
    """A machine with what HHVM depends on, and a web server's means to ask it."""
    image = (ROOT / "distros" / DISTROS[built.suite] / "DOCKER_BASE").read_text().strip()
    with distro_container(image, {"/packages:ro": str(built.out)}) as container:
        container.run("apt_get update; apt_get install libfcgi-bin libstdc++6 lsof tzdata")
        # Every machine has /etc/init.d, but trixie's image does not.
        container.run("""mkdir -p /etc/init.d /var/www; echo 'echo "Hello\\n";' >/var/www/hello.hack""")
        machine = Machine(container, built)
        machine.before = machine.files()
        yield machine


@pytest.fixture
def clean(machine: Machine) -> Iterator[Machine]:
    """The machine without any HHVM, before and after."""
    yield machine
    machine.machine.run(REMOVE)


def test_the_packages_are_those_that_the_control_file_declares(built: Built) -> None:
    for version in VERSIONS[built.suite]:
        package = "hhvm-nightly" if version == NIGHTLY else "hhvm"
        names = {Path(file).name.partition("_")[0] for file in built.packages(version, package)}
        assert names == {package, f"{package}-dbg", f"{package}-dev"}


def test_the_build_dependencies_of_hhvm_itself_resolve(built: Built, machine: Machine) -> None:
    source = f"/packages/hhvm_{RELEASE}-1~{built.suite}.dsc"
    profiles = f"--build-profiles {built.profiles}" if built.profiles else ""
    said = machine.machine.run(f"apt_get build-dep --simulate {profiles} {source}")
    installed = set(re.findall(r"^Inst (\S+)", said, re.MULTILINE))
    assert {"cmake", "libboost-all-dev", "libicu-dev", "re2c", "zlib1g-dev"} <= installed


def test_on_trixie_they_do_not_without_the_profiles_of_the_distribution(machine: Machine) -> None:
    if not machine.built.profiles:
        pytest.skip("this distribution needs no build profile")
    source = f"/packages/hhvm_{RELEASE}-1~{machine.built.suite}.dsc"
    done = machine.machine.try_to(f"apt_get build-dep --simulate {source}")
    assert done.returncode != 0
    assert "libpcre3-dev" in done.stdout
    assert "libc-client" in done.stdout


def test_lintian_finds_nothing_to_warn_of(built: Built) -> None:
    if built.suite != "bookworm":
        pytest.skip("one lintian is enough: its verdicts differ from version to version")
    built.builder.run(
        f"apt_get install lintian\n"
        # The miniature is dated 2018, which is before the Debian Policy that it follows.
        "lintian --allow-root --profile debian --suppress-tags timewarp-standards-version "
        "--fail-on error,warning "
        f"/var/out/hhvm_{NEXT}-*.changes /var/out/hhvm-nightly_*.changes"
    )


def test_an_extension_compiles_with_hhvm_dev(built: Built) -> None:
    packages = " ".join(built.packages(NEXT)).replace("/packages/", "/var/out/")
    built.builder.run(
        f"apt_get install {packages}\n"
        "cd $(mktemp -d)\n"
        "echo 'hhvm_extension(sample sample.cpp)' >config.cmake\n"
        "printf '#include \"hphp/runtime/version.h\"\\nconst char* version = HHVM_VERSION;\\n' >sample.cpp\n"
        f"/opt/hhvm/{NEXT}/bin/hphpize\n"
        "cmake . && make\n"
        f"strings sample.so | grep -Fx {NEXT}"
    )


def test_hhvm_dbg_has_the_symbols_of_hhvm(built: Built) -> None:
    said = built.builder.run(
        "cd $(mktemp -d)\n"
        "for package in hhvm hhvm-dbg; do\n"
        f"  dpkg-deb --extract /var/out/${{package}}_{RELEASE}-1~{built.suite}_amd64.deb .\n"
        "done\n"
        f"readelf --notes opt/hhvm/{RELEASE}/bin/hhvm\n"
        "find usr/lib/debug -name '*.debug' -size +0"
    )
    (build_id,) = re.findall(r"Build ID: ([0-9a-f]+)", said)
    assert f"usr/lib/debug/.build-id/{build_id[:2]}/{build_id[2:]}.debug" in said


def test_the_service_answers_a_web_server_and_logs_where_it_should(clean: Machine) -> None:
    clean.install(*clean.built.packages(RELEASE))
    clean.start_service()
    assert "Hello\n" in clean.ask("/var/www/hello.hack")
    assert clean.machine.run("stat -c %U /proc/$(cat /run/hhvm/pid)").strip() == "www-data"
    assert "listening on 127.0.0.1:9000" in clean.machine.run("cat /var/log/hhvm/error.log")
    assert clean.machine.run("stat -c '%U %a' /var/lib/hhvm/sessions").strip() == "root 1733"


def test_the_service_is_enabled(clean: Machine) -> None:
    clean.install(*clean.built.packages(RELEASE))
    assert "hhvm.service" in clean.machine.run("ls /etc/systemd/system/multi-user.target.wants")


def test_the_unit_is_valid(built: Built) -> None:
    built.builder.run(
        f"apt_get install systemd /var/out/hhvm_{NEXT}-1~{built.suite}_amd64.deb\n"
        # The images are without manual pages.
        "systemd-analyze verify --man=no hhvm.service"
    )


def test_an_upgrade_keeps_what_an_administrator_changed(clean: Machine) -> None:
    clean.install(*clean.built.packages(RELEASE))
    clean.machine.run(
        "sed -i 's/^hhvm.server.port = .*/hhvm.server.port = 9001/' /etc/hhvm/server.ini\n"
        "chown root:adm /var/log/hhvm; chmod 0775 /var/log/hhvm\n"
        "chgrp www-data /var/log/hhvm"
    )
    clean.start_service(9001)
    clean.install(*clean.built.packages(NEXT))
    clean.stop_service()
    clean.start_service(9001)
    assert "Hello\n" in clean.ask("/var/www/hello.hack", 9001)
    assert NEXT in clean.machine.run("hhvm --version; readlink -f /usr/bin/hh_client")
    assert clean.machine.run("stat -c '%U %G %a' /var/log/hhvm").strip() == "root www-data 775"
    assert RELEASE not in clean.machine.run("ls /opt/hhvm")


def test_an_upgrade_from_the_old_packaging_keeps_the_settings_and_drops_the_init_script(
    clean: Machine,
) -> None:
    clean.machine.run(OLD)
    clean.machine.run("""echo 'ADDITIONAL_ARGS="-d hhvm.server.port=9001"' >/etc/default/hhvm""")
    packages = " ".join(clean.built.packages(RELEASE))
    clean.machine.run(f"apt_get install -o Dpkg::Options::=--force-confold {packages}")
    clean.start_service(9001)
    assert "Hello\n" in clean.ask("/var/www/hello.hack", 9001)
    clean.stop_service()
    clean.machine.run("test ! -e /etc/init.d/hhvm")
    assert "0.9.0" not in clean.machine.run("update-alternatives --display hhvm")
    clean.machine.run("apt_get purge hhvm hhvm-dev hhvm-dbg")
    assert clean.files() == clean.before


def test_a_downgrade_gives_the_older_version(clean: Machine) -> None:
    clean.install(*clean.built.packages(NEXT))
    clean.install(*clean.built.packages(RELEASE))
    assert RELEASE in clean.machine.run("hhvm --version; readlink -f /usr/bin/hh_client")


def test_after_a_purge_nothing_is_left(clean: Machine) -> None:
    clean.install(*clean.built.packages(RELEASE))
    clean.start_service()
    clean.ask("/var/www/hello.hack")
    clean.install(*clean.built.packages(NEXT))
    clean.stop_service()
    clean.machine.run("apt_get purge hhvm hhvm-dev hhvm-dbg")
    assert clean.files() == clean.before


def test_purging_the_release_leaves_the_nightly_that_replaced_it_whole(clean: Machine) -> None:
    if NIGHTLY not in VERSIONS[clean.built.suite]:
        pytest.skip("no nightly is built for this distribution")
    clean.install(*clean.built.packages(RELEASE))
    clean.machine.run("echo hhvm.server.port = 9001 >>/etc/hhvm/server.ini")
    clean.install(*clean.built.packages(NIGHTLY, "hhvm-nightly"))
    clean.machine.run("dpkg --purge hhvm hhvm-dev hhvm-dbg")
    clean.start_service(9001)
    assert "Hello\n" in clean.ask("/var/www/hello.hack", 9001)
    assert "hhvm.service" in clean.machine.run("ls /etc/systemd/system/multi-user.target.wants")
    clean.stop_service()
    clean.machine.run("dpkg --purge hhvm-nightly-dev hhvm-nightly-dbg hhvm-nightly")
    assert clean.files() == clean.before
