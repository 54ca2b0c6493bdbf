#!/usr/bin/env python3
"""Names of packages in a debian/ directory, and what they are for the other kind of version.

A debian/ directory is written for releases, whose packages are ``hhvm`` and ``hhvm-...``, or for nightlies,
whose packages are ``hhvm-nightly`` and ``hhvm-nightly-...``. Much else is called hhvm too: the program, its
service, /etc/hhvm. This module knows the places where a name is a package's.

It is imported as ``hhvm_packaging.debian_names``. In build containers the distribution's own Python runs it,
3.6 or newer, to make debian/ one of the kind that is built, in place::

    debian_names.py DIRECTORY hhvm|hhvm-nightly
"""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RELEASE, NIGHTLY = "hhvm", "hhvm-nightly"

# https://www.debian.org/doc/debian-policy/ch-controlfields.html#source
_NAME = r"[a-z0-9][a-z0-9+.-]*"
_RELATIONS = {
    "Pre-Depends",
    "Depends",
    "Recommends",
    "Suggests",
    "Enhances",
    "Breaks",
    "Conflicts",
    "Replaces",
    "Provides",
}
# debhelper reads hhvm.install and such for the package hhvm. Other files keep their names: hhvm.1 is the
# program's manual page. A second name may stand between: hhvm.hhvm.service.
# fmt: off
_PER_PACKAGE = {
    "NEWS", "README", "TODO", "alternatives", "bash-completion", "bug-control", "bug-presubj",
    "bug-script", "changelog", "conffiles", "config", "copyright", "cron", "default", "dirs",
    "doc-base", "docs", "emacsen-common", "emacsen-install", "emacsen-remove", "emacsen-startup",
    "examples", "gsettings-override", "if-down", "if-post-down", "if-pre-up", "if-up", "info", "init",
    "install", "links", "lintian-overrides", "logcheck", "logrotate", "maintscript", "manpages", "menu",
    "metainfo", "mime", "modprobe", "mount", "not-installed", "pam", "path", "postinst", "postrm",
    "ppp", "preinst", "prerm", "service", "sharedmimeinfo", "shlibs", "socket", "substvars", "symbols",
    "sysusers", "target", "templates", "timer", "tmpfile", "tmpfiles", "triggers", "udev", "upstart",
    "wm",
}
# fmt: on
_INSTALLED_BY_NAME = ("service", "socket", "timer", "path", "target", "mount", "init", "default", "logrotate")
_NAMES_NONE = {"changelog", "copyright", "watch", "compat", "format"}

# Where no name is a package's: addresses, and directories of debian/ with what they hold.
_ELSEWHERE = r"[a-z][a-z+]*://\S+|\S+@\S+\.\S+|(?<![A-Za-z0-9_.-])debian/[^\s\0]*"
_FIELD = re.compile(r"([!-9;-~]+):(.*)", re.DOTALL)
_RELATED = re.compile(rf"(?<![\w+.${{-]){_NAME}")
_OWN_PATH = re.compile(r"(?<![A-Za-z0-9_.-])(debian/)([A-Za-z0-9+._@-]+)")
_DEBHELPER = re.compile(r"(?:^|[\s;&|@(])(?:dh(?:_[a-z_]+)?|dpkg-[a-z]+)\s")
_OPTION = re.compile(
    r"((?:--(?:dbg-|no-|main)?package|--(?:dbgsym|ddeb)-migration)(?:=|\s+)[\"']?|(?<!\S)-[pN]\s*)"
    rf"({_NAME})"
)
_COMMAND = re.compile(
    r"(?:^|[\s;&|(`\"'*$])(?:dpkg|dpkg-(?:query|divert|reconfigure|maintscript-helper)|apt(?:-get|-cache|-mark)?)"
    r"(?=\s)(?:[^;&|\n\\]|\\.|\\\n)*"
)
# Beside the files of packages, these are read by tools. What only people read may have any bytes.
_READ = {"control", "rules", "compat", "source/format", "tests/control"}
_FOR_PEOPLE = {"NEWS", "README", "TODO", "changelog", "copyright"}
# make-debianish-package writes it into the changelog, where it has this form (deb-changelog(5)).
_MAINTAINER = re.compile(r"^Maintainer:[ \t]*[^\s<>][^<>\n]* <[^\s<>]+>[ \t]*$", re.MULTILINE | re.IGNORECASE)
# An architecture or a version may follow: hhvm:amd64, hhvm=4.172.0.
_WORD = re.compile(rf"(?<!\S)([\"']?)({_NAME})(?=[:=\s\"')`]|$)")
_AT_BEGINNING = {
    "lintian-overrides": re.compile(rf"^(\s*)({_NAME})(?=[^:\n]*:\s)"),
    "NEWS": re.compile(rf"^()({_NAME})(?= \()"),
}
_OF_WORDS = {"maintscript", "symbols", "shlibs", "bug-control"}


