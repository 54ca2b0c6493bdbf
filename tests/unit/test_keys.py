"""S3 keys: each is built from a template and parsed back, and no text becomes a path by accident."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.release import Release
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import Downloads, InvalidField, Scratch, Template

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject, SearchStrategy

TEMPLATES: list[Template] = [*Scratch, *Downloads]

RELEASE = Release("4.172.1", nightly=False)
NIGHTLY = Release("2026.11.28", nightly=True)
DISTRO = "debian-12-bookworm"
ATTEMPT = AttemptId(datetime(2026, 11, 28, 7, 26, 19, 123456, tzinfo=UTC), 2)
JOB = "hhvm-4.172.1-make-binary-package-debian-12-bookworm-0123456789ab"
SHA256 = "0123456789abcdef" * 4
INDEX = "debian/dists/bookworm/main/binary-amd64/Packages.xz"
OUTPUTS = f"4.172.1/{DISTRO}/20261128T072619.123456Z-2/"
CANDIDATE = f"candidate/4.172.1/{DISTRO}/20261128T072619.123456Z-2/"
SNAPSHOT = "20261128T072619Z-0123456789ab"

STORED: dict[Template, tuple[str, str]] = {
    Scratch.RELEASE_TARBALL: (keys.tarball(RELEASE), "hhvm-4.172.1.tar.gz"),
    Scratch.RELEASE_SIGNATURE: (keys.tarball_signature(RELEASE), "hhvm-4.172.1.tar.gz.sig"),
    Scratch.NIGHTLY_TARBALL: (keys.tarball(NIGHTLY), "hhvm-nightly-2026.11.28.tar.gz"),
    Scratch.NIGHTLY_SIGNATURE: (keys.tarball_signature(NIGHTLY), "hhvm-nightly-2026.11.28.tar.gz.sig"),
    Scratch.PLAN: (keys.plan(RELEASE), "4.172.1/plan.json"),
    Scratch.SOURCE: (keys.source(NIGHTLY), "2026.11.28/source.json"),
    Scratch.FORCED: (keys.forced(RELEASE, "a-run"), "4.172.1/forced/484d9350f0337a01.json"),
    Scratch.PLAN_OF_RUN: (keys.plan_of_run(RELEASE, "a-run"), "4.172.1/plans/484d9350f0337a01.json"),
    Scratch.ANNOUNCED: (keys.announced(RELEASE), "4.172.1/announced.json"),
    Scratch.MANIFEST: (keys.manifest(RELEASE, DISTRO), f"4.172.1/{DISTRO}/manifest.json"),
    Scratch.ATTEMPT_MANIFEST: (
        keys.attempt_manifest(keys.outputs(RELEASE, DISTRO, ATTEMPT)),
        f"{OUTPUTS}manifest.json",
    ),
    Scratch.ARTIFACT: (
        keys.output(keys.outputs(RELEASE, DISTRO, ATTEMPT), "hhvm_4.172.1-1~bookworm_amd64.deb"),
        f"{OUTPUTS}hhvm_4.172.1-1~bookworm_amd64.deb",
    ),
    Scratch.CANDIDATE: (keys.candidate(RELEASE, DISTRO), f"candidate/4.172.1/{DISTRO}/candidate.json"),
    Scratch.CANDIDATE_FILE: (
        keys.candidate_file(keys.candidate_files(RELEASE, DISTRO, ATTEMPT), "dists/bookworm/InRelease"),
        f"{CANDIDATE}dists/bookworm/InRelease",
    ),
    Scratch.CANDIDATE_ACCEPTED: (
        keys.candidate_accepted(keys.candidate_files(RELEASE, DISTRO, ATTEMPT)),
        f"{CANDIDATE}accepted",
    ),
    Scratch.JOB_FILE: (
        keys.job_file("4.172.1", JOB, ATTEMPT, keys.LOG),
        f"jobs/4.172.1/{JOB}/20261128T072619.123456Z-2/log.txt",
    ),
    Scratch.LAUNCHED: (
        keys.launched("4.172.1", JOB, ATTEMPT, "i-0123456789abcdef0"),
        f"jobs/4.172.1/{JOB}/20261128T072619.123456Z-2/launched/i-0123456789abcdef0",
    ),
    Scratch.WORKER_FILE: (
        keys.worker_file("4.172.1", JOB, ATTEMPT, "AROA1:i-0123456789abcdef0", "out/hhvm.deb"),
        f"jobs/4.172.1/{JOB}/20261128T072619.123456Z-2/AROA1:i-0123456789abcdef0/out/hhvm.deb",
    ),
    Scratch.HOLD: (keys.hold("4.172.1", SHA256), f"holds/4.172.1/{SHA256}.json"),
    Scratch.LIFTED: (keys.lifted("4.172.1", SHA256), f"holds/4.172.1/lifted/{SHA256}.json"),
    Scratch.QUESTION: (
        keys.question("hhvm_build_and_publish", "manual__2026-11-28T07:26:19+00:00", 1),
        "questions/hhvm_build_and_publish/manual__2026-11-28T07:26:19+00:00/1.json",
    ),
    Scratch.ANSWER: (keys.answer("4.172.1", SHA256), f"approvals/4.172.1/{SHA256}.json"),
    Scratch.FORMER_APPROVAL: (
        Scratch.FORMER_APPROVAL.build(
            version="4.172.1", dag_id="hhvm_build_and_publish", run_id="manual__2026-11-28T07:26:19+00:00"
        ),
        "approvals/4.172.1/hhvm_build_and_publish/manual__2026-11-28T07:26:19+00:00.json",
    ),
    Scratch.KEYRING: (
        keys.keyring("debian-12-bookworm", "hhvm-archive-keyring_20261129+debian12_all.deb"),
        "keyring/debian-12-bookworm/hhvm-archive-keyring_20261129+debian12_all.deb",
    ),
    Scratch.UNDELIVERED: (keys.undelivered(SHA256), f"undelivered/{SHA256}.json"),
    Scratch.PACKAGING: (keys.packaging(SHA256), f"packaging/{SHA256}.tar.gz"),
    Scratch.DEPENDENCIES_IMAGE: (
        keys.dependencies_image("debian-12-bookworm", SHA256),
        f"dependencies/debian-12-bookworm/{SHA256}.json",
    ),
    Scratch.DEPENDENCIES_FILE: (
        keys.output(keys.dependencies_files("debian-12-bookworm", ATTEMPT), "dependencies.tar.gz"),
        f"dependencies/debian-12-bookworm/{ATTEMPT}/dependencies.tar.gz",
    ),
    Scratch.COMPILER_CACHE: (
        keys.compiler_cache("debian-12-bookworm", SHA256),
        f"ccache/debian-12-bookworm/{SHA256}.tar",
    ),
    Scratch.SNAPSHOT: (
        keys.snapshot("debian", "bookworm", SNAPSHOT),
        f"snapshots/debian/bookworm/{SNAPSHOT}.json",
    ),
    Scratch.LAST_PUBLISH: (keys.last_publish("nightly"), "metrics/last-publish/nightly.json"),
    Scratch.CANARY_VERDICT: (keys.CANARY_VERDICT, "metrics/canary-verdict.json"),
    Scratch.CANARY_TURN: (keys.CANARY_TURN, "metrics/canary-turn.json"),
    Scratch.CONDITIONAL_WRITES: (keys.CONDITIONAL_WRITES, "conditional-writes"),
    Scratch.CHECKSUMS: (keys.CHECKSUMS, "checksums"),
    Scratch.STATUS: (keys.STATUS, "status.json"),
    Downloads.PUBLIC_KEY: (keys.PUBLIC_KEY, "conf/hhvm.gpg.key"),
    Downloads.RELEASE_TARBALL: (keys.public_tarball(RELEASE), "source/hhvm-4.172.1.tar.gz"),
    Downloads.RELEASE_SIGNATURE: (keys.public_signature(RELEASE), "source/hhvm-4.172.1.tar.gz.sig"),
    Downloads.NIGHTLY_TARBALL: (
        keys.public_tarball(NIGHTLY),
        "source/nightlies/hhvm-nightly-2026.11.28.tar.gz",
    ),
    Downloads.NIGHTLY_SIGNATURE: (
        keys.public_signature(NIGHTLY),
        "source/nightlies/hhvm-nightly-2026.11.28.tar.gz.sig",
    ),
    Downloads.RELEASE_FILE: (
        keys.in_suite("debian", "bookworm", "InRelease"),
        "debian/dists/bookworm/InRelease",
    ),
    Downloads.INDEX: (keys.in_suite("debian", "bookworm", "main/binary-amd64/Packages.xz"), INDEX),
    Downloads.BY_HASH: (
        keys.by_hash(INDEX, SHA256),
        f"debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/{SHA256}",
    ),
    Downloads.FILE: (
        keys.in_repository("ubuntu", "pool/main/h/hhvm/hhvm_4.172.1-1~noble_amd64.deb"),
        "ubuntu/pool/main/h/hhvm/hhvm_4.172.1-1~noble_amd64.deb",
    ),
    Downloads.LISTING: (keys.listing("debian/dists/"), "debian/dists/index.html"),
    Downloads.FEED: (keys.FEED, "releases.atom"),
}
"""For each template: a key that a function builds, and the same key as deployed stores have it."""

NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1),
    st.text("./", min_size=1),
    st.sampled_from([
        "accepted",
        "by-hash",
        "candidate.json",
        "conditional-writes",
        "dists",
        "forced",
        "index.html",
        "InRelease",
        "manifest.json",
        "plan.json",
        "Release.gpg",
        "a.json",
        "...",
        str(ATTEMPT),
    ]),
).filter(lambda text: "/" not in text and text not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
DIRECTORIES = st.lists(NAMES.filter(lambda text: text != "by-hash"), max_size=3).map(
    lambda names: "".join(f"{name}/" for name in names)
)
NUMBERS = st.integers(0, 99999)
RELEASES = st.builds("{}.{}.{}".format, st.integers(0, 999), NUMBERS, NUMBERS)
NIGHTLIES = st.dates(min_value=date(1000, 1, 1)).map(lambda day: f"{day:%Y.%m.%d}")
VERSIONS = RELEASES | NIGHTLIES
ATTEMPTS = st.builds(
    AttemptId,
    st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)),
    st.integers(1, 999),
).map(str)
HEX = st.text("0123456789abcdef", min_size=1)
RELEASE_FILES = ["InRelease", "Release", "Release.gpg"]
FIELDS: dict[str, SearchStrategy[str]] = {
    "artifact": NAMES.filter(lambda text: text != "manifest.json"),
    "attempt": ATTEMPTS,
    "candidate_file": PATHS.filter(lambda text: text != "accepted"),
    "dag_id": NAMES,
    "digest": HEX,
    "directory": DIRECTORIES,
    "distro": NAMES | st.just(DISTRO),
    "file": PATHS.filter(lambda text: text.split("/")[0] != "dists" and text.split("/")[-1] != "index.html"),
    "hash": st.sampled_from(["MD5Sum", "SHA1", "SHA256", "SHA512"]),
    "index": PATHS.filter(
        lambda text: (
            text not in RELEASE_FILES and "by-hash" not in text.split("/") and not text.endswith("index.html")
        )
    ),
    "job": st.from_regex(r"[a-z0-9][a-z0-9.-]*", fullmatch=True),
    "instance": st.from_regex(r"i-[0-9a-f]{8,17}", fullmatch=True),
    "worker": st.from_regex(r"[A-Z0-9]{4,20}:i-[0-9a-f]{8,17}", fullmatch=True),
    "worker_file": PATHS,
    "keyring_file": NAMES,
    "job_file": NAMES | st.sampled_from([keys.JOB, keys.LOG, keys.RESULT, keys.FAILURE]),
    "number": st.integers(1, 10**9).map(str),
    "nightly": NIGHTLIES,
    "release": RELEASES,
    "release_file": st.sampled_from(RELEASE_FILES),
    "repository": st.sampled_from(keys.REPOSITORIES),
    "run_digest": st.text("0123456789abcdef", min_size=16, max_size=16),
    "run_id": NAMES,
    "sha256": st.text("0123456789abcdef", min_size=64, max_size=64),
    "snapshot": NAMES,
    "subject": VERSIONS | st.just("canary"),
    "suite_kind": NAMES,
    "suite": NAMES,
    "version": VERSIONS,
}
"""Texts of each field, with those that other keys have in the same place."""


def test_every_stored_key_is_the_same_as_ever() -> None:
    assert {template: built for template, (built, _) in STORED.items()} == {
        template: stored for template, (_, stored) in STORED.items()
    }


def test_every_template_has_a_function_that_builds_it() -> None:
    assert set(STORED) == set(TEMPLATES)
    for template, (key, _) in STORED.items():
        found = keys.parse(type(template), key)
        assert found
        assert found.template is template


@pytest.mark.parametrize("template", TEMPLATES, ids=repr)
@given(st.data())
def test_every_key_is_parsed_back_and_is_of_one_template_only(template: Template, data: DataObject) -> None:
    fields = {name: data.draw(FIELDS[name], name) for name in template.fields}
    key = template.build(**fields)
    assert template.match(key) == fields
    assert [other for other in type(template) if other.match(key) is not None] == [template]
    assert keys.parse(type(template), key) == keys.Parsed(template, fields)


@pytest.mark.parametrize("template", TEMPLATES, ids=repr)
def test_a_key_begins_with_the_prefix_of_its_first_fields(template: Template) -> None:
    key, _ = STORED[template]
    fields = list((template.match(key) or {}).items())
    for known in range(len(fields) + 1):
        assert key.startswith(template.prefix(**dict(fields[:known])))


@pytest.mark.parametrize("template", TEMPLATES, ids=repr)
@pytest.mark.parametrize("text", ["../x", "..", "a\nb", "/x", "x//y", "\x7f"])
def test_a_field_that_does_not_match_its_grammar_is_refused_by_name(template: Template, text: str) -> None:
    fields = template.match(STORED[template][0]) or {}
    for name in fields:
        with pytest.raises(InvalidField, match=f"^{name}: "):
            template.build(**{**fields, name: text})


def test_a_refused_field_is_an_error_of_this_project_and_a_value_error() -> None:
    assert issubclass(InvalidField, PackagingError)
    assert issubclass(InvalidField, ValueError)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "nightly/plan.json",
        "1.0/plan.json",
        "2026.02.30/plan.json",
        "1.0.0/plan.json\n",
        "1.0.0//manifest.json",
        "1.0.0/../manifest.json",
        "1.0.0/x",
        f"1.0.0/{DISTRO}/a-try/hhvm.deb",
        "hhvm-2026.11.28.tar.gz",
        "hhvm-nightly-1.0.0.tar.gz",
        "jobs/1.0.0/a-job/log.txt",
        "packaging/0.tar.gz",
        "snapshots/fedora/39/x.json",
    ],
)
def test_a_key_that_nothing_builds_is_of_no_template(key: str) -> None:
    assert keys.parse(Scratch, key) is None


@pytest.mark.parametrize(
    ("key", "version"),
    [
        (keys.tarball(NIGHTLY), "2026.11.28"),
        (keys.tarball(RELEASE), "4.172.1"),
        (keys.plan(RELEASE), "4.172.1"),
        (keys.job_file("4.172.1", JOB, ATTEMPT, keys.LOG), "4.172.1"),
        (keys.job_file("canary", JOB, ATTEMPT, keys.LOG), None),
        (keys.packaging(SHA256), None),
    ],
)
def test_a_key_names_the_release_that_its_object_belongs_to(key: str, version: str | None) -> None:
    found = keys.parse(Scratch, key)
    assert found
    assert (found.release and found.release.version) == version


@pytest.mark.parametrize("name", ["manifest.json", "../x", "x/y", "", "."])
def test_a_job_cannot_leave_a_file_that_is_not_an_artifact(name: str) -> None:
    with pytest.raises(InvalidField, match=r"^name: "):
        keys.output(OUTPUTS, name)


@pytest.mark.parametrize("name", ["conditional-writes", "1.0.0/plan.json", "hhvm.tar.gz"])
def test_a_job_can_leave_nothing_but_a_tarball_outside_its_directory(name: str) -> None:
    with pytest.raises(InvalidField, match=r"^name: "):
        keys.output("", name)
    assert keys.output("", keys.tarball(RELEASE)) == keys.tarball(RELEASE)


def test_a_directory_of_outputs_names_its_attempt() -> None:
    assert keys.attempt_of(OUTPUTS) == ATTEMPT
    with pytest.raises(InvalidField, match=r"^directory: "):
        keys.attempt_of("another/directory/")


def test_a_suite_is_known_by_its_directory() -> None:
    assert keys.suite_of(keys.suite("debian", "bookworm")) == ("debian", "bookworm")
    assert keys.suite_of("debian/dists/") is None
    assert keys.suite_of("debian/pool/main/") is None
    assert keys.suite_of("") is None


def test_only_an_index_has_a_name_by_its_digest() -> None:
    assert (
        keys.by_hash("debian/dists/x/Contents-amd64.gz", SHA256) == f"debian/dists/x/by-hash/SHA256/{SHA256}"
    )
    with pytest.raises(InvalidField):
        keys.by_hash("debian/dists/bookworm/InRelease", SHA256)


@pytest.mark.parametrize(
    ("directory", "key"),
    [
        (keys.jobs("4.172.1"), keys.job_file("4.172.1", JOB, ATTEMPT, keys.LOG)),
        (keys.attempts("4.172.1", JOB), keys.job_file("4.172.1", JOB, ATTEMPT, keys.LOG)),
        (keys.attempt("4.172.1", JOB, ATTEMPT), keys.job_file("4.172.1", JOB, ATTEMPT, keys.LOG)),
        (keys.histories("debian"), keys.snapshot("debian", "bookworm", SNAPSHOT)),
        (keys.snapshots("debian", "bookworm"), keys.snapshot("debian", "bookworm", SNAPSHOT)),
        (keys.suites("debian"), INDEX),
        (keys.suite("debian", "bookworm"), INDEX),
        (keys.nightly_pool("debian"), keys.packages(NIGHTLY, "debian", "2026.11.28-1~bookworm")),
    ],
)
def test_a_directory_ends_with_a_slash_and_begins_the_keys_under_it(directory: str, key: str) -> None:
    assert directory.endswith("/")
    assert key.startswith(directory)


def test_the_keys_of_all_nightlies_sources_begin_alike_and_no_releases_does() -> None:
    assert keys.public_tarball(NIGHTLY).startswith(keys.nightly_tarballs())
    assert keys.public_signature(NIGHTLY).startswith(keys.nightly_tarballs())
    assert not keys.public_tarball(RELEASE).startswith(keys.nightly_tarballs())
