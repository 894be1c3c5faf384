"""What a process crash keeps and a host crash loses: one directory per role and guest in /run.

``session.json`` is written once before the per-guest process starts; it carries the session's
nonce (design §4, W1). Everything else there is small state for a restart.
"""

import fcntl
import json
import os
import secrets
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("REMUS_HA_RUN_DIR", "/run/remus-ha"))
LOGS = Path(os.environ.get("REMUS_HA_LOG_DIR", "/var/log/remus-ha"))
STATE = Path(os.environ.get("REMUS_HA_STATE_DIR", "/var/lib/remus-ha"))

ROLES = ("primary", "backup")


def directory(role: str, uuid: str) -> Path:
    """``role`` is one of ROLES."""
    return ROOT / role / uuid


def restore_log(uuid: str) -> Path:
    """What the restoring process of a guest's copy says."""
    return LOGS / f"restore-{uuid}.log"


def forget(role: str, uuid: str) -> None:
    """Remove everything of a session but its result."""
    for path in directory(role, uuid).iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != "result.json":
            path.unlink(missing_ok=True)


def control_socket(role: str, uuid: str) -> Path:
    """Where the per-guest process answers ``status`` and ``unprotect``."""
    return directory(role, uuid) / "control.sock"


def sessions(role: str) -> list[str]:
    """UUIDs of the guests that have a session of that role on this host, running or left over."""
    root = ROOT / role
    if not root.is_dir():
        return []
    return sorted(p.name for p in root.iterdir() if (p / "session.json").is_file())


def write_json(path: Path, value: Any) -> None:
    """Replace a file as a whole; readers see the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w") as f:
            json.dump(value, f)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json_durably(path: Path, value: Any) -> None:
    """The same, and a power cut does not undo it."""
    write_json(path, value)
    for name in (path, path.parent):
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


_FLOCK = struct.Struct("hhxxxxqqixxxx")  # struct flock of 64-bit Linux


def lock_order(kind: int) -> bytes:
    """What asks fcntl for a lock of a whole file; ``kind``: F_RDLCK or F_WRLCK."""
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


def is_locked(fd: int) -> bool:
    """Whether somebody has a lock on the file; only a look, nobody who wants one is disturbed."""
    answer: bytes = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, lock_order(fcntl.F_WRLCK))
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


class Lock:
    """One process at a time is a guest's process of a role: held until the process ends."""

    def __init__(self, role: str, uuid: str) -> None:
        path = ROOT / "lock" / f"{role}-{uuid}"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        """False when another process has it."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, lock_order(fcntl.F_WRLCK))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def wait(self) -> None:
        """Take it, as soon as nobody else has it."""
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLKW, lock_order(fcntl.F_WRLCK))

    def taken(self) -> bool:
        """Whether somebody else has it."""
        return is_locked(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def is_running(role: str, uuid: str) -> bool:
    """Whether a process of that role lives, answering or not."""
    lock = Lock(role, uuid)
    try:
        return lock.taken()
    finally:
        lock.close()


def read_json(path: Path) -> Any:
    """None where there is no such file or it is not JSON."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def identity(uuid: str) -> str:
    """This host's nonce for a guest: made once, kept by a process crash, lost by a host crash."""
    path = ROOT / "identity" / uuid
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{uuid}.")
    with os.fdopen(fd, "w") as f:
        f.write(secrets.token_hex(8))
    try:
        os.link(name, path)  # the first one stays, whoever else tries at the same time
    except FileExistsError:
        pass
    finally:
        os.unlink(name)
    return path.read_text()
