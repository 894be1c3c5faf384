"""Initial RAM file systems: the modules they need and the newc archive."""

from pathlib import Path
from shutil import copy

from remus_ha.lab.run import run


def collect_modules(tree: Path, release: str, names: tuple[str, ...], into: Path) -> None:
    """Copy ``names`` and what they depend on out of a root tree, numbered in load order."""
    into.mkdir(parents=True)
    run(["chroot", tree, "depmod", release])
    wanted: dict[str, None] = {}
    for name in names:
        shown = run(["chroot", tree, "modprobe", "-S", release, "--show-depends", name])
        lines = (line.split() for line in shown.splitlines())
        wanted.update((words[1], None) for words in lines if words[0] == "insmod")
    for number, path in enumerate(wanted):
        copy(tree / path.lstrip("/"), into / f"{number:02d}-{Path(path).name}")


def pack(tree: Path, image: Path) -> None:
    """Write ``tree`` as a newc cpio archive owned by root, not compressed: it loads faster."""
    names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    run(
        ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0", "-F", image.resolve()],
        stdin="\n".join([".", *names]) + "\n",
        cwd=tree,
    )
