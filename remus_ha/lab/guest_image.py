"""The standard guest's image: busybox, the ledger program and the front-end drivers."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from remus_ha.lab.cc import FLAGS, compile_static
from remus_ha.lab.initrd import pack

MODULES = ("xen-netfront", "xen-blkfront")
_SOURCES = Path(__file__).parent / "guest"


def inputs() -> list[str | bytes | Path]:
    """All that decides the image's content besides the modules."""
    return [*MODULES, *FLAGS, _SOURCES / "ledger.c", _SOURCES / "init"]


def compile_ledger(program: Path) -> None:
    """Build the guest program as a static executable at ``program``."""
    compile_static(_SOURCES / "ledger.c", program)


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
