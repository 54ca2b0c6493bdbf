"""bin/make-source-tarball: the same commit gives the same bytes, whole or not at all, from allowed places."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hhvm_packaging.planning import source_tarball
from hhvm_packaging.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

ROOT = Path(__file__).resolve().parents[2]
VERSION_H = "hphp/runtime/version.h"
WHO = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "a"), ("EMAIL", "a@example.com"), ("DATE", "2026-09-29T00:00:00Z"))
}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n".format("0" * 64)


def git(repository: Path, *arguments: str) -> str:
    """What git says of a repository, without anybody's settings."""
    return subprocess.run(
        ["git", "-C", repository, "-c", "protocol.file.allow=always", *arguments],
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"} | WHO,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def make_repository(path: Path, files: dict[str, str | bytes], **submodules: str) -> Path:
    """A repository with these files and submodules, by path and URL, in one commit."""
    path.mkdir(parents=True)
    git(path, "init", "--quiet", "--initial-branch=master")
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    git(path, "add", "--all", "--force")
    for name, url in submodules.items():
        add_submodule(path, name, url)
    git(path, "commit", "--quiet", "--allow-empty", "-m", "All of it")
    return path


def add_submodule(path: Path, name: str, url: str) -> None:
    """Declare a submodule. Its commit is that of the repository beside ``path`` of the same name."""
    git(path, "config", "--file", ".gitmodules", f"submodule.{name}.path", name)
    git(path, "config", "--file", ".gitmodules", f"submodule.{name}.url", url)
    beside = path.parent / name
    commit = git(beside, "rev-parse", "HEAD") if beside.exists() else "1" * 40
    git(path, "add", ".gitmodules")
    git(path, "update-index", "--add", "--cacheinfo", f"160000,{commit},{name}")


def version_h(major: object, minor: object, patch: object, suffix: str = '""') -> str:
    """As upstream writes it: numbers, which the program pads when it prints them."""
    return f"""#pragma once
#ifndef HHVM_VERSION_OVERRIDE
# define HHVM_VERSION_MAJOR {major}
# define HHVM_VERSION_MINOR {minor}
# define HHVM_VERSION_PATCH {patch}
# define HHVM_VERSION_SUFFIX {suffix}
#endif
#define HHVM_VERSION_ID (HHVM_VERSION_BRANCH | HHVM_VERSION_PATCH)
"""


def make(
    out: Path, repository: object, version: str = "26.09.29", **env: str
) -> subprocess.CompletedProcess[str]:
    """Make the tarball, with the least of an environment."""
    return subprocess.run(
        [ROOT / "bin/make-source-tarball"],
        env={"PATH": os.environ["PATH"], "VERSION": version, "SOURCE_REPOSITORY": str(repository)}
        | {"OUT": str(out)}
        | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refusal(out: Path, repository: object, **env: str) -> str:
    """Why no tarball was made. Nothing of it may be left."""
    made = make(out, repository, **env)
    assert made.returncode != 0, made.stdout
    assert not list(out.iterdir())
    return made.stderr


# The same bytes


@pytest.fixture(scope="module")
def source() -> Generator[Path]:
    """A repository that people's settings could change: attributes, modes, links, odd names, submodules."""
    with tempfile.TemporaryDirectory(prefix="hhvm-source-") as directory:
        root = Path(directory)
        make_repository(root / "inner", {"crlf.txt": b"a\r\nb\r\n", ".gitattributes": "*.txt text\n"})
        make_repository(root / "middle", {"file": "middle\n"}, inner="../inner")
        hhvm = make_repository(
            root / "hhvm",
            {
                VERSION_H: version_h(26, 9, 29),
                ".gitattributes": "*.txt text=auto\n*.bat text eol=crlf\nsubst export-subst\n"
                "ident ident\nignored export-ignore\n*.bin filter=evil\n*.dat filter=lfs\n",
                ".gitignore": "*.log\n",
                "kept.log": "ignored, but committed\n",
                "lines.txt": "a\nb\n",
                "run.bat": "a\nb\n",
                "subst": "$Format:%h %an$\n",
                "ident": "$Id$\n",
                "ignored": "not exported by git archive\n",
                "code.bin": "code\n",
                "real.dat": "no pointer\n",
                "a b/\u00e4\n'": "odd\n",
                "Z": "sorted by bytes\n",
                "a": "sorted by bytes\n",
                "long/" * 30 + "name": "long\n",
                "CVS/Entries": "a\n",
                "core": "a\n",
                "file~": "a\n",
                "script": "#!/bin/sh\n",
            },
        )
        (hhvm / "script").chmod(0o755)
        (hhvm / "link").symlink_to("a")
        git(hhvm, "add", "--all")
        add_submodule(hhvm, "middle", "../middle")
        git(hhvm, "config", "--file", ".gitmodules", "submodule.middle.update", "none")
        git(hhvm, "config", "--file", ".gitmodules", "submodule.middle.shallow", "true")
        git(hhvm, "add", ".gitmodules")
        git(hhvm, "commit", "--quiet", "-m", "More of it")
        git(hhvm, "tag", "HHVM-26.09.29")
        yield hhvm


@dataclass
class Caller:
    """Who makes the tarball."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    config: list[tuple[str, str]] = field(default_factory=list)
    umask: int = 0o022
    out_mode: int = 0o755
    options: list[str] = field(default_factory=list)
    """Of the shell that calls."""


def _set(**env: str) -> Callable[[Caller], None]:
    return lambda caller: caller.env.update(env)


def _config(*settings: tuple[str, str]) -> Callable[[Caller], None]:
    return lambda caller: caller.config.extend(settings)


def _other_repository(caller: Caller) -> None:
    other = make_repository(caller.home / "other", {"file": "other\n"})
    caller.env |= {
        "GIT_DIR": f"{other}/.git",
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": f"{other}/.git/index",
        "GIT_OBJECT_DIRECTORY": f"{other}/.git/objects",
        "GIT_COMMON_DIR": f"{other}/.git",
        "GIT_PREFIX": "sub/",
    }


def _write(path: Path, content: str, mode: int = 0o644) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return str(path)


def _hooks(caller: Caller) -> None:
    template = caller.home / "template"
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        _write(template / "hooks" / name, "#!/bin/sh\necho hooked >hooked\n", 0o755)
    _write(template / "info/attributes", "* eol=crlf\n*.txt filter=evil\n")
    _write(template / "info/sparse-checkout", "/a\n")
    caller.config += [("init.templateDir", str(template)), ("core.hooksPath", f"{template}/hooks")]
    caller.env["GIT_TEMPLATE_DIR"] = str(template)


def _attributes(caller: Caller) -> None:
    mine = _write(caller.home / ".config/git/attributes", "* text eol=crlf filter=evil\n")
    caller.config.append(("core.attributesFile", mine))


def _environment_config(caller: Caller) -> None:
    wanted = [("core.autocrlf", "true"), ("core.abbrev", "4"), ("filter.evil.smudge", "tr a-z A-Z")]
    for number, (name, value) in enumerate(wanted):
        caller.env |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    caller.env["GIT_CONFIG_COUNT"] = str(len(wanted))
    caller.env["GIT_CONFIG_PARAMETERS"] = "'core.eol'='crlf'"


def _exported_functions(caller: Caller) -> None:
    caller.options += ["git() { echo hostile; }", "tar() { echo hostile; }", "export -f git tar"]


HOSTILE: dict[str, Callable[[Caller], None]] = {
    "another repository": _other_repository,
    "hooks and templates": _hooks,
    "attributes": _attributes,
    "settings in the environment": _environment_config,
    "exported functions": _exported_functions,
    "line ends": _config(("core.autocrlf", "true"), ("core.eol", "crlf"), ("core.safecrlf", "true")),
    "modes": _config(("core.fileMode", "false"), ("core.symlinks", "false"), ("core.ignoreCase", "true")),
    "filters": _config(
        ("filter.evil.smudge", "tr a-z A-Z"),
        ("filter.evil.required", "true"),
        ("filter.lfs.smudge", "false"),
        ("filter.lfs.required", "true"),
    ),
    "what git prints": _config(
        ("core.abbrev", "4"),
        ("log.showSignature", "true"),
        ("format.pretty", "raw"),
        ("log.date", "relative"),
        ("color.ui", "always"),
        ("core.pager", "false"),
        ("core.quotePath", "false"),
    ),
    "names": _config(("clone.defaultRemoteName", "upstream"), ("init.defaultBranch", "trunk")),
    "submodules": _config(
        ("submodule.recurse", "true"),
        ("submodule.active", "none"),
        ("submodule.middle.update", "none"),
        ("fetch.recurseSubmodules", "true"),
        ("protocol.allow", "never"),
    ),
    "transfers": _config(
        ("remote.origin.tagOpt", "--no-tags"),
        ("core.sparseCheckout", "true"),
        ("transfer.fsckObjects", "true"),
        ("fetch.prune", "true"),
        ("core.fsmonitor", "true"),
        ("extensions.worktreeConfig", "true"),
    ),
    "broken settings": lambda _: None,  # see make_as
    "tar": _set(TAR_OPTIONS="--exclude-vcs --xz", TAPE="/dev/full", SIMPLE_BACKUP_SUFFIX="x"),
    "compressors": _set(GZIP="-1", XZ_OPT="-0", XZ_DEFAULTS="-0", PIGZ="-1"),
    "locale": _set(LC_ALL="en_US.UTF-8", LANG="tr_TR.UTF-8", LC_COLLATE="de_DE.UTF-8", LANGUAGE="de"),
    "time": _set(TZ="America/New_York", SOURCE_DATE_EPOCH="1", GIT_COMMITTER_DATE="1 +0000"),
    "shell": _set(CDPATH="/:.", POSIXLY_CORRECT="1", IFS="/", GLOBIGNORE="*", BASH_ENV="", ENV="/dev/null"),
    "grep and find": _set(GREP_OPTIONS="-v", GREP_COLORS="mt=1", LS_COLORS="x", FINDOPTS="-L"),
    "tracing": _set(GIT_TRACE="1", GIT_TRACE2="1", GIT_CURL_VERBOSE="1", GIT_FLUSH="1"),
    "pathspecs": _set(GIT_LITERAL_PATHSPECS="1", GIT_ICASE_PATHSPECS="1", GIT_NAMESPACE="elsewhere"),
    "mark of a cleaned process": _set(HHVM_CLEANED_PROCESS="1"),
    "no home": lambda caller: caller.env.update(HOME="/nonexistent", XDG_CONFIG_HOME="/nonexistent"),
    "strict umask": lambda caller: setattr(caller, "umask", 0o077),
    "loose umask": lambda caller: setattr(caller, "umask", 0o000),
    "a shared directory": lambda caller: setattr(caller, "out_mode", 0o2775),
}

NO_SETTINGS = {"no home", "broken settings"}
"""With these, git would read none of the others' settings."""


def make_as(source: Path, hostile: list[str]) -> str:
    """The SHA-256 of the tarball that a caller with all of these makes."""
    with tempfile.TemporaryDirectory(prefix="hhvm-caller-") as directory:
        caller = Caller(home := Path(directory))
        caller.env = {"HOME": str(home), "XDG_CONFIG_HOME": f"{home}/.config"}
        for name in hostile:
            HOSTILE[name](caller)
        for name, value in caller.config:
            subprocess.run(["git", "config", "--file", home / ".gitconfig", name, value], check=True)
        if "broken settings" in hostile:
            with (home / ".gitconfig").open("a") as file:
                file.write("[broken\n")
        out = home / "out"
        out.mkdir()
        out.chmod(caller.out_mode)
        script = [*caller.options, f"exec {ROOT}/bin/make-source-tarball"]
        made = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=home,
            env={"PATH": os.environ["PATH"], "VERSION": "26.09.29", "SOURCE_REPOSITORY": str(source)}
            | {"OUT": "out"}
            | caller.env,
            umask=caller.umask,
            capture_output=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr.decode()
        assert not (home / "hooked").exists()
        return hashlib.sha256((out / "hhvm-26.09.29.tar.gz").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def usual(source: Path) -> str:
    """What somebody without any settings makes."""
    return make_as(source, [])


@given(hostile=st.lists(st.sampled_from(sorted(HOSTILE)), unique=True, min_size=1, max_size=8))
@example(hostile=sorted(HOSTILE.keys() - NO_SETTINGS))
@example(hostile=["broken settings", "another repository"])
@example(hostile=["no home", "strict umask"])
@settings(max_examples=4, deadline=None)
def test_the_same_commit_gives_the_same_bytes_whoever_asks(
    source: Path, usual: str, hostile: list[str]
) -> None:
    assert make_as(source, hostile) == usual


def test_the_tarball_holds_each_committed_file_as_it_was_committed(source: Path, tmp_path: Path) -> None:
    make(tmp_path, source)
    with tarfile.open(tmp_path / "hhvm-26.09.29.tar.gz") as tarball:
        names = {name.removeprefix("hhvm-26.09.29/") for name in tarball.getnames()}
        modes = {(member.isdir(), member.mode) for member in tarball if not member.issym()}

        def content(name: str) -> bytes:
            member = tarball.extractfile(f"hhvm-26.09.29/{name}")
            assert member is not None
            return member.read()

        committed = git(source, "ls-files", "-z").split("\0")
        assert {name for name in committed if name and name != "middle"} <= names
        assert content("subst") == b"$Format:%h %an$\n"
        assert content("lines.txt") == b"a\nb\n"
        assert content("code.bin") == b"code\n"
        # The settings of its own attributes hold, wherever it is made.
        assert content("run.bat") == b"a\r\nb\r\n"
        # Although .gitmodules says that nobody needs it.
        assert content("middle/inner/crlf.txt")
    assert modes == {(True, 0o755), (False, 0o644), (False, 0o755)}


# The version


@pytest.mark.parametrize(
    ("tag", "typed", "header"),
    [
        ("26.09.29", "26.9.29", version_h(26, 9, 29)),
        ("26.9.29", "26.09.29", version_h(26, 9, 29)),
        ("26.09.05", "26.9.5", version_h(26, "09", "05")),
        ("4.172.1", "4.172.01", version_h(4, 172, 1, '"" // none')),
        ("4.172.1", "4.172.1", version_h(4, 172, 1).replace("\n", "\r\n")),
    ],
)
def test_a_release_is_named_as_its_tag_and_compared_with_version_h_by_numbers(
    tmp_path: Path, tag: str, typed: str, header: str
) -> None:
    repository = make_repository(tmp_path / "hhvm", {VERSION_H: header})
    git(repository, "tag", f"HHVM-{tag}")
    made = make(tmp_path / "out", repository, typed)
    assert made.returncode == 0, made.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"hhvm-{tag}.tar.gz"]
    assert (f"{typed} is the release {tag}, by its tag" in made.stderr) == (tag != typed)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (version_h(26, 9, 28), "26.9.28"),
        (version_h(26, 9, 29, '"-dev"'), "26.9.29-dev"),
        (version_h(26, 92, 9), "26.92.9"),
        ("", ".."),
    ],
)
def test_another_version_in_version_h_is_refused(tmp_path: Path, header: str, says: str) -> None:
    repository = make_repository(tmp_path / "hhvm", {VERSION_H: header})
    git(repository, "tag", "HHVM-26.09.29")
    assert f"at HHVM-26.09.29 says '{says}', not '26.09.29'" in refusal(tmp_path / "out", repository)


