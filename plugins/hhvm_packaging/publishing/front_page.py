"""The front page of the downloads bucket and the feed of releases: what users can install, and how.

Both are made of what is published, by each publish. They keep nothing of their own.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from debian.debian_support import Version

from hhvm_packaging import distros
from hhvm_packaging.apt import index, signing, undo
from hhvm_packaging.apt.sources_index import ARCHITECTURE as SOURCE
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import source_tarball, target_suites
from hhvm_packaging.publishing import listings
from hhvm_packaging.publishing.apt_source import KEYRING_FILE, SOURCES_FILE, AptSource
from hhvm_packaging.release import KEYRING_PACKAGE, NIGHTLY_PACKAGE, PACKAGE, Release
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import CACHE_BRIEFLY
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from hhvm_packaging.apt.index import Identity
    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.publishing.listings import Row
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store

log = logging.getLogger(__name__)

FEED_ENTRIES = 30
"""How many releases the feed has."""
_ATOM = "application/atom+xml; charset=utf-8"


@dataclass(frozen=True)
class Offer:
    """What users of one distribution get."""

    title: str
    """Such as "Debian 12 (bookworm)"."""
    source: AptSource
    versions: frozenset[str]
    """All releases that are offered: HHVM's own versions."""
    release: str
    """The newest package of a release, as apt names its version; empty if there is none."""
    nightly: str
    """The newest package of a nightly, likewise."""
    has_keyring: bool
    """Whether it is offered the package that keeps the keys up to date."""
    withdrawn: tuple[Identity, ...]
    """The binary packages that users must not use."""
    downgrade: str
    """The command for users who installed what was withdrawn; empty if there is nothing to go back to."""
    signers: Mapping[str, datetime | None]
    """The fingerprints of the keys that sign it, and when each expires; None for never."""


@dataclass(frozen=True)
class Tarball:
    """The public source of a release."""

    version: str
    url: str
    signature: str
    """Its URL."""
    row: Row
    distros: tuple[str, ...]
    """The titles of the distributions that are offered packages of it."""
    withdrawn: tuple[str, ...]
    """The titles of those that it was withdrawn from."""


def write(store: Store, settings: Settings) -> list[str]:
    """Write the front page and the feed if they change. Returns the keys of those that were written."""
    public_keys = source_tarball.public_keys(store)
    offers = list_offers(list_distros(settings), public_keys, store, settings)
    tarballs = _list_tarballs(offers, store, settings)
    looks = {each: store.downloads.head(keys.listing(each)) for each in keys.PUBLIC_DIRECTORIES}
    directories = [each for each, listing in looks.items() if listing]
    pages = {keys.FRONT_PAGE: (render(offers, tarballs, directories, settings), listings.HTML)}
    if tarballs:
        pages[keys.FEED] = (render_feed(tarballs, settings), _ATOM)
    written = []
    for key, (text, content_type) in pages.items():
        if store.downloads.get(key) != text.encode():
            store.downloads.put(key, text.encode(), content_type, cache=CACHE_BRIEFLY)
            written.append(key)
    return written


def list_distros(settings: Settings) -> list[Distro]:
    """The distributions of the checkout whose packages are published."""
    found = []
    for name in distros.names(settings.packaging_root):
        try:
            distro = distros.load(settings.packaging_root, name)
        except distros.InvalidDistro as error:
            log.warning("The front page leaves out %s: %s", name, error)
        else:
            found += [] if distro.not_published else [distro]
    return found


def list_offers(shown: Iterable[Distro], public_keys: bytes, store: Store, settings: Settings) -> list[Offer]:
    """What users of these distributions get. Those without a published suite are left out."""
    looks = (partial(_read_offer, distro, public_keys, store, settings) for distro in shown)
    found = run_all(looks, at_once=settings.requests_at_once)
    return [offer for offer in found if offer]


