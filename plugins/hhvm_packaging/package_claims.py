"""What a package may claim over others on a user's machine, and how a distribution declares that it is meant.

Any package of a repository is a candidate for each of its users, and the fields of its entry in the index
decide what apt does with it: `Essential: yes` installs it everywhere, `Provides: sudo` makes it an answer to
`apt-get install sudo`. So a package that makes such a claim is published only if debian/control of its
distribution makes the same claim, and the setting ``allowed_claims`` has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhvm_packaging.release import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CLAIM = r"[A-Z][A-Za-z-]*: [a-z0-9][a-z0-9+.-]*"
"""The form of a claim: a field, and one value or the name of one package."""

# Debian policy 5.6, deb-control(5), and what Debian's and Ubuntu's own tools read.
# Fields that name packages.
_RELATIONS = ("Package", "Provides", "Replaces", "Conflicts", "Breaks", "Enhances")
_PLAIN = {
    "Essential": ("no",),
    "Protected": ("no",),
    "Important": ("no",),
    "Build-Essential": ("no",),
    # debootstrap installs the others.
    "Priority": ("optional", "extra"),
    "Package-Type": ("deb", "ddeb"),
}
"""Fields and their values that claim nothing."""
# Fields that claim something whatever they say.
_ANY = ("Task", "Modaliases", "Phased-Update-Percentage", "Installer-Menu-Item")
_NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)")


@dataclass(frozen=True)
class Allowed:
    """What packages of a distribution may claim: what both say."""

    declared: tuple[str, ...] = ()
    """By debian/control of the distribution."""
    by_setting: tuple[str, ...] = ()

    def refuse(self, claims: Iterable[str]) -> str:
        """Why a package with these claims is not published; empty if it may be."""
        faults = []
        for claim in claims:
            missing = []
            if claim not in self.declared:
                missing.append("debian/control of the distribution does not declare it")
            if claim not in self.by_setting:
                missing.append("the setting allowed_claims does not have it")
            if missing:
                faults.append(f'it claims "{claim}", but {" and ".join(missing)}')
        return "; ".join(faults)


NONE = Allowed()
"""Packages may claim nothing."""


def find_claims(fields: Mapping[str, str]) -> tuple[str, ...]:
    """The claims of a package, each as "Field: value", sorted. ``fields`` are those of its control file.

    The names of our own packages are no claim.
    """
    named = {name.lower(): value.strip() for name, value in fields.items()}
    return tuple(sorted(set(_claims(named))))


def _claims(fields: Mapping[str, str]) -> Iterator[str]:
    for field in _RELATIONS:
        others = (name for name in _list_names(fields.get(field.lower(), "")) if not is_ours(name))
        yield from (f"{field}: {name}" for name in others)
    for field, plain in _PLAIN.items():
        value = fields.get(field.lower(), plain[0]).lower()
        if value not in plain:
            yield f"{field}: {_word(value)}"
    yield from (
        f"{field}: {_word(fields[field.lower()].lower())}" for field in _ANY if field.lower() in fields
    )


def declared(control: str) -> tuple[str, ...]:
    """The claims that the binary packages of a debian/control make, sorted."""
    from debian import deb822

    found: set[str] = set()
    for paragraph in deb822.Deb822.iter_paragraphs(control, use_apt_pkg=False):
        if "Package" in paragraph:
            found.update(find_claims(paragraph))
    return tuple(sorted(found))


def is_ours(package: str) -> bool:
    """Whether a package of that name is one of HHVM's, of whichever kind of version."""
    return f"{package}-".startswith(f"{PACKAGE}-")


def _list_names(relation: str) -> list[str]:
    """The names of the packages in a field; a substitution variable of debian/control has none."""
    found = (_NAME.match(part) for part in re.split(r"[,|]", relation))
    return [match[1] for match in found if match]


def _word(value: str) -> str:
    """A value as it stands in a claim: what is no word is shown as one."""
    return re.sub(r"[^a-z0-9+.-]+", "-", value).strip("-.+") or "empty"
