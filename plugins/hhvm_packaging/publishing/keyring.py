"""The package hhvm-archive-keyring: the public keys, and where the packages are. Users get new keys with it.

It is published in every suite of a distribution, and again when its content changes: the keys of the signing
connection, private or public, or the address. So a user has the next key before it signs anything.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from debian.debian_support import Version

from hhvm_packaging.apt import deb_file, index
from hhvm_packaging.apt.additions import add_packages
from hhvm_packaging.apt.incoming import Build, Incoming
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import target_suites
from hhvm_packaging.publishing import front_page
from hhvm_packaging.publishing.apt_source import KEYRING_FILE, SOURCES_FILE, AptSource
from hhvm_packaging.release import KEYRING_PACKAGE
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Artifact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.apt.change import Change
    from hhvm_packaging.apt.packages_index import Stanza
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.state import State
    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store

log = logging.getLogger(__name__)

_DAY = re.compile(r"[0-9]{8}")


class NotPublished(PackagingError):
    """The keyring package is not in every suite. The message says which, and why."""


class _OtherPackage(PackagingError):
    """A change that is to add the keyring package adds something else."""


@dataclass(frozen=True)
class Added:
    """A suite that was given the package."""

    suite: Suite
    pool_key: str
    artifact: Artifact

    def __str__(self) -> str:
        return f"{self.suite}: {self.artifact.name}"


def publish(store: Store, signer: Signer, settings: Settings, *, now: datetime | None = None) -> list[Added]:
    """Publish the package in every suite whose package is not that of today's keys.

    Returns the suites that changed. Raises NotPublished if a suite failed; the others have it then.
    """
    changed, faults = [], []
    for distro in front_page.list_distros(settings):
        suites = target_suites.list_distro_suites(distro, store, settings)
        try:
            states = {suite: suite.read(signer=signer) for suite in suites}
            deb = _choose(distro, states.values(), signer, settings, now or datetime.now(UTC))
            for suite, state in states.items():
                if state.release and not _has(state, deb):
                    _add(suite, deb, store, signer, settings)
                    pool_key = keys.in_repository(suite.repository, keys.keyring_pool() + deb.name)
                    changed.append(Added(suite, pool_key, deb.artifact))
        except (PackagingError, index.InvalidIndex) as error:
            faults.append(f"{distro.name}: {error}")
    if faults:
        raise NotPublished("\n".join(faults))
    return changed


def read_for_new_suite(
    suite: Suite, distro: Distro, store: Store, signer: Signer, settings: Settings
) -> Incoming | None:
    """The package for a suite that a publish opens, so that its users have it from the beginning.

    None if the checkout does not have the distribution, or the package cannot be made: then
    ``hhvm_publish_keyring`` says why.
    """
    shown = (one for one in front_page.list_distros(settings) if _is_same(one, distro))
    if (named := next(shown, None)) is None:
        return None
    try:
        others = target_suites.list_distro_suites(named, store, settings)
        states = [other.read(signer=signer) for other in others]
        deb = _choose(named, states, signer, settings, datetime.now(UTC))
        return _read(suite, deb, store, settings)
    except (PackagingError, index.InvalidIndex) as error:
        log.warning("%s begins without %s: %s", suite, KEYRING_PACKAGE, error)
        return None


def _is_same(one: Distro, other: Distro) -> bool:
    """Whether they are the same distribution, be it for different architectures."""
    return (one.repository, one.distribution) == (other.repository, other.distribution) and one.is_first


class KeyringDeb:
    """The package of one distribution, of one version."""

    def __init__(self, distro: Distro, version: str, public_keys: bytes, source: AptSource) -> None:
        self.distro = distro
        self.version = version
        day = datetime.strptime(version[:8], "%Y%m%d").replace(tzinfo=UTC)
        self.content = deb_file.make(
            {
                "Package": KEYRING_PACKAGE,
                "Version": version,
                "Architecture": "all",
                "Maintainer": "HHVM <opensource+hhvm@fb.com>",
                "Section": "misc",
                "Priority": "optional",
                "Description": "keys of the HHVM repository, and where it is\n"
                " Apt verifies HHVM's packages with these keys. Updates of this package bring new keys\n"
                " before they are used.",
            },
            {SOURCES_FILE: source.deb822.encode(), KEYRING_FILE: public_keys},
            conffiles=[SOURCES_FILE],
            time=int(day.timestamp()),
        )

    @property
    def name(self) -> str:
        """Its file name."""
        return f"{KEYRING_PACKAGE}_{self.version}_all.deb"

    @property
    def key(self) -> str:
        """Where it is in scratch."""
        return keys.keyring(self.distro.name, self.name)

    @property
    def artifact(self) -> Artifact:
        """Its size and digest."""
        return Artifact(
            name=self.name, size=len(self.content), sha256=index.sha256(self.content), md5="", stanza=None
        )


def _choose(
    distro: Distro, states: Iterable[State], signer: Signer, settings: Settings, now: datetime
) -> KeyringDeb:
    """The newest published package, if its content is today's. Otherwise one of a newer version."""
    source, public_keys = AptSource.of(distro, settings), signer.public_key()
    there = {stanza.version: stanza for state in states for stanza in _stanzas(state)}
    newest = max(there, key=Version, default="")
    if newest and _DAY.match(newest):
        deb = KeyringDeb(distro, newest, public_keys, source)
        if deb.artifact.sha256 == there[newest].sha256:
            return deb
    system, number, *_ = distro.name.split("-")
    for again in range(1000):
        # A version of three numbers could be taken for one of HHVM. The number is for upgrades of the
        # distribution; the codename because two distributions may have the same number, and one pool.
        version = f"{now:%Y%m%d}{f'.{again}' if again else ''}+{system}{number}.{distro.distribution}"
        if not newest or Version(version) > Version(newest):
            return KeyringDeb(distro, version, public_keys, source)
    raise NotPublished(f"{distro.name}: {KEYRING_PACKAGE} {newest} is published, which is of the future")


