"""A debian/ directory of one kind is made one of the other, and nothing that is no package is renamed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hhvm_packaging import debian_names
from hhvm_packaging.debian_names import (
    NotPackaging,
    find_faults,
    find_unreadable,
    find_warnings,
    rename,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "bin/lib/debian_names.py"

RELEASE = """\
Source: hhvm
Maintainer: HHVM <hhvm@example.com>
Build-Depends: hhvm-bootstrap, debhelper-compat (= 13)
Homepage: https://hhvm.com/hhvm
Vcs-Git: https://github.com/hhvm/hhvm-dev.git

# A comment within a field's reach: hhvm
Package: hhvm
Depends: libhhvm1, lsof
Conflicts: hhvm-nightly
Description: the program hhvm
 hhvm runs Hack.

Package: hhvm-dev
Depends: hhvm (= ${binary:Version}), ${hhvm:Depends},
# hhvm-nightly
 hhvm:any, php-hhvm|hhvm(>= 4), hhvm-data,
 hhvm [amd64], hhvm <!pkg.hhvm.miniature>
Breaks: hhvm-nightly-dev (<< 4), hhvm-nightly-dbg
Description: hhvm and hhvm-nightly

Package: hhvm-dbg
Depends: hhvm

Package: libhhvm1
"""
AS_NIGHTLY = """\
Source: hhvm-nightly
Maintainer: HHVM <hhvm@example.com>
Build-Depends: hhvm-bootstrap, debhelper-compat (= 13)
Homepage: https://hhvm.com/hhvm
Vcs-Git: https://github.com/hhvm/hhvm-dev.git

# A comment within a field's reach: hhvm
Package: hhvm-nightly
Depends: libhhvm1, lsof
Conflicts: hhvm
Description: the program hhvm
 hhvm runs Hack.

Package: hhvm-nightly-dev
Depends: hhvm-nightly (= ${binary:Version}), ${hhvm:Depends},
# hhvm-nightly
 hhvm-nightly:any, php-hhvm|hhvm-nightly(>= 4), hhvm-data,
 hhvm-nightly [amd64], hhvm-nightly <!pkg.hhvm.miniature>
Breaks: hhvm-dev (<< 4), hhvm-dbg
Description: hhvm and hhvm-nightly

Package: hhvm-nightly-dbg
Depends: hhvm-nightly

Package: libhhvm1
"""


def control(kind: str) -> str:
    return f"Source: {kind}\n\n" + "\n".join(f"Package: {kind}{end}\n" for end in ("", "-dev", "-dbg"))


def renamed(kind: str, path: str, text: str) -> str:
    """What a file's text becomes in a debian/ directory that is written for ``kind``."""
    return rename({"control": control(kind), path: text})[path][1]


def test_a_releases_control_becomes_a_nightlys() -> None:
    assert rename({"control": RELEASE})["control"] == ("control", AS_NIGHTLY)


def test_a_nightlys_control_becomes_a_releases_without_the_nightlys_conflict() -> None:
    release = rename({"control": AS_NIGHTLY})["control"][1]
    expected = RELEASE.replace("Conflicts: hhvm-nightly\n", "").replace(
        "hhvm and hhvm-nightly", "hhvm and hhvm"
    )
    assert release == expected


def test_a_conflict_with_more_than_the_release_stays() -> None:
    text = control("hhvm-nightly") + "Conflicts: hhvm, php\nReplaces:\n hhvm,\n php\n"
    assert rename({"control": text})["control"][1].endswith(
        "Conflicts: hhvm-nightly, php\nReplaces:\n hhvm-nightly,\n php\n"
    )


