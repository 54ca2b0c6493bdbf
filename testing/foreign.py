"""Repositories as other tools really make them, reprepro and aptly, and apt on this machine to read them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testing.debs import SourceFile, source

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from testing.debs import Deb

ROOT = Path(__file__).resolve().parents[1]
SECTION = "Section: web\nPriority: optional\n"
"""Lines of a control file without which reprepro takes no package."""


def install_tools() -> None:
    """Install the tools where they are missing."""
    if missing := [tool for tool in ("reprepro", "aptly") if not shutil.which(tool)]:
        subprocess.run([ROOT / "demo/debian-packages", *missing], check=True)


@dataclass(frozen=True)
class Maker:
    """What makes repositories, signed by one key; ``work`` is its own directory."""

    work: Path
    home: Path
    """Of gpg, with the key."""
    fingerprint: str

    def reprepro(
        self, out: Path, distributions: str, packages: Mapping[tuple[str, str], Sequence[Deb]]
    ) -> None:
        """Make or extend a repository in the directory ``out``.

        ``distributions`` is reprepro's configuration but for SignWith. ``packages`` are by suite and
        component; each is included with its source.
        """
        conf = self.work / "reprepro/conf"
        conf.mkdir(parents=True, exist_ok=True)
        stanzas = [
            f"{stanza.strip()}\nSignWith: {self.fingerprint}\n" for stanza in distributions.split("\n\n")
        ]
        (conf / "distributions").write_text("\n".join(stanzas))
        command: list[str | Path] = [
            "reprepro",
            "--basedir",
            conf.parent,
            "--outdir",
            out,
            "--silent",
            "--keepunreferencedfiles",
        ]
        include = [*command, "--section", "web", "--priority", "optional", "-C"]
        self._run(*command, "export")
        for (suite, component), debs in packages.items():
            for deb in debs:
                directory = self._write(deb)
                self._run(*include, component, "includedeb", suite, directory / deb.name)
                for dsc in directory.glob("*.dsc"):
                    self._run(*include, component, "includedsc", suite, dsc)

    def aptly(self, out: Path, suite: str, debs: Sequence[Deb], *options: str) -> None:
        """Publish a new repository of aptly with one suite, component main, to the directory ``out``."""
        configuration = self.work / "aptly.json"
        content = {
            "rootDir": str(self.work / "aptly"),
            "gpgProvider": "gpg",
            "FileSystemPublishEndpoints": {"out": {"rootDir": str(out.parent), "linkMethod": "copy"}},
        }
        configuration.write_text(json.dumps(content))
        aptly = ["aptly", f"-config={configuration}"]
        self._run(*aptly, "repo", "create", f"-distribution={suite}", suite)
        for deb in debs:
            self._run(*aptly, "repo", "add", suite, self._write(deb))
        publish = ["publish", "repo", "-batch", f"-gpg-key={self.fingerprint}", "-architectures=amd64,source"]
        self._run(*aptly, *publish, *options, suite, f"filesystem:out:{out.name}")

    def _write(self, deb: Deb) -> Path:
        """Write a package and its source where the tools find them."""
        directory = self.work / "incoming" / f"{deb.package}_{deb.version}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / deb.name).write_bytes(deb.content)
        for file in described(deb):
            (directory / file.name).write_bytes(file.content)
        return directory

    def _run(self, *command: str | Path) -> None:
        environment = {**os.environ, "GNUPGHOME": str(self.home)}
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            raise AssertionError(f"{command}: {done.stdout}")


def described(deb: Deb) -> Iterable[SourceFile]:
    """The source of a package, with a description of a maintainer: tools want one."""
    dsc, *others = source(deb)
    content = dsc.content.replace(b"Binary: ", b"Maintainer: HHVM <hhvm@example.org>\nBinary: ", 1)
    return [SourceFile(dsc.name, content), *others]


@contextlib.contextmanager
def maker(private_key: str) -> Generator[Maker]:
    """A maker of repositories that are signed by the key, for as long as the ``with`` statement takes."""
    install_tools()
    with tempfile.TemporaryDirectory(prefix="hhvm-foreign-") as directory:
        home = Path(directory, "gpg")
        home.mkdir(mode=0o700)
        gpg = ["gpg", f"--homedir={home}", "--batch", "--pinentry-mode=loopback", "--passphrase="]
        subprocess.run([*gpg, "--import"], input=private_key, text=True, check=True, capture_output=True)
        listed = subprocess.run(
            [*gpg, "--list-secret-keys", "--with-colons"], text=True, check=True, capture_output=True
        ).stdout
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
        try:
            yield Maker(Path(directory), home, fingerprint)
        finally:
            subprocess.run(["gpgconf", f"--homedir={home}", "--kill", "all"], check=True)


class AptFailed(Exception):
    """Apt's own words."""


@dataclass(frozen=True)
class LocalApt:
    """Apt of this machine with lists of its own, as a user has it whose only source is the repository."""

    directory: Path

    def run(self, *words: str) -> str:
        """The output of apt-get, or of apt-cache. Raises AptFailed."""
        options = {
            "Dir::State": self.directory / "state",
            "Dir::State::status": self.directory / "status",
            "Dir::Cache": self.directory / "cache",
            "Dir::Etc::SourceList": self.directory / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",
            "Acquire::Retries": "0",
            # As older releases of apt have it by default.
            "Acquire::AllowReleaseInfoChange": "false",
            "Acquire::AllowReleaseInfoChange::Suite": "false",
            "Acquire::AllowReleaseInfoChange::Version": "false",
        }
        command = "apt-cache" if words[0] in ("policy", "madison", "showsrc") else "apt-get"
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        done = subprocess.run(
            [command, "--quiet", *flags, *words],
            cwd=self.directory,
            # Without this machine's own settings.
            env={**os.environ, "APT_CONFIG": str(self.directory / "apt.conf")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode or "\nW: " in done.stdout:
            raise AptFailed(done.stdout)
        return done.stdout

    def update(self) -> str:
        """Get the lists. Raises AptFailed also if apt only warns."""
        return self.run("update", "--error-on=any")

    def candidate(self, package: str) -> str | None:
        """The version that an installation would take; None for none."""
        lines = self.run("policy", package).splitlines()
        found = next((line.split()[-1] for line in lines if "Candidate:" in line), "(none)")
        return None if found == "(none)" else found

    def versions(self, package: str) -> set[str]:
        """All versions that the suite offers, binary and source."""
        return {line.split("|")[1].strip() for line in self.run("madison", package).splitlines()}

    def fetch(self, package: str, version: str) -> None:
        """Fetch a package and its source, whose digests apt checks. Raises AptFailed."""
        self.run("download", f"{package}={version}")
        self.run("source", "--download-only", f"{package}={version}")


def local_apt(directory: Path, url: str, suite: str, public_key: str, components: str = "main") -> LocalApt:
    """An apt with its files in ``directory`` that knows the suite and has not got its lists yet."""
    for name in ("state/lists/partial", "cache/archives/partial", "none"):
        (directory / name).mkdir(parents=True)
    key = directory / "hhvm.asc"
    key.write_text(public_key)
    (directory / "status").touch()
    (directory / "apt.conf").write_text(
        f'Dir::Etc::Main "/dev/null";\nDir::Etc::Parts "{directory / "none"}";\n'
    )
    lines = (f"{kind} [signed-by={key}] {url} {suite} {components}\n" for kind in ("deb", "deb-src"))
    (directory / "sources.list").write_text("".join(lines))
    return LocalApt(directory)