def _stanzas(state: State) -> list[Stanza]:
    return [
        stanza
        for entries in state.packages.values()
        for stanza in entries.stanzas
        if stanza.package == KEYRING_PACKAGE
    ]


def _has(state: State, deb: KeyringDeb) -> bool:
    return any(stanza.sha256 == deb.artifact.sha256 for stanza in _stanzas(state))


def _read(suite: Suite, deb: KeyringDeb, store: Store, settings: Settings) -> Incoming:
    """The package as a change of the suite takes it."""
    store.scratch.put(deb.key, deb.content, "application/vnd.debian.binary-package")
    build = Build(suite.repository, keys.keyring_pool(), {deb.key: deb.artifact}, {}, settings.architectures)
    return Incoming.read(str(suite), build, store.scratch, store.downloads, at_once=settings.requests_at_once)


def _add(suite: Suite, deb: KeyringDeb, store: Store, signer: Signer, settings: Settings) -> None:
    """Commit the package to the suite, also if an undo withdrew it: it has no fault of HHVM's."""
    new = _read(suite, deb, store, settings)
    # Holds are of versions of HHVM.
    suite.permit = _permit
    with suite.lock():
        current = suite.read(signer=signer)
        architectures = current.packages or settings.architectures
        change = add_packages(current, new, list(architectures), str(suite), reinstate=True)
        suite.carry_out(change, signer)
    log.info("%s offers %s %s", suite, KEYRING_PACKAGE, deb.version)


def _permit(change: Change) -> None:
    others = {package for package, _, _ in change.added} - {KEYRING_PACKAGE}
    if others:
        raise _OtherPackage(
            f"{', '.join(sorted(others))}: only {KEYRING_PACKAGE} is published without a version"
        )
