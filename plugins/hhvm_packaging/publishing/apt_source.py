"""What users put into /etc/apt to get packages of ours: where it is, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.planning import target_suites

if TYPE_CHECKING:
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.settings import Settings

SOURCES_FILE = "/etc/apt/sources.list.d/hhvm.sources"
"""Also where hhvm-archive-keyring has it: a user's file with the same content is no conflict."""
KEYRING_FILE = "/usr/share/keyrings/hhvm-archive-keyring.asc"
"""The public keys, armored."""


@dataclass(frozen=True)
class AptSource:
    """Suites of a repository, which the keys in KEYRING_FILE sign."""

    url: str
    """The repository."""
    suites: tuple[str, ...]

    @classmethod
    def of(cls, distro: Distro, settings: Settings) -> AptSource:
        """What users of the distribution need for releases and nightlies."""
        return cls(settings.published(distro.repository), target_suites.choose_main_suites(distro, settings))

    @property
    def deb822(self) -> str:
        """The content of SOURCES_FILE, see sources.list(5)."""
        return (
            f"Types: deb\nURIs: {self.url}\nSuites: {' '.join(self.suites)}\nComponents: main\n"
            f"Signed-By: {KEYRING_FILE}\n"
        )

    @property
    def lines(self) -> str:
        """The same in the one-line format, which older programs read, too."""
        return "\n".join(f"deb [signed-by={KEYRING_FILE}] {self.url} {suite} main" for suite in self.suites)
