"""The standard guest's images: busybox, our programs and front-end drivers; ext4 for disks.

``/modules`` is loaded at every start, ``/ext4`` when the kernel command line says ``ext4``.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from remus_ha.lab.cc import FLAGS, compile_static
from remus_ha.lab.initrd import pack

MODULES = ("xen-netfront", "xen-blkfront")
EXT4_MODULES = ("crc32c_generic", "ext4")
DATABASE_LIBRARIES = ("sqlite3", "m")
_SOURCES = Path(__file__).parent / "guest"


def inputs() -> list[str | bytes | Path]:
    """All that decides the image's content besides the modules."""
    names = [*MODULES, *EXT4_MODULES, *FLAGS, *DATABASE_LIBRARIES]
    return [*names, *sorted(_SOURCES.glob("*"))]


def compile_ledger(program: Path) -> None:
    """Build the guest program as a static executable at ``program``."""
    compile_static(_SOURCES / "ledger.c", program)


def compile_disks(program: Path) -> None:
    """Build the guest's disk program as a static executable at ``program``."""
    compile_static(_SOURCES / "disks.c", program, *_parts("disks"))


def compile_database(program: Path, *more: Path) -> None:
    """Build the guest's database program as a static executable at ``program``.

    What ``more`` sources define comes before the C library's.
    """
    parts = [*_parts("database"), *more]
    compile_static(_SOURCES / "database.c", program, *parts, libraries=DATABASE_LIBRARIES)


def _parts(name: str) -> list[Path]:
    return [*sorted(_SOURCES.glob(f"{name}_*.c")), _SOURCES / "device.c"]


def build(modules: Path, image: Path) -> None:
    """Write the initial RAM file system of a guest without disks to ``image``."""
    image.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="remus-lab-guest-") as name:
        tree = Path(name)
        shutil.copytree(modules, tree / "modules")
        shutil.copy("/bin/busybox", tree / "busybox")
        shutil.copy(_SOURCES / "init", tree / "init")
        compile_ledger(tree / "ledger")
        pack(tree, image)


def build_with_disks(plain: Path, ext4_modules: Path, image: Path) -> None:
    """Write that of a guest with disks: the ``plain`` one, and more after it.

    The kernel unpacks one archive after the other. A guest without disks has no memory for this.
    """
    with TemporaryDirectory(prefix="remus-lab-guest-") as name:
        tree = Path(name) / "tree"
        shutil.copytree(ext4_modules, tree / "ext4")
        compile_disks(tree / "disks")
        compile_database(tree / "database")
        more = Path(name) / "more.img"
        pack(tree, more)
        image.write_bytes(plain.read_bytes() + more.read_bytes())
