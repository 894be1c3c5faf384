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


class Savers:
    """``fileno`` is readable when a save helper was started, by whomever."""

    def __init__(self, version: str, domid: int) -> None:
        self._domid = domid
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

    def foreign(self) -> bool:
        """Whether a save of this domain runs whose parent is not this process."""
        return any(self._is_foreign(p) for p in Path("/proc").iterdir() if p.name.isdigit())

    def _is_foreign(self, process: Path) -> bool:
        try:
            argv = (process / "cmdline").read_bytes().split(b"\0")
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            return False
        if len(argv) < 5 or argv[1] != b"--save-domain" or int(parent) == os.getpid():
            return False
        return argv[4] == str(self._domid).encode()

    def close(self) -> None:
        os.close(self._fd)