def test_two_tags_of_one_release_are_refused_with_both(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "hhvm", {VERSION_H: version_h(26, 9, 29)})
    git(repository, "tag", "HHVM-26.09.29")
    git(repository, "tag", "HHVM-26.9.29")
    said = refusal(tmp_path / "out", repository)
    assert "HHVM-26.09.29 and HHVM-26.9.29 in" in said
    assert "are tags of one release; delete one of them there" in said


# What is kept elsewhere


def make_nightly(out: Path, repository: object, **env: str) -> subprocess.CompletedProcess[str]:
    return make(out, repository, "2018.06.12", **env)


def test_lfs_pointers_are_refused_with_the_names_of_the_files(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"data/{number:02}.bin": POINTER for number in range(9)}
    files |= {"a b'c.bin": POINTER, "about.md": f"Of LFS:\n\n{POINTER}", "sub/last": POINTER}
    files["windows.bin"] = POINTER.replace("\n", "\r\n")
    make_repository(tmp_path / "third-party", {"in-a-submodule.so": POINTER})
    repository = make_repository(tmp_path / "hhvm", files)
    add_submodule(repository, "third-party", "../third-party")
    git(repository, "commit", "--quiet", "-m", "With a submodule")
    said = refusal(tmp_path / "out", repository, VERSION="2018.06.12")
    assert "has Git LFS pointers in place of files: a\\ b\\'c.bin data/00.bin " in said
    assert "and 3 more - commit the files themselves" in said
    assert "about.md" not in said


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x.git",
        "https://github.com@evil.example/x.git",
        "https://github.com:pass@evil.example/x.git",
        "https://github.com.evil.example/x.git",
        "https://evil.example#@github.com/x.git",
        "https://evil.example?@github.com/x.git",
        "https://evil.example\\@github.com/x.git",
        "git@evil.example:github.com/x.git",
        "ssh://evil.example/github.com/x.git",
        "evil.example:x.git",
        "ext::sh -c id% github.com",
        "file:///etc",
        "file://github.com/x",
        "/etc",
        "fd::17",
    ],
)
def test_a_submodule_from_elsewhere_is_refused_with_its_name_and_url(tmp_path: Path, url: str) -> None:
    repository = make_repository(tmp_path / "hhvm", {})
    add_submodule(repository, "folly", url)
    git(repository, "commit", "--quiet", "-m", "With a submodule")
    said = refusal(tmp_path / "out", repository, VERSION="2018.06.12")
    assert f"the submodule folly comes from {url}, which is none of the places" in said
    assert "SUBMODULE_HOSTS" in said


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("http://github.com/x.git", "transport 'http' not allowed"),
        ("git://github.com/x.git", "transport 'git' not allowed"),
        ("ftp://github.com/x.git", "transport 'ftp' not allowed"),
    ],
)
def test_a_submodule_of_an_allowed_host_needs_a_transport_that_is_safe(
    tmp_path: Path, url: str, refused: str
) -> None:
    repository = make_repository(tmp_path / "hhvm", {})
    add_submodule(repository, "folly", url)
    git(repository, "commit", "--quiet", "-m", "With a submodule")
    assert refused in refusal(tmp_path / "out", repository, VERSION="2018.06.12")


