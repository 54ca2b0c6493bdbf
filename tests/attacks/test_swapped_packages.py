"""Somebody who may write to scratch exchanges what was built, or what a job said of it."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging import package_claims
from hhvm_packaging.apt.change import Change
from hhvm_packaging.apt.incoming import Build, Incoming
from hhvm_packaging.apt.packages_index import PACKAGES, Packages
from hhvm_packaging.apt.pool import Unpublishable
from hhvm_packaging.package_claims import Allowed
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.publishing.candidates import Candidate, NoCandidate
from hhvm_packaging.release import Release
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers.job import Artifact
from testing.built import BOOKWORM, Bench
from testing.debs import Deb, ar, digest, tar

if TYPE_CHECKING:
    from typing import Any

    from mypy_boto3_s3 import S3Client

    from hhvm_packaging.planning.plans import PublishPlan

GOOD = Deb("1.0.0-1~bookworm")
RELEASE = Release("1.0.0", nightly=False)


@pytest.fixture(params=["rclone", "moto"])
def anywhere(request: pytest.FixtureRequest, bench: Bench) -> Bench:
    """A bench over a store that keeps what it is told of checksums, and over one that computes them."""
    if request.param == "rclone":
        return bench
    s3: S3Client = request.getfixturevalue("conditional_s3")
    there = Bench(s3, bench.signer, bench.settings)
    for bucket in (there.store.scratch, there.store.downloads):
        s3.create_bucket(Bucket=bucket.name)
    there.store.downloads.put(keys.PUBLIC_KEY, bench.signer.public_key())
    return there


def manifest(bench: Bench, plan: PublishPlan) -> PackageManifest:
    found = PackageManifest.read(bench.store, plan.release, BOOKWORM)
    assert found
    return found


def rewrite(bench: Bench, plan: PublishPlan, **fields: Any) -> None:
    """Change what the manifest says of the only package."""
    there = manifest(bench, plan)
    artifact = there.artifacts[0].model_copy(update=fields)
    there.model_copy(update={"artifacts": (artifact,)}).write(
        bench.store, plan.release, etag=PackageManifest.etag(bench.store, plan.release, BOOKWORM)
    )


def package_key(bench: Bench, plan: PublishPlan) -> str:
    there = manifest(bench, plan)
    return keys.output(there.directory, there.artifacts[0].name)


def swap(bench: Bench, plan: PublishPlan, content: bytes) -> None:
    """Put other bytes in the package's place, with metadata and a checksum that say it is the package."""
    artifact = manifest(bench, plan).artifacts[0]
    bench.store.scratch.s3.put_object(
        Bucket=bench.store.scratch.name,
        Key=package_key(bench, plan),
        Body=content,
        Metadata={"sha256": artifact.sha256},
    )


def evil(size: int) -> bytes:
    """A package of that size whose program is another one."""
    content = Deb(GOOD.version, extra="Comment: exchanged\n").content
    return content[:size].ljust(size, b"\n")


def swap_in_place(bench: Bench, plan: PublishPlan) -> None:
    swap(bench, plan, evil(manifest(bench, plan).artifacts[0].size))


def reason(bench: Bench, plan: PublishPlan) -> str:
    """Why there is no candidate for bookworm."""
    with contextlib.suppress(NoCandidate):
        bench.propose(plan)
    candidate = Candidate.read(bench.store, plan.release, BOOKWORM)
    assert candidate
    assert candidate.fault, "there is a candidate"
    return candidate.fault


def only(plan: PublishPlan) -> PublishPlan:
    """The same plan for bookworm alone."""
    return plan.model_copy(update={"distros": plan.distros[:1]})


def test_a_package_that_was_exchanged_for_one_of_the_same_size_has_no_candidate(anywhere: Bench) -> None:
    plan = anywhere.build("1.0.0")
    swap_in_place(anywhere, plan)
    assert "has other bytes" in reason(anywhere, plan)


def test_a_package_that_is_exchanged_after_the_candidate_is_not_exposed(anywhere: Bench) -> None:
    plan = only(anywhere.build("1.0.0"))
    for candidate in anywhere.propose(plan).values():
        candidate.accept(anywhere.store)
    swap_in_place(anywhere, plan)
    with pytest.raises(Unpublishable, match=r"has other bytes.*build it again"):
        anywhere.expose(plan)
    assert not [key for key in anywhere.public() if "/pool/" in key or "/dists/" in key]


