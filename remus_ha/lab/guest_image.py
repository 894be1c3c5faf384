"""The standard guest's image: busybox, the ledger program and the front-end drivers."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from remus_ha.lab.initrd import pack
from remus_ha.lab.run import run

MODULES = ("xen-netfront", "xen-blkfront")
_SOURCES = Path(__file__).parent / "guest"
_CFLAGS = ("-std=gnu11", "-O2", "-static", "-Wall", "-Wextra", "-Werror")


def inputs() -> list[str | bytes | Path]:
    """All that decides the image's content besides the modules."""
    return [*MODULES, *_CFLAGS, _SOURCES / "ledger.c", _SOURCES / "init"]


def compile_ledger(program: Path) -> None:
    """Build the guest program as a static executable at ``program``."""
    run(["gcc", *_CFLAGS, "-o", program, _SOURCES / "ledger.c"])


def build(modules: Path, image: Path) -> None:
    """Write the guest's initial RAM file system to ``image``."""
    image.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="remus-lab-guest-") as name:
        tree = Path(name)
        shutil.copytree(modules, tree / "modules")
        shutil.copy("/bin/busybox", tree / "busybox")
        shutil.copy(_SOURCES / "init", tree / "init")
        compile_ledger(tree / "ledger")
        pack(tree, image)
