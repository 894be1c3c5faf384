"""This machine's own apt configuration, from which the lab's images are installed."""

import re
import subprocess
from pathlib import Path

from remus_ha.lab.errors import NoAptSources

_APT = Path("/etc/apt")


def sources_for(release: str, apt: Path = _APT) -> list[Path]:
    """The source files that offer ``release``'s main component. Raises NoAptSources."""
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    found = [file for file in files if _offers(file, release)]
    if not found:
        raise NoAptSources(release=release)
    return found


def _offers(file: Path, release: str) -> bool:
    if not file.is_file() or file.suffix not in {".list", ".sources"}:
        return False
    text = re.sub(r"^[ \t]*#.*\n?", "", file.read_text(), flags=re.MULTILINE)
    if file.suffix == ".sources":
        return any(_stanza_offers(stanza, release) for stanza in re.split(r"\n\s*\n", text))
    return any(
        re.match(rf"deb\s+(\[.*?\]\s+)?\S+\s+{release}\s+(.*\s)?main\b", line)
        for line in text.splitlines()
    )


def _stanza_offers(stanza: str, release: str) -> bool:
    fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, flags=re.MULTILINE))
    return (
        "deb" in fields.get("Types", "").split()
        and release in fields.get("Suites", "").split()
        and "main" in fields.get("Components", "").split()
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