def test_a_package_that_is_exchanged_between_the_check_and_the_copy_is_in_no_index(
    anywhere: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = only(anywhere.build("1.0.0"))
    for candidate in anywhere.propose(plan).values():
        candidate.accept(anywhere.store)
    s3 = anywhere.store.downloads.s3

    def exchange(**_: object) -> None:
        swap_in_place(anywhere, plan)

    s3.meta.events.register_first("before-call.s3.CopyObject", exchange)
    with pytest.raises(Unpublishable, match=r"was exchanged meanwhile\. No index names it yet\. Delete it"):
        anywhere.expose(plan)
    assert not [key for key in anywhere.public() if key.endswith("InRelease")]


FORGED = ("Essential: yes\n", "Provides: sudo\n", f"SHA512: {'0' * 128}\n", "Depends: backdoor\n")


@pytest.mark.parametrize("lie", FORGED)
def test_what_a_job_says_of_a_package_is_in_no_index(bench: Bench, lie: str) -> None:
    plan = only(bench.build("1.0.0"))
    stanza = manifest(bench, plan).artifacts[0].stanza or ""
    rewrite(bench, plan, stanza=stanza.replace("Filename:", f"{lie}Filename:", 1))
    bench.update(plan)
    index = bench.suite("bookworm").read().packages["amd64"].render().decode()
    assert lie not in index
    assert f"SHA256: {GOOD.artifact.sha256}" in index


def test_the_index_has_the_fields_of_the_package_and_its_size_and_digest(bench: Bench) -> None:
    plan = only(bench.build("1.0.0", "Depends: tzdata\nX-Odd:   spaced\n"))
    bench.update(plan)
    stanza = bench.suite("bookworm").read().packages["amd64"].stanzas[0].text
    deb = Deb(GOOD.version, extra="Depends: tzdata\nX-Odd:   spaced\n")
    assert stanza == deb.control.rstrip("\n") + (
        f"\nFilename: pool/main/h/hhvm/{deb.name}\nSize: {len(deb.content)}\nSHA256: {deb.artifact.sha256}"
    )


def test_publishing_again_corrects_what_the_index_says_falsely(bench: Bench) -> None:
    plan = only(bench.build("1.0.0"))
    bench.update(plan)
    suite = bench.suite("bookworm")
    good = suite.read()
    forged = add_to_index(bench, "Essential: yes")
    assert "Essential: yes" in forged
    candidate = bench.propose(plan)[BOOKWORM]
    assert f"described anew: hhvm {GOOD.version} amd64" in candidate.difference
    bench.update(plan)
    assert suite.read().indices == good.indices
    assert "described anew" not in bench.propose(plan)[BOOKWORM].difference


def add_to_index(bench: Bench, line: str) -> str:
    """Publish an index that says more of its package than is true, as an earlier publisher did."""
    suite = bench.suite("bookworm")
    current = suite.read()
    there = current.packages["amd64"].stanzas[0]
    forged = Packages((replace(there, text=f"{line}\n{there.text}"),))
    suite.commit(Change(current, {**current.indices, PACKAGES: forged}, frozenset(), "forge"), bench.signer)
    return suite.read().packages["amd64"].stanzas[0].text


def test_publishing_again_puts_back_what_the_pool_has_lost(bench: Bench) -> None:
    plan = only(bench.build("1.0.0"))
    bench.update(plan)
    key = f"debian/pool/main/h/hhvm/{GOOD.name}"
    bench.store.downloads.delete(key)
    bench.update(plan)
    assert bench.store.downloads.get(key) == GOOD.content


def test_publishing_again_names_a_file_of_the_pool_that_has_other_bytes(anywhere: Bench) -> None:
    plan = anywhere.build("1.0.0")
    anywhere.update(plan)
    key = f"debian/pool/main/h/hhvm/{GOOD.name}"
    other = evil(len(GOOD.content))
    anywhere.store.downloads.s3.put_object(
        Bucket=anywhere.store.downloads.name,
        Key=key,
        Body=other,
        Metadata={"sha256": GOOD.artifact.sha256},
    )
    said = reason(anywhere, plan)
    assert key in said
    assert "the file in the pool is damaged" in said


def test_two_packages_with_the_same_md5_are_not_the_same(bench: Bench) -> None:
    """An ETag is an MD5, and anybody can make two files with the same MD5."""
    plan = bench.build("1.0.0")
    swap_in_place(bench, plan)
    there = bench.store.scratch.head(package_key(bench, plan))
    assert there
    rewrite(bench, plan, md5=there.etag)
    assert "has other bytes" in reason(bench, plan)


# Packages that are not what their names say


def refusal(
    s3: S3Client, content: bytes, name: str = GOOD.name, claims: Allowed = package_claims.NONE
) -> str:
    """Why a package of that name with these bytes, as a worker reported them, is not published."""
    store = Store(s3, Settings())
    store.scratch.put("build/file", content)
    artifact = Artifact(
        name=GOOD.name,
        size=len(content),
        sha256=digest("sha256", content),
        md5=digest("md5", content),
        stanza=GOOD.artifact.stanza,
    )
    build = Build("debian", keys.pool(RELEASE), {"build/file": artifact}, {}, ["amd64"], claims)
    try:
        Incoming.read("HHVM 1.0.0, bookworm", build, store.scratch, store.downloads)
    except Unpublishable as error:
        return str(error)
    return ""


def test_a_package_that_is_what_it_should_be_is_accepted(s3: S3Client) -> None:
    assert refusal(s3, GOOD.content) == ""
    assert refusal(s3, with_control(("./", None), ("./control", CONTROL), ("./md5sums", b""))) == ""


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Deb(GOOD.version, package="sudo"), "it says Package sudo, but it is hhvm"),
        (Deb("9.0.0-1~bookworm"), "it says Version 9.0.0-1~bookworm, but it is 1.0.0-1~bookworm"),
        (Deb(GOOD.version, architecture="arm64"), "it says Architecture arm64, but it is amd64"),
    ],
    ids=str,
)
def test_a_package_must_be_what_its_name_says(s3: S3Client, other: Deb, said: str) -> None:
    assert said in refusal(s3, other.content)