def test_a_submodule_of_a_submodule_is_refused_with_its_superproject(tmp_path: Path) -> None:
    make_repository(tmp_path / "middle", {})
    add_submodule(tmp_path / "middle", "inner", "https://evil.example/x.git")
    git(tmp_path / "middle", "commit", "--quiet", "-m", "With a submodule")
    repository = make_repository(tmp_path / "hhvm", {}, middle="../middle")
    said = refusal(tmp_path / "out", repository, VERSION="2018.06.12")
    assert ", middle: the submodule inner comes from https://evil.example/x.git" in said


def test_a_submodule_that_nobody_declares_is_refused_with_its_path(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "hhvm", {"file": "a\n"})
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},third-party/folly")
    git(repository, "commit", "--quiet", "-m", "Without .gitmodules")
    said = refusal(tmp_path / "out", repository, VERSION="2018.06.12")
    assert "third-party/folly" in said
    assert "cannot read its submodules; see git's message above" in said


def test_a_local_submodule_needs_a_relative_url_or_an_allowed_directory(tmp_path: Path) -> None:
    make_repository(tmp_path / "elsewhere/third-party", {"file": "a\n"})
    shutil.copytree(tmp_path / "elsewhere/third-party", tmp_path / "third-party")
    repository = make_repository(tmp_path / "hhvm", {})
    add_submodule(repository, "third-party", f"{tmp_path}/elsewhere/third-party")
    git(repository, "commit", "--quiet", "-m", "With a submodule")
    for places in ("", f"{tmp_path}/else", f"{tmp_path}/third-party", "github.com"):
        assert "the submodule third-party comes from" in refusal(
            tmp_path / "out", repository, VERSION="2018.06.12", SUBMODULE_HOSTS=places
        )
    made = make_nightly(tmp_path / "out", repository, SUBMODULE_HOSTS=f"github.com {tmp_path}/elsewhere/")
    assert made.returncode == 0, made.stderr