class NotPackaging(Exception):
    """It is no debian/ directory of ours, or not of one kind. The message says why."""


class Packages:
    """The packages that debian/control declares, and what they are called for the other kind of version."""

    def __init__(self, control: str) -> None:
        fields = _read_fields(control)
        sources = [value for name, value in fields if name == "Source"]
        self.kind = sources[0] if sources else ""
        """The kind that debian/ is written for: RELEASE or NIGHTLY."""
        if self.kind not in {RELEASE, NIGHTLY}:
            raise NotPackaging(
                f"debian/control has the Source {self.kind!a}; it must be {RELEASE}, for nightlies {NIGHTLY}"
            )
        other = NIGHTLY if self.kind == RELEASE else RELEASE
        self.declared = [value for name, value in fields if name == "Package"]
        own = [name for name in self.declared if _kind(name) == self.kind]
        self.others = {name: other + name[len(self.kind) :] for name in own}
        """By the name of each of these packages: what it is called for the other kind."""
        self.exchange = {**self.others, **{new: name for name, new in self.others.items()}}

    def owner(self, file: str) -> str:
        """The package, of either kind, that a file in debian/ is for by its name; empty if there is none."""
        for package in sorted(self.exchange, key=len, reverse=True):
            begins, _, end = file.partition(package)
            if begins or not re.match(r"@?\.", end):
                continue
            # Nothing but packages has the nightly's names.
            if _kind(package) == NIGHTLY or _PER_PACKAGE.intersection(end.split(".")):
                return package
        return ""

    def file(self, name: str) -> str:
        """What a file in debian/ is called for the other kind."""
        owner = self.owner(name)
        return self.exchange[owner] + name[len(owner) :] if owner else name


def _kind(package: str) -> str:
    """The kind of version that a package is of by its name; empty for any other package."""
    return next((kind for kind in (NIGHTLY, RELEASE) if f"{package}-".startswith(f"{kind}-")), "")


def _read_fields(control: str) -> "list[tuple[str, str]]":
    """Names and values of all fields of a control file, without comments."""
    fields = []  # type: list[tuple[str, str]]
    for line in control.split("\n"):
        found = _FIELD.match(line)
        if line[:1] in {" ", "\t"} and fields:
            fields[-1] = (fields[-1][0], f"{fields[-1][1]} {line.strip()}")
        elif found and not line.startswith("#"):
            fields.append((found.group(1).title(), found.group(2).strip()))
    return fields


def may_name(path: str) -> bool:
    """Whether a file of debian/ may name packages. What is deeper gets installed as it is, or is a patch."""
    parent, _, name = path.rpartition("/")
    return (not parent and name not in _NAMES_NONE) or parent in {"tests", "source"}


def rename(files: "dict[str, str]") -> "dict[str, tuple[str, str]]":
    """What the files of debian/ are for the other kind: by path, the new path and the new text.

    ``files`` are those for which ``may_name``. Raises NotPackaging if they are not of one kind.
    """
    faults = find_faults(files)
    if faults:
        raise NotPackaging("; ".join(faults))
    packages = Packages(files["control"])
    return {
        path: (path if "/" in path else packages.file(path), _Renamer(packages, path).rename(text))
        for path, text in files.items()
    }


