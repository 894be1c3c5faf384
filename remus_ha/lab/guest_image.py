"""The standard guest's image: busybox, our two programs, front-end drivers and ext4.

``/modules`` is loaded at every start, ``/ext4`` when the kernel command line says ``ext4``.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from remus_ha.lab.cc import FLAGS, compile_static
from remus_ha.lab.initrd import pack

MODULES = ("xen-netfront", "xen-blkfront")
EXT4_MODULES = ("crc32c_generic", "ext4")
_SOURCES = Path(__file__).parent / "guest"


def inputs() -> list[str | bytes | Path]:
    """All that decides the image's content besides the modules."""
    return [*MODULES, *EXT4_MODULES, *FLAGS, *sorted(_SOURCES.glob("*"))]


def compile_ledger(program: Path) -> None:
    """Build the guest program as a static executable at ``program``."""
    compile_static(_SOURCES / "ledger.c", program)


def compile_disks(program: Path) -> None:
    """Build the guest's disk program as a static executable at ``program``."""
    compile_static(_SOURCES / "disks.c", program, *sorted(_SOURCES.glob("disks_*.c")))


def build(modules: Path, ext4_modules: Path, image: Path) -> None:
    """Write the guest's initial RAM file system to ``image``."""
    image.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="remus-lab-guest-") as name:
        tree = Path(name)
        shutil.copytree(modules, tree / "modules")
        shutil.copytree(ext4_modules, tree / "ext4")
        shutil.copy("/bin/busybox", tree / "busybox")
        shutil.copy(_SOURCES / "init", tree / "init")
        compile_ledger(tree / "ledger")
        compile_disks(tree / "disks")
        pack(tree, image)
