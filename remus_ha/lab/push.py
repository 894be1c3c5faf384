"""Install this checkout's package on a host, as a distribution's package would."""

import compileall
import configparser
import hashlib
import io
import py_compile
import shutil
import sys
import tarfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from remus_ha.lab.shell import Shell

_PACKAGES = "usr/lib/python3/dist-packages"
_STAMP = "/run/lab-push"
_NOT_FOR_HOSTS = {"remus-lab"}
_NOT_IN_DEBIAN = ("qemu.qmp",)  # pure Python, as pip would install it
_SCRIPT = """#!/usr/bin/python3
import sys

from {module} import {function}

sys.exit({function}())
"""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout of the project: the package and the metadata beside it."""

    root: Path

    @classmethod
    def here(cls) -> "Checkout":
        """The one that this module belongs to."""
        return cls(Path(__file__).resolve().parents[2])

    def install(self, shell: Shell, python: tuple[int, int]) -> None:
        """Make the host's installed package equal to this one; quick when it is already.

        ``python``: the host's version.
        """
        sources = self._sources()
        stamp = self._stamp(sources)
        if shell.run(f"cat {_STAMP}", check=False).stdout.decode().strip() == stamp:
            return
        shell.run(
            f"rm -rf /{_PACKAGES}/remus_ha /{_PACKAGES}/remus_ha-*.dist-info /{_PACKAGES}/qemu; "
            f"tar -x -z -f - -C / && {_compile_there(python)} && echo {stamp} >{_STAMP}",
            stdin=self.archive(sources, python),
        )

    def _sources(self) -> list[Path]:
        package = self.root / "remus_ha"
        files = (path for path in sorted(package.rglob("*")) if path.is_file())
        return [path for path in files if "__pycache__" not in path.parts]

    def _stamp(self, sources: list[Path]) -> str:
        whole = hashlib.sha256((self.root / "setup.cfg").read_bytes())
        for name in _NOT_IN_DEBIAN:
            whole.update(metadata.version(name).encode())
        for path in sources:
            whole.update(f"{path}\0{path.stat().st_mode}\0".encode())
            whole.update(path.read_bytes())
        return whole.hexdigest()

    def archive(self, sources: list[Path], python: tuple[int, int]) -> bytes:
        """A gzipped tar of what a host gets, paths from its root."""
        with TemporaryDirectory(prefix="remus-lab-push-") as name:
            tree = Path(name)
            self._fill(tree, sources, python)
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
                for path in sorted(tree.rglob("*")):
                    if not path.is_dir():
                        tar.add(path, str(path.relative_to(tree)), filter=_owned_by_root)
            return buffer.getvalue()

    def _fill(self, tree: Path, sources: list[Path], python: tuple[int, int]) -> None:
        packages = tree / _PACKAGES
        for path in sources:
            there = packages / path.relative_to(self.root)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, there)
        if _compiles_for(python):
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            compileall.compile_dir(
                packages, quiet=2, stripdir=str(tree), prependdir="/", invalidation_mode=mode
            )
        for name in _NOT_IN_DEBIAN:
            _fill_distribution(name, packages)
        self._fill_metadata(packages / "remus_ha-0.dist-info")
        self._fill_scripts(tree / "usr" / "bin")
        self._fill_xl_conf(tree / "etc" / "xen" / "xl.conf")
        self._fill_own_conf(tree / "etc" / "remus-ha" / "remus-ha.conf")

    def _fill_xl_conf(self, path: Path) -> None:
        """As the documentation recommends: what has no script of its own gets the product's."""
        path.parent.mkdir(parents=True)
        path.write_text(f'vif.default.script="/{_PACKAGES}/remus_ha/hotplug/vif-remus"\n')

    def _fill_own_conf(self, path: Path) -> None:
        """A lab host has no systemd."""
        path.parent.mkdir(parents=True)
        path.write_text("[libvirt]\nrestart = lab-libvirt restart\n")

    def _entry_points(self) -> dict[str, dict[str, str]]:
        """The entry points of setup.cfg: group, name, ``module:attribute``."""
        setup = configparser.ConfigParser()
        setup.read(self.root / "setup.cfg")
        groups = {}
        for group, text in setup["entry_points"].items():
            lines = (line.split("=", 1) for line in text.splitlines() if "=" in line)
            groups[group] = {name.strip(): target.strip() for name, target in lines}
        return groups

    def _fill_metadata(self, directory: Path) -> None:
        directory.mkdir()
        text = "Metadata-Version: 2.1\nName: remus_ha\nVersion: 0\n"
        (directory / "METADATA").write_text(text)
        lines = []
        for group, entries in self._entry_points().items():
            lines.append(f"[{group}]")
            lines += [f"{name} = {target}" for name, target in entries.items()]
        (directory / "entry_points.txt").write_text("\n".join(lines) + "\n")

    def _fill_scripts(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        for name, target in self._entry_points().get("console_scripts", {}).items():
            if name not in _NOT_FOR_HOSTS:
                module, function = target.split(":")
                script = directory / name
                script.write_text(_SCRIPT.format(module=module, function=function))
                script.chmod(0o755)


def _fill_distribution(name: str, packages: Path) -> None:
    """Copy an installed distribution's modules."""
    for file in metadata.files(name) or ():
        if file.suffix == ".py":
            there = packages / file
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), there)


def _compiles_for(python: tuple[int, int]) -> bool:
    """Byte code is for one version alone."""
    return sys.version_info[:2] == python


def _compile_there(python: tuple[int, int]) -> str:
    if _compiles_for(python):
        return "true"
    return f"python3 -m compileall -q /{_PACKAGES}/remus_ha"


def _owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info