# @ stands for the kind of version, wherever a package is named.
PACKAGES = [
    ("rules", "\tdh_strip --dbg-package=@-dbg\n"),
    ("rules", "\tdh_strip --dbgsym-migration='@-dbg (<< 4)'\n"),
    ("rules", "\tdh_install -p@ -p @-dev -N@-dbg\n"),
    ("rules", "\tdh --no-package @-dbg\n"),
    ("rules", "\tdpkg-gencontrol -p@ \\\n\t  -p@-dev\n"),
    ("rules", "\tchown www-data debian/@/var/log/hhvm\n"),
    ("rules", "\tmv $(CURDIR)/debian/@-dev $(X)\n"),
    ("rules", "debian/@.install: debian/@.install.in\n"),
    ("hhvm-dev.install", "debian/@.bug-script usr\n"),
    ("postinst", "dpkg -s @ >/dev/null && hhvm\n"),
    ("postinst", "x=$(dpkg-query -W '@' @:amd64)\n"),
    ("postinst.in", 'echo "apt-get install @-dev=1"\n'),
    ("hhvm.preinst", 'dpkg-maintscript-helper rm_conffile \\\n  /etc/hhvm/a 4~ @ -- "$1"\n'),
    ("hhvm.maintscript", "rm_conffile /etc/hhvm/a 4~ @\n"),
    ("hhvm.lintian-overrides", "@ binary: a-tag hhvm\n"),
    ("hhvm.lintian-overrides", "@: a-tag [usr/bin/hhvm]\n"),
    ("source/lintian-overrides", "@ source: a-tag\n"),
    ("hhvm.install", "a usr/share/lintian/overrides/@\n"),
    ("postinst", "cat /var/lib/dpkg/info/@.list /var/lib/dpkg/info/@-dev:amd64.md5sums\n"),
    ("hhvm.NEWS", "@ (4.172) bookworm; urgency=low\n\n  hhvm\n"),
    ("tests/smoke", "dpkg -L @ | hhvm\n"),
    ("tests/control", "Tests: hhvm\nDepends: @, x\n"),
]


@pytest.mark.parametrize(("path", "text"), PACKAGES)
def test_packages_are_renamed_both_ways(path: str, text: str) -> None:
    release, nightly = text.replace("@", "hhvm"), text.replace("@", "hhvm-nightly")
    assert renamed("hhvm", path, release) == nightly
    there = debian_names.Packages(control("hhvm")).file(path)
    assert renamed("hhvm-nightly", there, nightly) == release


NO_PACKAGES = [
    ("rules", "\tdh_installsystemd --name=hhvm\n"),
    ("rules", "\tmkdir -p hhvm debian/tmp/etc/hhvm debian/config/hhvm\n"),
    ("rules", "\tdh_auto_configure -- -DPREFIX=/opt/hhvm -DNAME=hhvm -phhvmx\n"),
    ("rules", "\tinstall debian/hhvm.1 debian/hhvm.conf debian/tmp/usr/hhvm\n"),
    ("rules", "\tcp debian/libhhvm/x debian/hhvmx/y my-debian/hhvm\n"),
    ("hhvm.install", "etc/hhvm\nusr/bin/hhvm usr/share/doc/hhvm\nopt/hhvm/*/bin/hhvm-dev\n"),
    ("hhvm.manpages", "debian/man/hhvm.1\ndebian/hhvm-dev.1\n"),
    ("postinst", "update-alternatives --install /usr/bin/hhvm hhvm /opt/hhvm/1/bin/hhvm 10\n"),
    ("postinst", "invoke-rc.d hhvm start; deb-systemd-helper enable hhvm.service\n"),
    ("postinst", ". /etc/default/hhvm\ninstall -d -o hhvm /var/run/hhvm\n"),
    ("postinst", 'dpkg --compare-versions "$2" lt 4 && adduser hhvm; hhvm\n'),
    ("postinst", "# apt-get.org/hhvm, dpkg-hhvm\n"),
    ("hhvm.maintscript", "rm_conffile /etc/init.d/hhvm\n"),
    ("hhvm.lintian-overrides", "a-tag usr/bin/hhvm\n# hhvm is fast\n"),
    ("hhvm.triggers", "interest-noawait hhvm\n"),
]


@pytest.mark.parametrize(("path", "text"), NO_PACKAGES)
def test_what_is_called_hhvm_and_is_no_package_stays(path: str, text: str) -> None:
    assert renamed("hhvm", path, text) == text


@pytest.mark.parametrize(
    ("nightly", "release"),
    [
        ("see /usr/share/doc/hhvm-nightly/README", "see /usr/share/doc/hhvm/README"),
        ("systemctl stop hhvm-nightly.service", "systemctl stop hhvm.service"),
        ("hhvm-nightly, hhvm-nightly-dev.", "hhvm, hhvm-dev."),
        ("var/log/hhvm-nightly", "var/log/hhvm"),
        ("https://dl.hhvm.com/hhvm-nightly", "https://dl.hhvm.com/hhvm-nightly"),
        ("hhvm-nightly@example.com", "hhvm-nightly@example.com"),
        ("hhvm-nightly-tools libhhvm-nightly", "hhvm-nightly-tools libhhvm-nightly"),
        ("debian/skeleton/etc/hhvm-nightly", "debian/skeleton/etc/hhvm-nightly"),
        ("debian/hhvm-nightly/etc/hhvm-nightly", "debian/hhvm/etc/hhvm"),
        ("debian/hhvm-nightly.conf etc", "debian/hhvm.conf etc"),
    ],
)
def test_the_nightlys_names_which_nothing_else_has_are_renamed_wherever_they_are_packages(
    nightly: str, release: str
) -> None:
    assert renamed("hhvm-nightly", "hhvm-nightly.install", f"{nightly}\n") == f"{release}\n"


