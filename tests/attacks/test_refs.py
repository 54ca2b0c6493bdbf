"""A ref is data: which commits may be used, and that nothing of them runs outside the build container."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.planning import packaging_files
from hhvm_packaging.planning.packaging_files import UnknownRef
from hhvm_packaging.planning.request import Refused, Request
from hhvm_packaging.settings import PACKAGING_REFS, Settings
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DAY = datetime.date(2026, 11, 28)
ANY = ("HEAD", "refs/heads/*", "refs/tags/*")


def git(root: Path, *arguments: str, **variables: str) -> str:
    """What git prints in ``root``."""
    command = ["git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **variables}
    )
    return done.stdout.strip()


def commit(root: Path, message: str, *options: str, **variables: str) -> str:
    git(root, "commit", "--quiet", "--allow-empty", "--message", message, *options, **variables)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """The project's repository: main, a branch of a series, a tag, a topic, and a pull request."""
    origin = tmp_path / "origin"
    for part in ("bin", "distros"):
        (origin / part).mkdir(parents=True)
        (origin / part / "a-file").write_text(part)
    git(origin, "init", "--quiet", "--initial-branch=main")
    # As at GitHub: whoever knows a commit gets it, whatever has it.
    git(origin, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(origin, "add", ".")
    commit(origin, "first")
    git(origin, "branch", "HHVM-1.0")
    for branch in ("topic", "proposed"):
        git(origin, "checkout", "--quiet", "-b", branch, "main")
        commit(origin, branch)
    git(origin, "update-ref", "refs/pull/7/head", "proposed")
    git(origin, "checkout", "--quiet", "main")
    git(origin, "branch", "--quiet", "-D", "proposed")
    return origin


@pytest.fixture
def clone(origin: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "--quiet", str(origin), "clone")
    return tmp_path / "clone"


# Which names


@pytest.mark.parametrize(
    "ref",
    ["refs/pull/7/head", "refs/pull/7/merge", "refs/remotes/origin/topic", "refs/stash", "refs/x", "refs/"],
)
def test_other_refs_than_branches_and_tags_are_refused_by_name(clone: Path, ref: str) -> None:
    with pytest.raises(UnknownRef, match=r"^packaging_ref: .* is neither a branch nor a tag"):
        packaging_files.resolve(clone, ref, allowed=ANY)


@pytest.mark.parametrize("ref", ["refs/pull/7/head", "refs/remotes/origin/main", "refs/notes/commits"])
def test_other_refs_are_refused_by_the_form_and_before_any_task(ref: str) -> None:
    params = {"version": "1.0.0", "distros": ["debian-12-bookworm"], "packaging_ref": ref}
    with pytest.raises(
        Refused, match=r"^packaging_ref: .* Allowed: the name of a git branch or tag, or a commit"
    ):
        Request.check(params, None, known=["debian-12-bookworm"], run_date=DAY)


@pytest.mark.parametrize("kind", ["branch", "tag"])
@pytest.mark.parametrize("where", ["origin", "clone"])
def test_forty_digits_are_that_commit_though_a_branch_or_tag_is_called_so(
    origin: Path, clone: Path, kind: str, where: str
) -> None:
    first, topic = git(origin, "rev-parse", "main"), git(origin, "rev-parse", "topic")
    root = {"origin": origin, "clone": clone}[where]
    git(root, "fetch", "--quiet", str(origin), "topic")
    git(root, "update-ref", f"refs/{'heads' if kind == 'branch' else 'tags'}/{first}", topic)
    for checkout in (origin, clone):
        assert packaging_files.resolve(checkout, first).commit == first
    none = "0123abcd" * 5
    git(root, "update-ref", f"refs/{'heads' if kind == 'branch' else 'tags'}/{none}", topic)
    with pytest.raises(UnknownRef):
        packaging_files.resolve(clone, none, allowed=ANY)


# Which commits


def test_a_commit_that_only_a_pull_request_has_is_refused_with_what_is_allowed(
    origin: Path, clone: Path
) -> None:
    proposed = git(origin, "rev-parse", "refs/pull/7/head")
    for allowed in (PACKAGING_REFS, ANY):
        with pytest.raises(
            UnknownRef, match=r"is in no branch or tag that may be used\. Allowed: what HEAD, refs"
        ):
            packaging_files.resolve(clone, proposed, allowed=allowed)
    # Also once the checkout has it, by whatever way.
    git(clone, "fetch", "--quiet", "origin", "refs/pull/7/head")
    with pytest.raises(UnknownRef, match="in no branch or tag"):
        packaging_files.resolve(clone, proposed, allowed=ANY)


def test_a_branch_that_the_setting_does_not_name_is_refused_until_it_is_merged(
    origin: Path, clone: Path
) -> None:
    topic = git(origin, "rev-parse", "topic")
    for ref in ("topic", "origin/topic", "refs/heads/topic", topic, topic[:12]):
        with pytest.raises(UnknownRef, match=r"^packaging_ref: "):
            packaging_files.resolve(clone, ref)
    assert packaging_files.resolve(clone, "topic", allowed=["refs/heads/top*"]).commit == topic
    git(origin, "merge", "--quiet", "topic")
    assert packaging_files.resolve(clone, "topic").commit == topic
    assert packaging_files.resolve(clone, topic).commit == topic


def test_what_the_default_names_is_found_though_only_the_origin_has_it(origin: Path, clone: Path) -> None:
    main = commit(origin, "newer than the clone")
    git(origin, "checkout", "--quiet", "HHVM-1.0")
    series = commit(origin, "of the series")
    git(origin, "checkout", "--quiet", "topic")
    tagged = commit(origin, "to be tagged")
    git(origin, "tag", "--annotate", "--message=A tag", "a-tag")
    git(origin, "reset", "--quiet", "--hard", "HEAD^")
    git(origin, "checkout", "--quiet", "main")
    for ref, expected in (
        ("origin/main", main),
        ("HHVM-1.0", series),
        ("a-tag", tagged),
        (tagged, tagged),
        (main, main),
    ):
        assert packaging_files.resolve(clone, ref).commit == expected


def test_a_releases_own_branch_is_refused_too_if_the_setting_leaves_it_out(origin: Path, clone: Path) -> None:
    git(origin, "checkout", "--quiet", "HHVM-1.0")
    commit(origin, "of the series")
    git(origin, "checkout", "--quiet", "main")
    assert packaging_files.resolve(clone, None, "HHVM-1.0").ref == "origin refs/heads/HHVM-1.0"
    with pytest.raises(UnknownRef, match="in no branch or tag"):
        packaging_files.resolve(clone, None, "HHVM-1.0", allowed=["HEAD"])


@pytest.mark.parametrize(
    "pattern", ["", "*", "main", "refs/pull/*", "refs/*", "-x", "refs/heads/", "HEAD~1", "refs/heads/a b"]
)
def test_a_pattern_that_cannot_be_meant_is_refused_at_start(pattern: str) -> None:
    with pytest.raises(ValueError, match="packaging_refs"):
        Settings(packaging_refs=[pattern])


# Signatures


@pytest.fixture
def signing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A keyring with the public key of one person, who can sign here."""
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    for user in ("one@example.org", "other@example.org"):
        make = [
            "gpg",
            "--batch",
            "--passphrase",
            "",
            "--quick-generate-key",
            user,
            "ed25519",
            "sign",
            "never",
        ]
        subprocess.run(make, env={**os.environ, "GNUPGHOME": str(home)}, check=True, capture_output=True)
    export = ["gpg", "--armor", "--export", "one@example.org"]
    keyring = tmp_path / "signers.asc"
    keyring.write_bytes(
        subprocess.run(
            export, env={**os.environ, "GNUPGHOME": str(home)}, check=True, capture_output=True
        ).stdout
    )
    return keyring


def test_with_a_keyring_only_signed_commits_and_tags_are_used(
    origin: Path, clone: Path, signing: Path
) -> None:
    home = {"GNUPGHOME": str(signing.parent / "gpg")}
    unsigned = git(origin, "rev-parse", "main")
    git(origin, "-c", "user.signingkey=one@example.org", "tag", "--sign", "--message=A tag", "signed", **home)
    git(
        origin,
        "-c",
        "user.signingkey=other@example.org",
        "tag",
        "--sign",
        "--message=A tag",
        "foreign",
        **home,
    )
    git(origin, "tag", "--annotate", "--message=A tag", "unsigned")
    signed = commit(origin, "signed", "--gpg-sign=one@example.org", **home)
    foreign = commit(origin, "foreign", "--gpg-sign=other@example.org", **home)
    for ref in (signed, "signed", "refs/tags/signed"):
        assert packaging_files.resolve(clone, ref, keyring=signing).commit in (signed, unsigned)
    for ref in (unsigned, "foreign", "unsigned", foreign, "main", "HHVM-1.0"):
        with pytest.raises(
            UnknownRef, match=r"is not signed as the setting packaging_signers_file wants it: git"
        ):
            packaging_files.resolve(clone, ref, keyring=signing)


def test_a_program_that_somebody_set_for_git_does_not_say_what_is_signed(
    origin: Path, clone: Path, signing: Path, tmp_path: Path
) -> None:
    yes = tmp_path / "yes"
    yes.write_text("#!/bin/sh\necho '[GNUPG:] GOODSIG 0 x' ; exit 0\n")
    yes.chmod(0o755)
    foreign = commit(origin, "x", "--gpg-sign=other@example.org", GNUPGHOME=str(tmp_path / "gpg"))
    for name in ("gpg.program", "gpg.openpgp.program"):
        git(clone, "config", name, str(yes))
    with pytest.raises(UnknownRef, match="is not signed"):
        packaging_files.resolve(clone, foreign, keyring=signing)


# What runs


def test_the_source_tarball_is_made_by_the_deployments_script_and_not_by_the_refs(tmp_path: Path) -> None:
    ref = tmp_path / "ref"
    for part in ("bin", "distros"):
        shutil.copytree(ROOT / part, ref / part, symlinks=True)
    for script in (ref / "bin").iterdir():
        if script.is_file():
            script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (ref / "bin/lib/hhvm-packaging.sh").write_text(f"touch {tmp_path}/ran\n")
    (tmp_path / "work").mkdir()
    archive = packaging_files.pack(ref, ROOT / "jobs")
    subprocess.run(["tar", "-xz", "-C", tmp_path / "work"], input=archive, check=True)
    variables = {
        "PATH": os.environ["PATH"],
        "VERSION": "not a version",
        "COMMIT": "0" * 40,
        "SOURCE_REPOSITORY": str(tmp_path),
        "STAGING_REPOSITORY": str(tmp_path),
        "PUBLIC_REPOSITORY": str(tmp_path),
        "DISTRO": "debian-12-bookworm",
        "SOURCE_SHA256": "0" * 64,
        "PUBLIC_URL": "http://127.0.0.1:1",
        "REPOSITORY": "debian",
        "IN": str(tmp_path),
        "OUT": str(tmp_path),
    }
    for job in ("make-source-tarball", "make-binary-package", "publish-release-source"):
        script = tmp_path / "work/jobs" / job
        ran = subprocess.run([script], env=variables, capture_output=True, text=True, check=False)
        assert "VERSION not\\ a\\ version is neither a release" in ran.stderr
        assert not (tmp_path / "ran").exists(), f"{job} runs a script of the ref"
