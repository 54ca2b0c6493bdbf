"""The distributions: each is a directory under distros/ with a DOCKER_BASE, checked when it is loaded."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from hhvm_packaging import debian_names, package_claims
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.packaging_tree import DISTROS, Absent, PackagingTree, Unusable, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hhvm_packaging.release import Release

PACKAGE_SCRIPT = "bin/make-debianish-package"
"""The make-package of Debian-like distributions. It needs DISTRIBUTION, PKGVER and debian/."""

APT_SYSTEMS = ("debian", "ubuntu")
"""The systems whose packages are published: each has an apt repository of that name."""

FIRST_ARCHITECTURE = "amd64"
"""Every distribution is built for it. Its build makes what is for all architectures, too."""

DOCKER_BASE, DISTRIBUTION, PKGVER = "DOCKER_BASE", "DISTRIBUTION", "PKGVER"
BUILD_PROFILES = "BUILD_PROFILES"
"""Optional: the build profiles that the distribution needs."""
PREBUILD = "make-package.prebuild"
"""Optional: what make-debianish-package sources before it builds."""
RETIRED = "RETIRED"
"""A file that says why packages for a distribution are not built any more."""
CURRENT_TARGETS = f"{DISTROS}/CURRENT_TARGETS"
"""The distributions that are built if nobody says which: a name in each line. # begins a comment."""