def _read_offer(distro: Distro, public_keys: bytes, store: Store, settings: Settings) -> Offer | None:
    identities: set[Identity] = set()
    withdrawn: set[Identity] = set()
    signers: dict[str, datetime | None] = {}
    downgrade = ""
    source = AptSource.of(distro, settings)
    for name in source.suites:
        suite = target_suites.open_suite(store, distro, name, settings)
        try:
            state = suite.read()
        except (PackagingError, index.InvalidIndex) as error:
            log.warning("The front page leaves out %s: %s", suite, error)
            continue
        identities |= state.identities
        withdrawn |= state.withdrawn - state.identities
        downgrade = downgrade or undo.downgrade(state.indices, state.withdrawn)
        signers |= _find_signers(suite, state.in_release, public_keys)
    if not identities and not withdrawn:
        return None
    return Offer(
        title=show(distro.name),
        source=source,
        versions=frozenset(undo.upstream(each) for each in identities if each[0] == PACKAGE),
        release=_newest(identities, PACKAGE),
        nightly=_newest(identities, NIGHTLY_PACKAGE),
        has_keyring=any(each[0] == KEYRING_PACKAGE for each in identities),
        withdrawn=tuple(sorted(identity for identity in withdrawn if identity[2] != SOURCE)),
        downgrade=downgrade,
        signers=signers,
    )


def _find_signers(suite: Suite, in_release: bytes, public_keys: bytes) -> dict[str, datetime | None]:
    if not in_release:
        return {}
    try:
        return signing.signed_by(in_release, public_keys)[1]
    except PackagingError as error:
        log.warning("%s: the front page does not say which key signs it: %s", suite, error)
        return {}


def show(name: str) -> str:
    """A distribution's name for people, such as "Debian 12 (bookworm)"."""
    system, number, *codename = name.split("-", 2)
    return " ".join([system.capitalize(), number, *(f"({each})" for each in codename)])


def _newest(identities: Iterable[Identity], package: str) -> str:
    versions = (version for name, version, kind in identities if name == package and kind != SOURCE)
    return max(versions, key=Version, default="")


def _list_tarballs(offers: Sequence[Offer], store: Store, settings: Settings) -> list[Tarball]:
    """The public sources of the newest releases, newest first, by the listing of their directory."""
    directory, _ = keys.public_tarball(Release("1.0.0", nightly=False)).rsplit("/", 1)
    rows = listings.parse(store.downloads.get(keys.listing(f"{directory}/")) or b"") or {}
    found = []
    for row in rows.values():
        parsed = keys.Downloads.RELEASE_TARBALL.match(f"{directory}/{row.name}")
        release = Release.find(parsed["release"]) if parsed else None
        if release and keys.public_signature(release).rpartition("/")[2] in rows:
            found.append((row, release))
    found.sort(key=lambda each: (each[0].modified, each[1].numbers), reverse=True)
    return [
        Tarball(
            version=release.version,
            url=settings.published(keys.public_tarball(release)),
            signature=settings.published(keys.public_signature(release)),
            row=row,
            distros=tuple(offer.title for offer in offers if release.version in offer.versions),
            withdrawn=tuple(
                offer.title
                for offer in offers
                if any(undo.is_of(identity, release.version) for identity in offer.withdrawn)
            ),
        )
        for row, release in found[:FEED_ENTRIES]
    ]


def render(
    offers: Sequence[Offer], tarballs: Sequence[Tarball], directories: Iterable[str], settings: Settings
) -> str:
    """Return the HTML of the front page, which links to these directories."""
    signers = {key: expires for offer in offers for key, expires in offer.signers.items()}
    return listings.PAGES.get_template("front_page.html").render(
        offers=offers,
        # A withdrawn release is no example of what to download.
        newest=next((each for each in tarballs if not each.withdrawn), None),
        signers=signers,
        public_key=settings.published(keys.PUBLIC_KEY),
        feed=settings.published(keys.FEED) if tarballs else "",
        sources_file=SOURCES_FILE,
        keyring_file=KEYRING_FILE,
        keyring_package=KEYRING_PACKAGE,
        directories=directories,
        package=PACKAGE,
        nightly_package=NIGHTLY_PACKAGE,
    )


def render_feed(tarballs: Sequence[Tarball], settings: Settings) -> str:
    """Return the feed of releases, see RFC 4287."""
    return listings.PAGES.get_template("releases.atom").render(
        tarballs=tarballs,
        home=settings.published(""),
        feed=settings.published(keys.FEED),
        updated=max(tarball.row.modified for tarball in tarballs),
    )
