"""A xenstore of files: its programs for scripts, and its connection for the product.

Imports nothing of the tests: a script of cases takes it along into a dom0.
"""

import shutil
from pathlib import Path

from remus_ha.hypervisor.xen.xenstore import Xenstore

_PROGRAMS = {
    "xenstore-write": """while [ $# -gt 1 ]; do
    mkdir -p "{root}${{1%/*}}" && printf %s "$2" >"{root}$1" || exit 1
    shift 2
done""",
    "xenstore-read": 'cat "{root}$1"',
    "xenstore-rm": """[ "$1" = -t ] && shift
for path; do rm -rf "{root}$path"; done""",
}


class Files:
    """In place of a connection of ``xen.lowlevel.xs``, and whoever opens one gets it."""

    def __init__(self, root: Path) -> None:
        self.root, self.bin = root / "store", root / "bin"
        self.root.mkdir()
        self.bin.mkdir()
        for name, text in _PROGRAMS.items():
            program = self.bin / name
            program.write_text(f"#!/bin/sh\n{text.format(root=self.root)}\n")
            program.chmod(0o755)

    def open(self) -> Xenstore:
        return Xenstore(self, OSError)

    def read(self, _transaction: str, path: str) -> bytes | None:
        try:
            return self._file(path).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, path: str, value: str) -> None:
        self._file(path).parent.mkdir(parents=True, exist_ok=True)
        self._file(path).write_text(value)

    def rm(self, _transaction: str, path: str) -> None:
        file = self._file(path)
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)

    def nodes(self) -> list[str]:
        """Every node with a value."""
        return sorted(f"/{p.relative_to(self.root)}" for p in self.root.rglob("*") if p.is_file())

    def close(self) -> None:
        pass

    def _file(self, path: str) -> Path:
        return self.root / path.lstrip("/")