class _Renamer:
    """Renames the packages in one file.

    What is renamed is marked until the end, so that nothing is renamed and then renamed back.
    """

    def __init__(self, packages: Packages, path: str) -> None:
        self.packages = packages
        self.name = path.rpartition("/")[2]
        self.suffixes = set(self.name.split("."))
        self.names = sorted(packages.exchange)
        own, all_names = _one_of(packages.others), _one_of(packages.exchange)
        self.anywhere = re.compile(rf"({_ELSEWHERE})|(?<![A-Za-z0-9+._-]){own}")
        self.named_path = re.compile(rf"((?:lintian/overrides|dpkg/info)/){all_names}")

    def rename(self, text: str) -> str:
        if "\0" in text:
            return text
        if self.name == "control":
            return self._rename_control(text)
        return "".join(self._unmark(self._rename_line(line)) for line in _logical_lines(text))

    def _mark(self, name: str) -> str:
        return f"\0{self.names.index(name)}\0" if name in self.packages.exchange else name

    def _unmark(self, text: str) -> str:
        return re.sub(r"\0([0-9]+)\0", lambda found: self.packages.exchange[self.names[int(found[1])]], text)

    def _mark_second(self, found: "re.Match[str]") -> str:
        return found[1] + self._mark(found[2])

    def _mark_path(self, found: "re.Match[str]") -> str:
        owner = self.packages.owner(found[2])
        return found[1] + (self._mark(owner) + found[2][len(owner) :] if owner else self._mark(found[2]))

    def _rename_line(self, line: str) -> str:
        line = _OWN_PATH.sub(self._mark_path, line)
        line = self.named_path.sub(self._mark_second, line)
        if _DEBHELPER.search(line):
            line = _OPTION.sub(self._mark_second, line)
        for suffix in self.suffixes.intersection(_AT_BEGINNING):
            line = _AT_BEGINNING[suffix].sub(self._mark_second, line)
        if self.suffixes & _OF_WORDS:
            line = _WORD.sub(self._mark_second, line)
        line = _COMMAND.sub(lambda found: _WORD.sub(self._mark_second, found[0]), line)
        return self._rename_anywhere(line)

    def _rename_anywhere(self, text: str) -> str:
        """Nothing but packages is called hhvm-nightly: that is renamed wherever a name can be a package's."""
        if self.packages.kind != NIGHTLY:
            return text
        return self.anywhere.sub(lambda found: found[1] or self._mark(found[2]), text)

    def _rename_control(self, control: str) -> str:
        """Exchange names in the fields that name packages: what conflicts with the other kind still does."""
        if self.packages.kind == NIGHTLY:
            # The nightly's conflict with the release is enough for both.
            control = re.sub(r"^Conflicts:[ \t]*hhvm[ \t]*\n(?![ \t])", "", control, flags=re.M | re.I)
        field, renamed = "", []
        for line in re.findall(r"[^\n]*\n|[^\n]+", control):
            begins = _FIELD.match(line)
            if line.startswith("#"):
                renamed.append(line)
                continue
            if begins:
                field = begins[1].title()
            if field in _RELATIONS | {"Source", "Package"}:
                start = len(begins[1]) if begins else 0
                line = line[:start] + _RELATED.sub(lambda found: self._mark(found[0]), line[start:])
            renamed.append(self._unmark(self._rename_anywhere(line)))
        return "".join(renamed)


def _one_of(names: "Iterable[str]") -> str:
    """A regular expression for one of the names, where it ends."""
    return rf"({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})(?![A-Za-z0-9+_-])"


def _logical_lines(text: str) -> "list[str]":
    """The lines, each with those that continue it."""
    return re.findall(r"(?:[^\n\\]|\\\n|\\[^\n])*\\?\n?", text)


def find_faults(files: "dict[str, str]") -> "list[str]":
    """What keeps a debian/ directory from being of one kind, in words."""
    if "control" not in files:
        return ["debian/control is missing"]
    try:
        packages = Packages(files["control"])
    except NotPackaging as error:
        return [str(error)]
    faults = [
        *(
            f"debian/control declares the package {name}"
            for name in packages.declared
            if _is_strange(packages, name)
        ),
        *(
            f"in debian/control, a package depends on {name}"
            for name in _find_strange_dependencies(packages, files)
        ),
        *(
            f"debian/{name} is for the package {owner}"
            for name, owner in _find_strange_files(packages, files)
        ),
        *(f"debian/rules names the package {name}" for name in _find_strange_in_rules(packages, files)),
    ]
    if packages.kind not in packages.declared:
        faults.append(f"debian/control does not declare the package {packages.kind}")
    return [f"debian/ is written for {packages.kind}, but {fault}" for fault in faults]


def _is_strange(packages: Packages, name: str) -> bool:
    """Whether the package is of the other kind."""
    return _kind(name) not in {"", packages.kind}


def _find_strange_dependencies(packages: Packages, files: "dict[str, str]") -> "list[str]":
    fields = _read_fields(files["control"])
    named = {
        found
        for name, value in fields
        if name in {"Depends", "Pre-Depends"}
        for found in _RELATED.findall(value)
    }
    return sorted(named.intersection(packages.others.values()))


