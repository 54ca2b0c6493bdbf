"""What users put into /etc/apt to get packages of ours: where it is, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.planning import target_suites

if TYPE_CHECKING:
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.settings import Settings

SOURCES_FILE = "/etc/apt/sources.list.d/hhvm.sources"
_KEYRING = "/usr/share/keyrings/hhvm-archive-keyring"
_ARMOR = b"-----BEGIN PGP"


@dataclass(frozen=True)
class AptSource:
    """A repository's suites, and the file with the keys that sign them."""

    url: str
    """The repository."""
    suites: tuple[str, ...]
    keyring: str
    """The path of the file with the public keys."""

    @classmethod
    def of(cls, distro: Distro, public_keys: bytes, settings: Settings) -> AptSource:
        """What users of the distribution need for releases and nightlies."""
        return cls(
            settings.published(distro.repository),
            target_suites.choose_main_suites(distro, settings),
            keyring_path(public_keys),
        )

    @property
    def deb822(self) -> str:
        """The content of SOURCES_FILE, see sources.list(5)."""
        return (
            f"Types: deb\nURIs: {self.url}\nSuites: {' '.join(self.suites)}\nComponents: main\n"
            f"Signed-By: {self.keyring}\n"
        )

    @property
    def lines(self) -> str:
        """The same in the one-line format, which older programs read, too."""
        return "\n".join(f"deb [signed-by={self.keyring}] {self.url} {suite} main" for suite in self.suites)


def keyring_path(public_keys: bytes) -> str:
    """The path of the keys' file. Apt tells by its suffix whether it is armored: see apt-key(8)."""
    return f"{_KEYRING}.{'asc' if public_keys.lstrip().startswith(_ARMOR) else 'gpg'}"
