"""Initial RAM file systems: the modules they need and the newc archive."""

import lzma
from pathlib import Path
from shutil import copy

from remus_ha.lab.run import run


def collect_modules(tree: Path, release: str, names: tuple[str, ...], into: Path) -> None:
    """Copy ``names`` and what they depend on out of a root tree, numbered in load order.

    Decompressed: an emulated host would take long for that, and busybox's insmod may not know how.
    """
    into.mkdir(parents=True)
    run(["chroot", tree, "depmod", release])
    wanted: dict[str, None] = {}
    for name in names:
        shown = run(["chroot", tree, "modprobe", "-S", release, "--show-depends", name])
        lines = (line.split() for line in shown.splitlines())
        wanted.update((words[1], None) for words in lines if words[0] == "insmod")
    for number, path in enumerate(wanted):
        name = Path(path).name
        _put(tree / path.lstrip("/"), into / f"{number:02d}-{name.removesuffix('.xz')}")


def _put(module: Path, there: Path) -> None:
    if module.suffix == ".xz":
        there.write_bytes(lzma.decompress(module.read_bytes()))
    else:
        copy(module, there)


def pack(tree: Path, image: Path) -> None:
    """Write ``tree`` as a newc cpio archive owned by root, not compressed: it loads faster."""
    names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    run(
        ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0", "-F", image.resolve()],
        stdin="\n".join([".", *names]) + "\n",
        cwd=tree,
    )