def control_archive(*members: tuple[str, bytes | str | None], compress: bool = True) -> bytes:
    """A tar archive; a string is the target of a link, None is a directory."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content if isinstance(content, bytes) else b""))
    return gzip.compress(file.getvalue()) if compress else file.getvalue()


CONTROL = GOOD.control.encode()
DATA = tar({"./": None})
EVIL = GOOD.control.replace("Description", "Essential: yes\nDescription").encode()


def deb(**members: bytes) -> bytes:
    """An ar archive with these members: two underscores stand for a dot, one for a hyphen."""
    return ar({name.replace("__", ".").replace("_", "-"): content for name, content in members.items()})


def with_control(*members: tuple[str, bytes | str | None]) -> bytes:
    return deb(debian_binary=b"2.0\n", control__tar__gz=control_archive(*members), data__tar__gz=DATA)


PLAIN = control_archive(("./control", CONTROL))
SURPRISES: dict[str, tuple[bytes, str]] = {
    "no archive": (b"#!/bin/sh\n" + bytes(200), "it is no ar archive"),
    "two control files": (
        with_control(("./control", CONTROL), ("./control", EVIL)),
        "'control' twice",
    ),
    "the same file under another name": (
        with_control(("./control", CONTROL), ("control", EVIL)),
        "'control' twice",
    ),
    "a control file that is a link": (
        with_control(("./control", "/etc/passwd")),
        "'./control', which is no file",
    ),
    "a member outside": (
        with_control(("./control", CONTROL), ("../../etc/cron.d/evil", b"x")),
        "'../../etc/cron.d/evil', which is no control file's name",
    ),
    "an absolute member": (
        with_control(("./control", CONTROL), ("/etc/passwd", b"x")),
        "'/etc/passwd', which is no control file's name",
    ),
    "a directory": (with_control(("./control", CONTROL), ("./x", None)), "'./x', which is no file"),
    "a long name": (
        with_control(("./control", CONTROL), ("./" + "x" * 200, b"x")),
        "with an extended header",
    ),
    "no control file": (with_control(("./md5sums", b"")), "has no control file"),
    "a second archive behind the first": (
        deb(
            debian_binary=b"2.0\n",
            control__tar__gz=gzip.compress(
                gzip.decompress(PLAIN) + gzip.decompress(control_archive(("./control", EVIL)))
            ),
            data__tar__gz=DATA,
        ),
        "something behind byte",
    ),
    "two compressed streams": (
        deb(debian_binary=b"2.0\n", control__tar__gz=PLAIN + PLAIN, data__tar__gz=DATA),
        "bytes behind its end",
    ),
    "a cut stream": (
        deb(debian_binary=b"2.0\n", control__tar__gz=PLAIN[:-20], data__tar__gz=DATA),
        "is cut",
    ),
    "a bomb": (
        deb(
            debian_binary=b"2.0\n",
            control__tar__gz=gzip.compress(bytes(64 << 20)),
            data__tar__gz=DATA,
        ),
        "more than 16,777,216 bytes",
    ),
    "two control members": (
        deb(debian_binary=b"2.0\n", control__tar__gz=PLAIN, control__tar=b"", data__tar__gz=DATA),
        "its third member is 'control.tar', not data.tar",
    ),
    "a member behind the data": (
        deb(debian_binary=b"2.0\n", control__tar__gz=PLAIN, data__tar__gz=DATA, _gpgorigin=b"x"),
        "ends at byte",
    ),
    "data first": (
        deb(debian_binary=b"2.0\n", data__tar__gz=DATA, control__tar__gz=PLAIN),
        "its second member is 'data.tar.gz'",
    ),
    "no debian-binary": (deb(control__tar__gz=PLAIN, data__tar__gz=DATA), "its first member is"),
    "another format": (
        deb(debian_binary=b"3.0\n", control__tar__gz=PLAIN, data__tar__gz=DATA),
        "its format is",
    ),
    "control in Latin-1": (
        with_control(("./control", GOOD.control.replace("\u2013", "\u00e9").encode("latin-1"))),
        "is not UTF-8: byte 127, in the field 'Description'",
    ),
    "two paragraphs": (
        with_control(("./control", CONTROL + b"\nPackage: sudo\nVersion: 9\n")),
        "its control file:",
    ),
    "a field twice": (
        with_control(("./control", CONTROL.replace(b"Description", b"package: sudo\nDescription"))),
        "twice",
    ),
    "a digest of its own": (
        with_control(("./control", CONTROL.replace(b"Description", b"SHA256: 0\nDescription"))),
        "the field SHA256, which no package has",
    ),
}


@pytest.mark.parametrize(("content", "said"), SURPRISES.values(), ids=SURPRISES)
def test_a_package_with_something_surprising_is_refused_by_name(
    s3: S3Client, content: bytes, said: str
) -> None:
    found = refusal(s3, content)
    assert found.startswith(f"HHVM 1.0.0, bookworm: {GOOD.name}: ")
    assert said in found


# What a package claims over others

CLAIMS = {
    "Essential: yes": "Essential: yes",
    "essential: YES": "Essential: yes",
    "Protected: yes": "Protected: yes",
    "Important: yes": "Important: yes",
    "Priority: required": "Priority: required",
    "Provides: hhvm-api (= 1), sudo (= 9)": "Provides: sudo",
    "Replaces: hhvm-nightly | login": "Replaces: login",
    "Conflicts: apparmor": "Conflicts: apparmor",
    "Breaks: apt (<< 99)": "Breaks: apt",
    "Task: standard": "Task: standard",
    "Package-Type: udeb": "Package-Type: udeb",
}


@pytest.mark.parametrize(("field", "claim"), CLAIMS.items(), ids=CLAIMS)
def test_a_package_that_claims_more_than_a_package_of_ours_is_refused(
    s3: S3Client, field: str, claim: str
) -> None:
    said = refusal(s3, Deb(GOOD.version, extra=f"{field}\n").content)
    assert f'it claims "{claim}"' in said
    assert "debian/control of the distribution does not declare it" in said
    assert "the setting allowed_claims does not have it" in said


def test_a_package_of_another_name_is_refused(bench: Bench) -> None:
    said = reason(bench, bench.build("1.0.0", more=lambda version: [Deb(version, "sudo")]))
    assert 'it claims "Package: sudo"' in said


@pytest.mark.parametrize(
    ("declared", "allowed", "missing"),
    [
        ("Provides: php-cli", "Provides: php-cli", ""),
        ("Provides: php-cli", "", "the setting allowed_claims does not have it"),
        ("", "Provides: php-cli", "debian/control of the distribution does not declare it"),
        ("Provides: php", "Provides: php", "debian/control of the distribution does not declare it and"),
    ],
)
def test_a_claim_needs_both_the_distribution_and_the_setting(
    s3: S3Client, declared: str, allowed: str, missing: str
) -> None:
    content = Deb(GOOD.version, extra="Provides: php-cli\n").content
    said = refusal(s3, content, claims=Allowed((declared,), (allowed,)))
    assert missing in said
    assert bool(said) == bool(missing)


def test_what_a_distribution_claims_is_read_from_its_control_file() -> None:
    control = """Source: hhvm
Section: web

# Provides: commented
Package: hhvm
Essential: yes
Provides: hhvm-api,
 ${some:Variable},
 php-cli (= 7) | php
Conflicts: hhvm-nightly
"""
    assert package_claims.declared(control) == ("Essential: yes", "Provides: php", "Provides: php-cli")
