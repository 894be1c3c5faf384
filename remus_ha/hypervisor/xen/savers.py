"""Noticing that somebody else begins to save a domain.

Two save helpers on one domain clear the same log-dirty bitmap, and a checkpoint would miss pages
without a sign. The helper's binary is watched with inotify: its opening precedes its first
hypercall, so the session ends before an epoch can be wrong.
"""

import contextlib
import ctypes
import os
from pathlib import Path

from remus_ha.hypervisor.xen import paths

_IN_OPEN = 0x20
_IN_NONBLOCK = 0o4000
_IN_CLOEXEC = 0o2000000
RESTORED = -1  # stands for the domain of a restore, which is not known


class Savers:
    """``fileno`` is readable when a save helper was started after this object was made."""

    def __init__(self, version: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        helper = os.fsencode(paths.save_helper(version))
        if self._fd < 0 or libc.inotify_add_watch(self._fd, helper, _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def fileno(self) -> int:
        return int(self._fd)

    def drain(self) -> None:
        """Read away what made ``fileno`` readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 65536)

    @staticmethod
    def seen() -> set[int]:
        """The domains that helpers of other processes save now; RESTORED where one restores."""
        found = (_saved_domain(p) for p in Path("/proc").iterdir() if p.name.isdigit())
        return {domid for domid in found if domid is not None}

    def close(self) -> None:
        os.close(self._fd)


def _saved_domain(process: Path) -> int | None:
    """The domain that a process saves, RESTORED, or None for a child of ours, or others."""
    try:
        argv = (process / "cmdline").read_bytes().split(b"\0")
        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
    except (OSError, IndexError):
        return None
    if len(argv) < 5 or int(parent) == os.getpid():
        return None
    if argv[1] == b"--restore-domain":
        return RESTORED
    return int(argv[4]) if argv[1] == b"--save-domain" and argv[4].isdigit() else None