FILES = {
    "control": "control",
    "rules": "rules",
    "postinst": "postinst",
    "hhvm.install": "hhvm-nightly.install",
    "hhvm.install.in": "hhvm-nightly.install.in",
    "hhvm-dev.install": "hhvm-nightly-dev.install",
    "hhvm-dev.dirs": "hhvm-nightly-dev.dirs",
    "hhvm.hhvm.service": "hhvm-nightly.hhvm.service",
    "hhvm@.service": "hhvm-nightly@.service",
    "hhvm.cron.d": "hhvm-nightly.cron.d",
    "hhvm.doc-base.manual": "hhvm-nightly.doc-base.manual",
    "hhvm.README.Debian": "hhvm-nightly.README.Debian",
    "hhvm.1": "hhvm.1",
    "hhvm.conf": "hhvm.conf",
    "hhvmx.install": "hhvmx.install",
    "libhhvm.install": "libhhvm.install",
    "hhvm-gdb.install": "hhvm-gdb.install",
}


def test_files_are_named_for_the_packages_that_they_are_for() -> None:
    files = {**dict.fromkeys(FILES, ""), "control": control("hhvm")}
    assert {path: new for path, (new, _) in rename(files).items()} == FILES
    back = {**dict.fromkeys(FILES.values(), ""), "control": control("hhvm-nightly")}
    assert {new: path for path, (new, _) in rename(back).items()} == FILES


RULES = [text.replace("@", "hhvm") for path, text in PACKAGES + NO_PACKAGES if path == "rules"]


@given(st.lists(st.sampled_from(RULES), max_size=8))
def test_there_and_back_again_is_the_same(lines: list[str]) -> None:
    # Of a control file, not all comes back: see above.
    files = {"control": control("hhvm"), "rules": "".join(lines), "hhvm.install": "", "hhvm.1": ""}
    there = dict(rename(files).values())
    assert dict(rename(there).values()) == files


@given(st.text("hvm-nigtlydb .:/=\\\n\"'", max_size=60))
def test_any_text_can_be_renamed_and_keeps_its_lines(text: str) -> None:
    for kind in ("hhvm", "hhvm-nightly"):
        assert renamed(kind, "postinst", text).count("\n") == text.count("\n")


FOR_RELEASES, FOR_NIGHTLIES = {"control": control("hhvm")}, {"control": control("hhvm-nightly")}
MIXES: list[tuple[dict[str, str], str]] = [
    ({"control": "Source: php\n"}, "has the Source 'php'; it must be hhvm, for nightlies hhvm-nightly"),
    ({"control": ""}, "has the Source ''"),
    ({"control": "Source: hhvm\n\nPackage: hhvm-dev\n"}, "does not declare the package hhvm"),
    ({"control": f"{control('hhvm')}\nPackage: hhvm-nightly-x\n"}, "declares the package hhvm-nightly-x"),
    ({"control": f"{control('hhvm-nightly')}\nPackage: hhvm-x\n"}, "declares the package hhvm-x"),
    ({"control": f"{control('hhvm-nightly')}Depends: a, hhvm (>= 4)\n"}, "a package depends on hhvm"),
    ({**FOR_NIGHTLIES, "hhvm-dev.install": ""}, "hhvm-dev.install is for the package hhvm-dev"),
    ({**FOR_RELEASES, "hhvm-nightly.dirs": ""}, "hhvm-nightly.dirs is for the package hhvm-nightly"),
    ({**FOR_NIGHTLIES, "rules": "\tdh_strip --dbg-package=hhvm-dbg\n"}, "names the package hhvm-dbg"),
    ({**FOR_NIGHTLIES, "rules": "\tchown a debian/hhvm/var\n"}, "names the package hhvm"),
    ({**FOR_RELEASES, "rules": "\tdh_install \\\n -phhvm-nightly\n"}, "names the package hhvm-nightly"),
]