def test_the_callers_way_by_ssh_is_kept(source: Path, tmp_path: Path) -> None:
    ssh = _write(tmp_path / "way", '#!/bin/sh\nshift\nexec sh -c "$*"\n', 0o755)
    _write(tmp_path / ".gitconfig", f"[core]\n\tsshCommand = {ssh}\n")
    made = make(tmp_path / "out", f"git@staging.example:{source}", HOME=str(tmp_path))
    assert made.returncode == 0, made.stderr
    made = make(tmp_path / "again", f"ssh://staging.example{source}", GIT_SSH_COMMAND=ssh)
    assert made.returncode == 0, made.stderr
    made = make(tmp_path / "none", f"git@staging.example:{source}")
    assert made.returncode != 0


def test_a_source_of_another_transport_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    said = refusal(tmp_path / "out", f"ext::sh -c 'touch {tmp_path}/hostile'", VERSION="2018.06.12")
    assert "transport 'ext' not allowed" in said
    assert not (tmp_path / "hostile").exists()


@pytest.mark.parametrize(
    ("named", "hosts"),
    [
        ({}, "https://github.com/facebook/hhvm.git git@github.com:hhvm/hhvm-staging.git"),
        ({"staging_repository": "/srv/git/staging.git"}, "https://github.com/facebook/hhvm.git"),
        ({"submodule_hosts": ["github.com", "/srv/git"]}, "github.com /srv/git"),
    ],
)
def test_submodules_may_come_from_where_the_settings_say(named: dict[str, Any], hosts: str) -> None:
    assert source_tarball.submodule_hosts(Settings(**named)) == hosts


@pytest.mark.parametrize("place", ["https://github.com", "GitHub.com", "git@github.com", "a b", "", "-x"])
def test_what_is_no_place_of_submodules_is_refused(place: str) -> None:
    with pytest.raises(ValidationError):
        Settings(submodule_hosts=[place])
