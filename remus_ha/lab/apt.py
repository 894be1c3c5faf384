"""This machine's own apt configuration, from which the lab's images are installed.

A mirror of Debian has several releases: where no source of this machine names the wanted one, those
of the machine's own release do, with the wanted name in the place of theirs.
"""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from remus_ha.lab.errors import NoAptSources, NoArchiveKeys

_SUITES = re.compile(r"^Suites:[ \t]*(.*)$", re.MULTILINE)
_LINE = re.compile(r"deb\s+(?:\[.*?\]\s+)?\S+\s+(\S+)\s+(?:.*\s)?main\b")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where this machine says what it is and what it installs from."""

    apt: Path = Path("/etc/apt")
    os_release: Path = Path("/etc/os-release")
    keyrings: Path = Path("/usr/share/keyrings")

    @property
    def release(self) -> str:
        """The code name of its own release of Debian, empty where it is none."""
        lines = (line.partition("=") for line in self.os_release.read_text().splitlines())
        told = {key: value.strip('"') for key, _, value in lines}
        return told.get("VERSION_CODENAME", "") if told.get("ID") == "debian" else ""

    @property
    def sources(self) -> list[Path]:
        """All files that apt reads."""
        files = [self.apt / "sources.list", *sorted((self.apt / "sources.list.d").glob("*"))]
        return [file for file in files if file.is_file() and file.suffix in {".list", ".sources"}]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A stanza or a line that has packages of main; its suites are ``text[start:end]``."""

    text: str
    start: int
    end: int

    @property
    def suites(self) -> list[str]:
        return self.text[self.start : self.end].split()

    def is_of(self, release: str) -> bool:
        """Whether all of it belongs to one release: its own suite, and those for its updates."""
        return all(suite.partition("-")[0] == release for suite in self.suites)

    def of_other(self, release: str) -> str:
        """The same of another release."""
        suites = (release + "".join(suite.partition("-")[1:]) for suite in self.suites)
        return self.text[: self.start] + " ".join(suites) + self.text[self.end :]


def sources_for(release: str, place: Path, machine: Machine | None = None) -> list[Path]:
    """Source files that offer ``release``'s main component: the machine's own, else derived ones.

    Those are written to ``place``. Raises NoAptSources, NoArchiveKeys.
    """
    machine = machine or Machine()
    found = [file for file in machine.sources if _offers(_entries(file), release)]
    return found or _derived(release, place, machine)


def _derived(release: str, place: Path, machine: Machine) -> list[Path]:
    own = machine.release
    kept = {
        file: [entry for entry in _entries(file) if entry.is_of(own)] for file in machine.sources
    }
    if not any(_offers(entries, own) for entries in kept.values()):
        raise NoAptSources(release=release)
    if not any(machine.keyrings.glob(f"debian-archive-{release}-*")):
        raise NoArchiveKeys(release=release)
    place.mkdir()
    return [
        _write(place / file.name, entries, release) for file, entries in kept.items() if entries
    ]


def _write(file: Path, entries: Iterable[_Entry], release: str) -> Path:
    file.write_text("\n\n".join(entry.of_other(release).strip() for entry in entries) + "\n")
    return file


def _offers(entries: Iterable[_Entry], release: str) -> bool:
    return any(release in entry.suites for entry in entries)


def _entries(file: Path) -> list[_Entry]:
    text = re.sub(r"^[ \t]*#.*\n?", "", file.read_text(), flags=re.MULTILINE)
    if file.suffix == ".sources":
        stanzas = (stanza for stanza in re.split(r"\n\s*\n", text) if _has_main(stanza))
        return [
            _Entry(found.string, *found.span(1)) for found in map(_SUITES.search, stanzas) if found
        ]
    return [
        _Entry(found.string, *found.span(1))
        for found in map(_LINE.match, text.splitlines())
        if found
    ]


def _has_main(stanza: str) -> bool:
    fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, flags=re.MULTILINE))
    return (
        "deb" in fields.get("Types", "").split() and "main" in fields.get("Components", "").split()
    )


def proxy_options() -> list[str]:
    """The machine's apt proxy settings as apt options, so that the build uses them too."""
    options = []
    for scheme in ("http", "https"):
        name = f"Acquire::{scheme}::Proxy"
        asked = subprocess.run(
            ["apt-config", "dump", "--format", "%v", name], capture_output=True, text=True
        )
        if value := asked.stdout.strip():
            options.append(f'{name} "{value}"')
    return options