def _find_strange_files(packages: Packages, files: "dict[str, str]") -> "list[tuple[str, str]]":
    """Files that debhelper would read for packages that there are not. Others may use them by their path."""
    found = [(name, packages.owner(name)) for name in files if "/" not in name]
    return [
        (name, owner)
        for name, owner in found
        if owner in packages.others.values() and not any(f"debian/{name}" in text for text in files.values())
    ]


def _find_strange_in_rules(packages: Packages, files: "dict[str, str]") -> "list[str]":
    lines = _logical_lines(files.get("rules", ""))
    named = [found[2] for line in lines for found in _OWN_PATH.finditer(line)]
    named += [found[2] for line in lines if _DEBHELPER.search(line) for found in _OPTION.finditer(line)]
    return sorted(set(named).intersection(packages.others.values()))


def find_unreadable(files: "dict[str, str]") -> "list[str]":
    """What a build fails for because its tools read a file otherwise than it is meant, in words.

    ``files`` are decoded as Latin-1, so that each character is a byte.
    """
    faults = [
        f"debian/{path} {fault}"
        for path, text in sorted(files.items())
        for fault in _find_faults_of_bytes(path, text)
    ]
    control = files.get("control", "")
    if "control" in files and not faults and not _MAINTAINER.search(control):
        faults.append("debian/control must have a Maintainer of the form Name <address>, in one line")
    return faults


def _find_faults_of_bytes(path: str, text: str) -> "Iterator[str]":
    if path not in _READ and not _PER_PACKAGE.difference(_FOR_PEOPLE).intersection(path.split(".")):
        return
    if text.startswith("\xef\xbb\xbf"):
        yield "begins with a byte order mark: save it as UTF-8 without one"
    elif "\0" in text:
        yield "has NUL bytes"
    elif re.search(r"\r$", text, re.MULTILINE):
        yield "has the line ends of Windows: save it with those of Unix"
    elif path == "rules" and not text.startswith("#!"):
        yield "must begin with #!, as in #!/usr/bin/make -f"
    elif path == "control":
        for number, line in enumerate(text.split("\n"), start=1):
            try:
                line.encode("latin-1").decode()
            except UnicodeDecodeError:
                yield f"is not UTF-8 (Debian policy 5.1), first in line {number}: save it as UTF-8"
                return


def find_warnings(files: "dict[str, str]") -> "list[str]":
    """What a build does not fail for, but what may not be meant, in words."""
    warnings = []
    control = files.get("control", "")
    root = [value for name, value in _read_fields(control) if name == "Rules-Requires-Root"]
    owners = re.compile(r"^\t.*\b(?:chown|chgrp|install\b.*\s(?:-[og]|--owner|--group))\b", re.MULTILINE)
    if owners.search(files.get("rules", "")) and root in ([], ["no"]):
        warnings.append(
            "debian/rules changes owners, which the dpkg of Debian 13 and later undoes without a word: set "
            "Rules-Requires-Root: binary-targets in debian/control, or change owners in postinst"
        )
    if "source/format" not in files:
        warnings.append(
            "debian/source/format is missing, so dpkg-source uses format 1.0: write 3.0 (quilt) into it"
        )
    try:
        packages = Packages(control)
    except NotPackaging:
        return warnings
    for package, other in packages.others.items():
        warnings += [
            f"debian/{package}.{suffix} is debian/{other}.{suffix} for the other kind of version, and what "
            "is installed from it is called so, too. If its name must stay, call the file "
            f"debian/{package}.hhvm.{suffix} and give debhelper --name=hhvm"
            for suffix in _INSTALLED_BY_NAME
            if f"{package}.{suffix}" in files
        ]
    return warnings


def main() -> int:
    """Make the debian/ directory that the command line names one of the kind that it names."""
    if len(sys.argv) != 3 or sys.argv[2] not in {RELEASE, NIGHTLY}:
        print(__doc__, file=sys.stderr)
        return 2
    directory, kind = Path(sys.argv[1]), sys.argv[2]
    paths = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    # Latin-1: each byte is a character, so that every byte stays as it is.
    files = {path: (directory / path).read_bytes().decode("latin-1") for path in paths if may_name(path)}
    try:
        faults = find_unreadable(files)
        if faults:
            raise NotPackaging("; ".join(faults))
        renamed = rename(files)
    except NotPackaging as error:
        print(f"{directory}: {error}", file=sys.stderr)
        return 1
    if Packages(files["control"]).kind != kind:
        for path, (new_path, text) in renamed.items():
            (directory / path).write_bytes(text.encode("latin-1"))
            (directory / path).rename(directory / new_path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