# Each is an extended regular expression too: bin/lib/hhvm-packaging.sh has the same ones, and
# tests/unit/test_distro_grammar.py holds the two together.
_NAME = re.compile(r"([a-z][a-z0-9]*(-[a-z][a-z0-9]*)*)-[0-9]+(\.[0-9]+)*(-[a-z]+)?")
# [registry[:port]/]path[:tag][@digest], see https://github.com/distribution/reference.
_IMAGE = re.compile(
    r"([a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]+)?/)?"
    r"[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*"
    r"(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_CODENAME = re.compile(r"[a-z]+")
_REVISION = re.compile(r"[1-9][0-9]*~[a-z]+")
_PROFILES = re.compile(r"[a-z0-9][a-z0-9+.-]*( [a-z0-9][a-z0-9+.-]*)*")

_LONGEST_LINE = 255


class InvalidDistro(PackagingError):
    """A distribution's directory is not valid. The message names the directory, the fault and the remedy."""

    def __init__(self, name: str, fault: str) -> None:
        super().__init__(f"distros/{show(name)}: {fault}")


class InvalidTargets(PackagingError):
    """CURRENT_TARGETS cannot be read. The message says why."""


class Distro(BaseModel):
    """One distribution that HHVM is packaged for."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The directory's name: DISTRO-VERSION[-NAME], such as debian-12-bookworm. For another architecture than
    the first, with its name: debian-12-bookworm_arm64."""
    architecture: str = FIRST_ARCHITECTURE
    """What the packages run on."""
    docker_base: str
    """The image that packages are built in."""
    distribution: str = ""
    """The codename, which is also the suite's name. Empty if the directory does not say one."""
    pkgver: str = ""
    """The package revision, such as 1~bookworm. Empty if the directory does not say one."""
    files_sha256: str
    """Digest of all packaging files that the build uses."""
    dependencies_sha256: str = ""
    """Digest of the files that name the build dependencies. Empty if make-package is a script of its own."""
    claims: tuple[str, ...] = ()
    """What debian/control claims for its packages that most packages do not: see package_claims."""

    @property
    def directory(self) -> str:
        """The name of its directory under distros/."""
        return split_name(self.name)[0]

    @property
    def is_first(self) -> bool:
        """Whether its build makes the source package, too, and the packages for all architectures."""
        return self.architecture == FIRST_ARCHITECTURE

    def on(self, architecture: str) -> Distro:
        """The same distribution for an architecture."""
        name = name_on(self.directory, architecture)
        return self.model_copy(update={"name": name, "architecture": architecture})

    @property
    def repository(self) -> str:
        """The system, such as debian. For those that are published it is the name of their apt repository."""
        identity = _NAME.fullmatch(self.directory)
        return identity[1] if identity else self.name.partition("-")[0]

    @property
    def not_published(self) -> str:
        """Why packages for it are kept in scratch and not published. Empty if they are published."""
        if self.repository not in APT_SYSTEMS:
            return f"there is a publisher for {' and '.join(APT_SYSTEMS)}, but none for {self.repository}"
        if not self.distribution:
            return f"distros/{self.directory}/{DISTRIBUTION} does not name a suite"
        return ""

    def package_version(self, release: Release) -> str:
        """The full version of the release's packages; the release's own if there is no package revision."""
        return f"{release.version}-{self.pkgver}" if self.pkgver else release.version


def name_on(directory: str, architecture: str) -> str:
    """The name of a distribution for an architecture: that of its directory for the first one."""
    return directory if architecture == FIRST_ARCHITECTURE else f"{directory}_{architecture}"


def split_name(name: str) -> tuple[str, str]:
    """The directory and the architecture of a distribution's name. Directories have no underscore."""
    directory, _, architecture = name.partition("_")
    return directory, architecture or FIRST_ARCHITECTURE


def is_name(name: str) -> bool:
    """Whether a distribution's directory may be called that: DISTRO-NUMERIC_VERSION[-VERSION_NAME]."""
    return bool(_NAME.fullmatch(name))


def names(packaging: Path) -> list[str]:
    """The names of all distributions under ``packaging``/distros, invalid ones included.

    A directory without DOCKER_BASE is none: its files are shared by others.
    """
    return [name for name in PackagingTree(packaging).directories() if _is_target(packaging, name)]


def shared(packaging: Path) -> list[str]:
    """The names of the directories under ``packaging``/distros that distributions share."""
    return [name for name in PackagingTree(packaging).directories() if not _is_target(packaging, name)]


def _is_target(packaging: Path, name: str) -> bool:
    file = packaging / DISTROS / name / DOCKER_BASE
    return file.exists() or file.is_symlink()


def current_targets(packaging: Path) -> tuple[str, ...]:
    """The distributions that are built if nobody says which: those of CURRENT_TARGETS, else all.

    Retired ones are left out. What CURRENT_TARGETS names is not checked: ``load`` does. Raises InvalidTargets
    if it cannot be read, or has a line that cannot be the name of one.
    """
    tree = PackagingTree(packaging)
    try:
        text = tree.resolve(CURRENT_TARGETS).read_text("utf-8-sig")
    except Absent:
        listed = names(packaging)
    except (Unusable, OSError, UnicodeDecodeError) as error:
        raise InvalidTargets(f"{CURRENT_TARGETS} cannot be read: {error}") from error
    else:
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        listed = [line for line in dict.fromkeys(lines) if line]
        if odd := next((number for number, line in enumerate(lines, 1) if line and not is_name(line)), None):
            raise InvalidTargets(
                f"{CURRENT_TARGETS}: line {odd} is not the name of a distribution, such as debian-9-stretch"
            )
    return tuple(name for name in listed if not retirement(packaging, name))


def retirement(packaging: Path, name: str) -> str:
    """Why packages for the distribution are not built any more; empty if they are."""
    try:
        reason = PackagingTree(packaging).resolve(f"{DISTROS}/{name}/{RETIRED}").read_bytes()[:1000]
    except Absent:
        return ""
    except (Unusable, OSError) as error:
        return f"{RETIRED} cannot be read: {error}"
    words = " ".join(reason.decode(errors="replace").split())
    # A person wrote it for persons; a terminal or a page may take other characters for commands.
    return "".join(each if each.isprintable() else "?" for each in words) or f"{RETIRED} gives no reason"


def load(packaging: Path, name: str) -> Distro:
    """Read and check the distribution ``name``. Raises InvalidDistro."""
    known = names(packaging)
    if name not in known:
        if name in shared(packaging):
            raise InvalidDistro(
                name, f"it has no {DOCKER_BASE}, so it is shared material and no distribution"
            )
        raise InvalidDistro(name, f"there is no such directory. There are: {', '.join(map(show, known))}")
    if not is_name(name):
        raise InvalidDistro(
            name,
            "its name must be DISTRO-NUMERIC_VERSION[-VERSION_NAME], such as debian-9-stretch",
        )
    directory = _Directory(PackagingTree(packaging), name)
    docker_base = directory.read(DOCKER_BASE, _IMAGE, "the name of a Docker image, such as debian:stretch")
    script = directory.find("make-package")
    if not script.is_file():
        raise InvalidDistro(name, "make-package is not a file")
    if not script.stat().st_mode & 0o100:
        raise InvalidDistro(name, "make-package is not executable; run chmod +x on it")
    distribution = pkgver = dependencies = ""
    claims: tuple[str, ...] = ()
    if script == packaging / PACKAGE_SCRIPT:
        distribution, pkgver = directory.read_release()
        directory.check_profiles()
        directory.check_prebuild()
        directory.check_debian()
        claims = package_claims.declared(directory.read_debian()["control"])
        dependencies = directory.digest_dependencies()
    else:
        directory.check_start(script)
        # Its own matter, but a script of its own may use them in the same way.
        distribution, pkgver = directory.read_release_if_valid()
    return Distro(
        name=name,
        docker_base=docker_base,
        distribution=distribution,
        pkgver=pkgver,
        files_sha256=directory.digest(),
        dependencies_sha256=dependencies,
        claims=claims,
    )


def find_warnings(packaging: Path, name: str) -> list[str]:
    """What is not refused in a distribution that loads, but may not be meant, in words."""
    directory, distro = _Directory(PackagingTree(packaging), name), load(packaging, name)
    warnings = []
    version_name = name.rpartition("-")[2]
    if distro.distribution and version_name.isalpha() and version_name != distro.distribution:
        warnings.append(
            f"{DISTRIBUTION} says {distro.distribution}, but the directory is named for {version_name}: its "
            f"packages go to the suite {distro.distribution}"
        )
    hook = packaging / DISTROS / name / PREBUILD
    if hook.exists() and not hook.stat().st_mode & 0o100:
        warnings.append(f"{PREBUILD} is not executable, so it is not run")
    if directory.find("make-package") == packaging / PACKAGE_SCRIPT:
        warnings += debian_names.find_warnings(directory.read_debian())
    return warnings


class _Directory:
    """One distribution's directory."""

    def __init__(self, tree: PackagingTree, name: str) -> None:
        self.tree = tree
        self.name = name
        self.path = f"{DISTROS}/{name}"

    def find(self, file: str) -> Path:
        """The required ``file``, links followed. Raises InvalidDistro."""
        try:
            return self.tree.resolve(f"{self.path}/{file}")
        except Absent:
            raise InvalidDistro(self.name, f"the required file {file} is missing") from None
        except (Unusable, OSError) as error:
            raise InvalidDistro(self.name, f"{file} cannot be read: {error}") from error

    def read(self, file: str, grammar: re.Pattern[str], meaning: str) -> str:
        """The one line of the required ``file``. Raises InvalidDistro if it does not match."""
        found = self.find(file)
        if not found.is_file():
            raise InvalidDistro(self.name, f"{file} is not a file")
        try:
            with found.open("rb") as opened:
                content = opened.read(_LONGEST_LINE + 2)
        except OSError as error:
            raise InvalidDistro(self.name, f"{file} cannot be read: {error.strerror}") from error
        line = content.removesuffix(b"\n")
        if len(line) <= _LONGEST_LINE and line.isascii() and grammar.fullmatch(line.decode()):
            return line.decode()
        raise InvalidDistro(self.name, f"{file} must be one line with {meaning}; {_fault(content, line)}")

    def read_release(self) -> tuple[str, str]:
        """Codename and package revision. Raises InvalidDistro."""
        distribution = self.read(DISTRIBUTION, _CODENAME, "a codename in small letters, such as stretch")
        meaning = f"N~{distribution}, N a number without leading zeros"
        pkgver = self.read(PKGVER, _REVISION, meaning)
        # One that was copied from another distribution would publish one file name twice.
        if pkgver.partition("~")[2] != distribution:
            raise InvalidDistro(
                self.name,
                f"{PKGVER} must be one line with {meaning}, as {DISTRIBUTION} says; it says {pkgver}",
            )
        return distribution, pkgver

    def read_release_if_valid(self) -> tuple[str, str]:
        """Codename and package revision; each empty where make-debianish-package would refuse it."""
        distribution = ""
        try:
            distribution = self.read(DISTRIBUTION, _CODENAME, "")
            return self.read_release()
        except InvalidDistro:
            return distribution, ""

    def check_profiles(self) -> None:
        """Check the build profiles, if the directory names any. Raises InvalidDistro."""
        file = self.tree.root / self.path / BUILD_PROFILES
        if file.exists() or file.is_symlink():
            self.read(BUILD_PROFILES, _PROFILES, "build profiles, one space between two")

    def check_start(self, script: Path) -> None:
        """Check that the kernel of a container can start a make-package. Raises InvalidDistro."""
        with script.open("rb") as file:
            start = file.read(_LONGEST_LINE)
        if not start:
            raise InvalidDistro(self.name, "make-package is empty")
        if start.startswith(b"\xef\xbb\xbf#!") or re.match(rb"#![^\n]*\r\n", start):
            fault = _fault(start, start)
        elif not start.startswith(b"#!") and b"\0" not in start:
            # A shell would read it all the same, but nothing has one there.
            fault = "it does not begin with #!, such as #!/bin/bash, and is no program"
        else:
            return
        raise InvalidDistro(self.name, f"make-package cannot be started: {fault}")

    def check_prebuild(self) -> None:
        """Check that bash can read the hook, if there is one. Raises InvalidDistro."""
        hook = self.tree.root / self.path / PREBUILD
        if not (hook.exists() or hook.is_symlink()):
            return
        found = self.find(PREBUILD)
        if not found.is_file():
            raise InvalidDistro(self.name, f"{PREBUILD} is not a file")
        content = found.read_bytes()
        if content.startswith(b"\xef\xbb\xbf") or b"\r\n" in content:
            raise InvalidDistro(self.name, f"{PREBUILD} cannot be read by bash: {_fault(content, content)}")

    def check_debian(self) -> None:
        """Check what make-debianish-package needs of debian/. Raises InvalidDistro."""
        for required in ("debian/control", "debian/rules"):
            if not self.find(required).is_file():
                raise InvalidDistro(self.name, f"{required} is not a file")
        files = self.read_debian()
        if faults := debian_names.find_unreadable(files) or debian_names.find_faults(files):
            raise InvalidDistro(self.name, "; ".join(faults))

    def read_debian(self) -> dict[str, str]:
        """The files of debian/ that may name packages, by their paths in it. Raises InvalidDistro."""
        try:
            return {
                # Each byte is a character, whatever the encoding.
                name: path.read_bytes().decode("latin-1")
                for name, path in self.tree.files(f"{self.path}/debian")
                if debian_names.may_name(name)
            }
        except (Unusable, OSError) as error:
            raise InvalidDistro(self.name, str(error)) from error

    def digest_dependencies(self) -> str:
        """The digest of debian/control and BUILD_PROFILES."""
        paths = (f"{self.path}/debian/control", f"{self.path}/{BUILD_PROFILES}")
        digest = hashlib.sha256()
        for name, content, _ in _describe(self._existing(paths)):
            digest.update(f"{content} {name.rpartition('/')[2]}\n".encode())
        return digest.hexdigest()

    def digest(self) -> str:
        """The digest of its files, of the files that distributions share, and of the build's scripts."""
        digest = hashlib.sha256()
        try:
            for name, content, mode in self._contents():
                digest.update(f"{content} {mode:o} ".encode() + name.encode(errors="surrogateescape") + b"\n")
        except (Unusable, OSError) as error:
            raise InvalidDistro(self.name, str(error)) from error
        return digest.hexdigest()

    def _contents(self) -> Iterator[tuple[str, str, int]]:
        """Name, digest and executable bits of all that the digest covers."""
        yield from _describe(self.tree.files(self.path))
        for name in shared(self.tree.root):
            # As they are: a link in what is to be installed may lead to where it will be installed.
            yield from _describe_as_is(self.tree.root / DISTROS / name, f"{DISTROS}/{name}")
        beside = sorted(entry.name for entry in (self.tree.root / DISTROS).iterdir() if entry.is_file())
        yield from _describe(
            self._existing(f"{DISTROS}/{name}" for name in beside if f"{DISTROS}/{name}" != CURRENT_TARGETS)
        )
        library = sorted((self.tree.root / "bin" / "lib").glob("*"))
        yield from _describe(self._existing([PACKAGE_SCRIPT, *(f"bin/lib/{file.name}" for file in library)]))

    def _existing(self, paths: Iterable[str]) -> Iterator[tuple[str, Path]]:
        """Those of the paths that are files in the container. Other revisions may have other scripts."""
        for path in paths:
            with suppress(Unusable):
                if (file := self.tree.resolve(path)).is_file():
                    yield path, file


def _describe(files: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, str, int]]:
    for name, path in files:
        with path.open("rb") as file:
            # Executable or not, as in git: which of the other bits a checkout has, its owner's umask says.
            mode = 0o111 if path.stat().st_mode & 0o100 else 0
            yield name, hashlib.file_digest(file, "sha256").hexdigest(), mode


def _describe_as_is(directory: Path, shown: str) -> Iterator[tuple[str, str, int]]:
    for path in sorted(directory.rglob("*")):
        name = f"{shown}/{path.relative_to(directory)}"
        if path.is_symlink():
            yield name, f"-> {path.readlink()}", 0
        elif path.is_file():
            yield from _describe([(name, path)])


def _fault(content: bytes, line: bytes) -> str:
    """In words, what is wrong with a file of one line."""
    if not line:
        return "it is empty"
    if len(line) > _LONGEST_LINE:
        return "it is much longer than that"
    if b"\0" in content:
        return "it has NUL bytes"
    if content.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark: save it as UTF-8 without one"
    if b"\r" in content:
        return "it has the line ends of Windows: save it with those of Unix"
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "it is not UTF-8"
    if "\n" in text:
        return "it has several lines"
    if text != text.strip():
        return f"it has space around it: {text!a}"
    return f"it says {show(text)}"
