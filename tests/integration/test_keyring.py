"""The package hhvm-archive-keyring: when it is published, and how users get the next key by it."""

from __future__ import annotations

import contextlib
import html
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import HttpUrl

from demo import signing_key
from hhvm_packaging.apt import deb_file, undo
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.publishing import keyring, pages, suite_changes
from hhvm_packaging.publishing.apt_source import KEYRING_FILE, SOURCES_FILE, AptSource
from hhvm_packaging.release import KEYRING_PACKAGE
from hhvm_packaging.store import keys
from testing.apt_client import machine, website
from testing.built import Bench, bench
from testing.debs import Deb

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from hhvm_packaging.apt.change import Change
    from hhvm_packaging.planning.plans import PublishPlan

__all__ = ["bench"]

UPGRADE = "apt-get --error-on=any update; apt-get --yes upgrade"
TODAY = datetime(2026, 11, 29, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Key:
    """A signing key."""

    private: str
    public: str


def make_key(name: str) -> Key:
    private = signing_key.make(f"{name} <hhvm@example.org>")[0]
    with Signer(private) as signer:
        return Key(private, signer.public_key().decode())


@pytest.fixture(scope="module")
def old() -> Key:
    return make_key("Old")


@pytest.fixture(scope="module")
def new() -> Key:
    return make_key("New")


@contextlib.contextmanager
def signing_with(bench: Bench, *keys: str) -> Generator[None]:
    """Have these keys in the signing connection for as long as the ``with`` statement takes."""
    with Signer("".join(keys)) as signer:
        bench.signer = signer
        yield


def versions(bench: Bench, suite: str = "bookworm") -> list[str]:
    """The versions of the package that a suite offers."""
    stanzas = bench.suite(suite).read().packages["amd64"].stanzas
    return [stanza.version for stanza in stanzas if stanza.package == KEYRING_PACKAGE]


def publish(bench: Bench, now: datetime = TODAY) -> list[str]:
    """Publish the package. Returns the suites that it was added to, in words."""
    return [str(added.suite) for added in keyring.publish(bench.store, bench.signer, bench.settings, now=now)]


def plan_new(bench: Bench, version: str, **build: Any) -> PublishPlan:
    """What ``plan`` makes: suites that it opens begin with the package."""
    return bench.build(version, **build).model_copy(update={"keyring": True})


def change_of(bench: Bench, plan: PublishPlan) -> Change:
    """What publishing the plan changes in the suite bookworm."""
    distro, suite = plan.distros[0], bench.suite("bookworm")
    new = suite_changes.read_incoming(plan, distro, bench.store, bench.settings)
    current = suite.read(signer=bench.signer)
    return suite_changes.make_change(
        plan, distro, new, suite, current, bench.store, bench.signer, bench.settings
    )


def test_a_suite_has_it_from_its_first_publish_on(bench: Bench) -> None:
    bench.update(plan_new(bench, "1.0.0"))
    [version] = versions(bench)
    assert version.endswith("+debian12.bookworm")
    assert versions(bench, "bookworm-1.0") == [version]
    bench.update(plan_new(bench, "1.1.0"))
    assert versions(bench, "bookworm-1.1") == [version]
    assert [snapshot.added for snapshot in undo.read_history(bench.suite("bookworm-1.1"))] == [
        ("hhvm 1.1.0-1~bookworm amd64", f"{KEYRING_PACKAGE} {version} all")
    ]
    assert publish(bench) == []


def test_a_publish_that_opens_suites_can_be_run_again_and_lists_the_package(bench: Bench) -> None:
    plan = plan_new(bench, "1.0.0")
    bench.sign_source(plan)
    bench.update(plan)
    [version] = versions(bench)
    file = f"debian/pool/main/h/{KEYRING_PACKAGE}/{KEYRING_PACKAGE}_{version}_all.deb"
    assert file in bench.public()
    assert file in pages.list_changed(plan, bench.store, bench.settings)
    assert bench.expose(plan) == [distro.name for distro in plan.distros]


def test_an_approval_need_not_cover_it_but_covers_a_builds_package_of_that_name(bench: Bench) -> None:
    plan = plan_new(bench, "1.0.0")
    assert {package for package, _, _ in change_of(bench, plan).own} == {KEYRING_PACKAGE}
    bench.update(plan)
    later = plan_new(bench, "1.0.1", more=lambda version: [Deb(version, KEYRING_PACKAGE)])
    change = change_of(bench, later)
    assert KEYRING_PACKAGE in {package for package, _, _ in change.added}
    assert not change.own


def test_a_plan_of_an_older_revision_goes_on_as_it_began(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    assert versions(bench) == []


def test_every_suite_of_a_distribution_gets_it_and_keeps_what_it_has(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    assert publish(bench) == ["debian bookworm", "debian bookworm-1.0", "debian trixie", "debian trixie-1.0"]
    assert versions(bench) == versions(bench, "bookworm-1.0") == ["20261129+debian12.bookworm"]
    assert versions(bench, "trixie") == ["20261129+debian13.trixie"]
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm", "20261129+debian12.bookworm"]


def test_it_is_published_again_only_when_its_content_changes(bench: Bench, old: Key, new: Key) -> None:
    with signing_with(bench, old.private):
        bench.update(bench.build("1.0.0"))
        publish(bench)
        assert publish(bench, TODAY + timedelta(days=100)) == []
    with signing_with(bench, old.private, new.public):
        assert len(publish(bench)) == 4
        assert versions(bench) == ["20261129+debian12.bookworm", "20261129.1+debian12.bookworm"]
        assert publish(bench) == []


def test_a_suite_that_comes_later_gets_the_version_that_the_others_have(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    publish(bench)
    bench.update(bench.build("1.1.0"))
    assert publish(bench, TODAY + timedelta(days=1)) == ["debian bookworm-1.1", "debian trixie-1.1"]
    assert versions(bench, "bookworm-1.1") == ["20261129+debian12.bookworm"]


def test_an_undo_does_not_keep_it_away(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    plan = bench.build("1.0.1")
    bench.update(plan)
    publish(bench)
    before = bench.snapshots("bookworm")[1]
    undo = plan.model_copy(update={"action": "undo", "undo_to": before.partition("-")[0]})
    bench.update(undo)
    assert versions(bench) == []
    publish(bench)
    assert versions(bench) == ["20261129+debian12.bookworm"]
    bench.update(bench.build("1.0.2"))
    assert versions(bench) == ["20261129+debian12.bookworm"]


def test_dpkg_reads_it_and_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    def make() -> bytes:
        control = {
            "Package": "a",
            "Version": "1",
            "Architecture": "all",
            "Maintainer": "A",
            "Description": "b",
        }
        return deb_file.make(
            control, {"/etc/a.conf": b"1", "/usr/share/a/b": b"2"}, conffiles=["/etc/a.conf"], time=0
        )

    assert make() == make()
    file = tmp_path / "a.deb"
    file.write_bytes(make())
    listed = subprocess.run(
        ["dpkg-deb", "--contents", file], check=True, capture_output=True, text=True
    ).stdout
    assert "./usr/share/a/b" in listed
    assert "root/root" in listed


@pytest.mark.slow
def test_the_next_key_reaches_users_by_ordinary_upgrades(
    bench: Bench, s3_directory: Path, old: Key, new: Key, base_images: None
) -> None:
    """With the apt of both Debians. Users do what the front page says, then nothing but upgrade."""
    with (
        website(s3_directory / bench.settings.downloads_bucket) as site,
        machine("bookworm", old.public) as bookworm,
        machine("trixie", old.public) as trixie,
    ):
        bench.settings = bench.settings.model_copy(update={"public_url": HttpUrl(site.url)})
        users = (bookworm, trixie)
        with signing_with(bench, old.private):
            plan = bench.build("1.0.0")
            bench.update(plan)
            publish(bench)
            pages.update_pages(plan, bench.store, bench.settings)
        page = (bench.store.downloads.get(keys.FRONT_PAGE) or b"").decode()
        assert f"sudo apt-get install {KEYRING_PACKAGE} hhvm" in page
        for user in users:
            source = AptSource(f"{site.url}/debian", (user.suite,)).deb822
            assert html.escape(source, quote=False) in page
            user.run(
                f"rm -f /etc/apt/sources.list.d/*; cp /hhvm.asc {KEYRING_FILE}\n"
                f"cat >{SOURCES_FILE} <<'END'\n{source}END\n"
                f"apt-get --error-on=any update; apt-get --yes install {KEYRING_PACKAGE} hhvm"
            )
        # The operator adds the public half of the next key,
        with signing_with(bench, old.private, new.public):
            publish(bench)
        for user in users:
            user.run(UPGRADE)
        # signs with it alone,
        with signing_with(bench, new.private, old.public):
            bench.update(bench.build("1.0.1"))
        for user in users:
            user.run(UPGRADE)
            assert f"HHVM 1.0.1-1~{user.suite}" in user.run("hhvm")
        # and forgets the old one.
        with signing_with(bench, new.private):
            publish(bench)
            bench.update(bench.build("1.0.2"))
        for user in users:
            user.run(UPGRADE)
            assert f"HHVM 1.0.2-1~{user.suite}" in user.run("hhvm")
            assert user.run(f"cat {KEYRING_FILE}").strip() == new.public.strip()
            assert "dpkg-" not in user.run("ls /etc/apt/sources.list.d")
