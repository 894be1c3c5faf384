"""A cache of built directories, each named by a hash of all that went into it.

An entry is either whole or absent: it is built beside its place and renamed, under a lock, so
that an interrupted build leaves nothing that looks finished and two builders build once.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path


def root() -> Path:
    """The cache's directory: REMUS_HA_CACHE, else ``~/.cache/remus-ha``."""
    named = os.environ.get("REMUS_HA_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "remus-ha"


def key_of(inputs: Iterable[str | bytes | Path]) -> str:
    """16 hex digits over the inputs in order; a Path counts with its name and its content.

    Each input is hashed by itself first, so no two different lists run together.
    """
    whole = hashlib.sha256()
    for item in inputs:
        whole.update(hashlib.sha256(_bytes_of(item)).digest())
    return whole.hexdigest()[:16]


def _bytes_of(item: str | bytes | Path) -> bytes:
    if isinstance(item, Path):
        return item.name.encode() + b"\0" + item.read_bytes()
    return item.encode() if isinstance(item, str) else item


def entry(name: str, key: str, build: Callable[[Path], None], *, keep: int) -> Path:
    """The directory ``name-key``; when it is not there yet, made by ``build(directory)``.

    After a build only the ``keep`` newest entries of that name stay.
    """
    place = root() / f"{name}-{key}"
    if place.is_dir():
        return place
    root().mkdir(parents=True, exist_ok=True)
    with open(root() / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            _build_aside(place, build)
            _prune(name, keep)
    return place


def _prune(name: str, keep: int) -> None:
    entries = sorted(root().glob(f"{name}-*"), key=lambda path: path.stat().st_mtime)
    for old in entries[:-keep]:
        shutil.rmtree(old)


def _build_aside(place: Path, build: Callable[[Path], None]) -> None:
    aside = place.with_name(f".{place.name}.building")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        build(aside)
        aside.rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