@pytest.mark.parametrize(("files", "fault"), MIXES)
def test_a_mix_of_both_kinds_is_named_and_not_renamed(files: dict[str, str], fault: str) -> None:
    assert [found for found in find_faults(files) if fault in found]
    with pytest.raises(NotPackaging, match="debian/"):
        rename(files)


def test_a_file_that_is_used_by_its_path_is_no_mix() -> None:
    files = {
        "control": control("hhvm-nightly"),
        "hhvm.service": "",
        "install": "debian/hhvm.service lib/systemd\n",
    }
    assert find_faults(files) == []


def test_the_debian_directories_of_this_checkout_have_no_faults() -> None:
    for found in ROOT.glob("distros/*/debian/control"):
        names = (str(path.relative_to(found.parent)) for path in found.parent.rglob("*") if path.is_file())
        files = {
            name: (found.parent / name).read_text("latin-1") for name in names if debian_names.may_name(name)
        }
        assert find_unreadable(files) + find_faults(files) == []


WHOLE = {
    "control": "Source: hhvm\nMaintainer: A B <a@example.com>\n\nPackage: hhvm\n",
    "rules": "#!/usr/bin/make -f\n%:\n\tdh $@\n",
    "compat": "13\n",
    "source/format": "3.0 (quilt)\n",
    "tests/control": "Tests: smoke\n",
    "hhvm.install": "usr/bin/hhvm\n",
    "hhvm.postinst.in": "#!/bin/sh\n",
    "conffiles": "/etc/hhvm/php.ini\n",
}
BROKEN: dict[str, tuple[Callable[[str], str], str]] = {
    "line ends of Windows": (lambda text: text.replace("\n", "\r\n"), "has the line ends of Windows"),
    "one line end of Windows": (lambda text: text.replace("\n", "\r\n", 1), "has the line ends of Windows"),
    "a carriage return at the end": (lambda text: f"{text}\r", "has the line ends of Windows"),
    "byte order mark": (lambda text: f"\xef\xbb\xbf{text}", "begins with a byte order mark"),
    "NUL": (lambda text: f"{text}\0", "has NUL bytes"),
    "NUL in the middle": (lambda text: text.replace(" ", "\0", 1).replace("/", "\0", 1), "has NUL bytes"),
    "UTF-16": (lambda text: text.encode("utf-16").decode("latin-1"), "has NUL bytes"),
}


@pytest.mark.parametrize("path", sorted(WHOLE.keys() - {"compat"}))
@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_tools_would_misread_is_named_before_a_build(path: str, how: str) -> None:
    assert find_unreadable(WHOLE) == []
    break_it, fault = BROKEN[how]
    (said,) = find_unreadable({**WHOLE, path: break_it(WHOLE[path])})
    assert said.startswith(f"debian/{path} {fault}")


@pytest.mark.parametrize("path", ["hhvm.README.Debian", "NEWS", "copyright", "logo.png", "hhvm.conf"])
def test_what_no_tool_reads_may_have_any_bytes(path: str) -> None:
    assert find_unreadable({**WHOLE, path: "\xef\xbb\xbf\xfc\0\r\n"}) == []


@pytest.mark.parametrize(
    ("maintainer", "right"),
    [
        ("Maintainer: A <a@example.com>", True),
        ("maintainer:\tA B, C  <a@example.com> \t", True),
        ("Maintainer: J\u00fcrgen \u00c5 <a@example.com>", True),
        ("Maintainer: A", False),
        ("Maintainer: <a@example.com>", False),
        ("Maintainer: A a@example.com", False),
        ("Maintainer: A <a at example.com>", False),
        ("Maintainer: A <a@example.com>, B <b@example.com>", False),
        ("Maintainer:\n A <a@example.com>", False),
        ("XSBC-Original-Maintainer: A <a@example.com>", False),
        ("# Maintainer: A <a@example.com>", False),
        ("", False),
    ],
)
def test_the_maintainer_must_be_one_that_a_changelog_can_have(maintainer: str, *, right: bool) -> None:
    # In Latin-1 each character is a byte, as production reads it.
    control = f"Source: hhvm\n{maintainer}\nSection: web\n\nPackage: hhvm\n".encode().decode("latin-1")
    said = find_unreadable({"control": control})
    assert said == [] if right else ["must have a Maintainer of the form" in one for one in said] == [True]


def test_a_control_file_that_is_not_utf_8_is_named_with_the_line() -> None:
    control = WHOLE["control"].replace("A B", "J\xfcrgen")
    (said,) = find_unreadable({"control": control})
    assert said.startswith("debian/control is not UTF-8 (Debian policy 5.1), first in line 2")


def test_rules_that_no_kernel_can_start_are_named() -> None:
    for rules in ("", "%:\n\tdh $@\n", " #!/usr/bin/make -f\n"):
        (said,) = find_unreadable({**WHOLE, "rules": rules})
        assert said.startswith("debian/rules must begin with #!")


@pytest.mark.parametrize("odd", ["\x85", "\x0b", "\x0c", "\x1c", "\xc3\x85"])
def test_a_line_ends_where_dpkg_ends_it(odd: str) -> None:
    # Python ends one at U+0085, too, and that byte is the second half of "\u00c5" in UTF-8.
    text = f"Source: hhvm\n\nPackage: hhvm\nDepends: a\n# {odd} hhvm\n# {odd}Package: x\n"
    assert debian_names.Packages(text).declared == ["hhvm"]
    assert rename({"control": text})["control"][1] == text.replace(": hhvm\n", ": hhvm-nightly\n")


@pytest.mark.parametrize(
    ("rules", "field", "warned"),
    [
        ("\tchown www-data:www-data debian/hhvm/var/log\n", "", True),
        ("\tinstall -d -o www-data debian/hhvm/var/log\n", "", True),
        ("\tchown www-data:www-data debian/hhvm/var/log\n", "Rules-Requires-Root: no\n", True),
        ("\tchown www-data:www-data debian/hhvm/var/log\n", "Rules-Requires-Root: binary-targets\n", False),
        ("# chown is for postinst\n\tdh $@\n", "", False),
    ],
)
def test_owners_that_dpkg_would_undo_are_warned_of(rules: str, field: str, *, warned: bool) -> None:
    files = {"control": field + control("hhvm"), "rules": rules, "source/format": ""}
    assert bool(find_warnings(files)) == warned


def test_a_service_that_is_named_by_its_package_is_warned_of() -> None:
    files = {"control": control("hhvm"), "hhvm.service": "", "hhvm-dev.hhvm.timer": "", "source/format": ""}
    (warning,) = find_warnings(files)
    assert warning.startswith(
        "debian/hhvm.service is debian/hhvm-nightly.service for the other kind of version"
    )


def test_it_is_read_by_the_python_of_older_distributions() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


def run(directory: Path, kind: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", SCRIPT, directory, kind], capture_output=True, text=True, check=False
    )


def test_the_command_changes_a_directory_in_place_and_keeps_modes_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "control").write_text(WHOLE["control"].replace("hhvm", "hhvm-nightly"))
    (tmp_path / "hhvm-nightly.install").write_bytes(b"\xe9 hhvm-nightly")
    (tmp_path / "postinst").write_text("hhvm-nightly\n")
    (tmp_path / "postinst").chmod(0o755)
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches/hhvm-nightly.patch").write_text("+hhvm-nightly\n")
    (tmp_path / "logo").write_bytes(b"\0hhvm-nightly")
    for _ in range(2):
        assert run(tmp_path, "hhvm").returncode == 0
        assert (tmp_path / "hhvm.install").read_bytes() == b"\xe9 hhvm"
        assert not (tmp_path / "hhvm-nightly.install").exists()
        assert (tmp_path / "postinst").read_text() == "hhvm\n"
        assert (tmp_path / "postinst").stat().st_mode & 0o777 == 0o755
        assert (tmp_path / "patches/hhvm-nightly.patch").read_text() == "+hhvm-nightly\n"
        assert (tmp_path / "logo").read_bytes() == b"\0hhvm-nightly"


def test_the_command_says_what_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "control").write_text("Source: hhvm\r\nPackage: hhvm\r\n")
    refused = run(tmp_path, "hhvm")
    assert refused.returncode == 1
    assert "debian/control has the line ends of Windows" in refused.stderr
    (tmp_path / "control").write_text(WHOLE["control"].replace("Source: hhvm", "Source: php"))
    refused = run(tmp_path, "hhvm")
    assert refused.returncode == 1
    assert "has the Source 'php'" in refused.stderr
    assert run(tmp_path, "php").returncode == 2
