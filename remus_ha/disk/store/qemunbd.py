"""A qemu-nbd that serves one qcow2 image to this process, and to nobody else.

It ends with the thread that has started it, however that ends, so that thread has to live as long
as the image is wanted; and with the connection. The image's lock is its own as well: whoever gets
the lock next finds no qemu-nbd of a dead process at work on the image.
"""

import contextlib
import errno
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from remus_ha.disk import errors, plugin
from remus_ha.disk.qemuimg import QCOW2

_CHUNK = 1 << 24  # octets of one request; the protocol's usual bound is twice that
_ZEROES = 1 << 30
_END_S = 20.0
# Socket activation (sd_listen_fds(3)), and the kernel's word that it dies with its parent.
_EXEC = 'exec 3<&"$0" && LISTEN_FDS=1 LISTEN_PID=$$ exec setpriv --pdeathsig KILL -- qemu-nbd "$@"'


class QemuNbd:
    """The octets of the image's disk. Used by several threads; requests go one by one."""

    def __init__(self, path: Path, lock: int, *, durable: bool) -> None:
        """``lock``: a descriptor of the image that holds its lock.

        ``durable``: the image is whole after a power cut at any time, if it was before; otherwise
        ``flush`` only hands it over to the kernel. Raises TargetUnserved.
        """
        self._path = path
        cache = "writeback" if durable else "unsafe"
        self._words = [f"--format={QCOW2}", "--discard=unmap", f"--cache={cache}", str(path)]
        self._said = os.memfd_create("qemu-nbd")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._nbd = self._start(lock)
        except BaseException:
            os.close(self._said)
            raise
        self.size = int(self._nbd.get_size())

    def _start(self, lock: int) -> Any:
        try:
            import nbd  # noqa: PLC0415  (only the distribution's interpreter has it)
        except ImportError as e:
            raise self._unserved(e) from e
        self._error: type[Exception] = nbd.Error
        self._no_hole = int(nbd.CMD_FLAG_NO_HOLE)
        handle = nbd.NBD()
        try:
            handle.connect_socket(self._served(lock))
        except (OSError, self._error) as e:
            self._kill()
            raise self._unserved(self._complaint() or e) from e
        return handle

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _served(self, lock: int) -> int:
        """A connection to the process. Nobody else can ever connect: the name is gone at once."""
        with tempfile.TemporaryDirectory(prefix="remus-ha-") as directory:
            name = f"{directory}/nbd"
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(name)
                listener.listen(1)
                self._process = self._begin(listener.fileno(), lock)
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(name)
                return connection.detach()

    def _begin(self, listener: int, lock: int) -> subprocess.Popen[bytes]:
        passed = plugin.above_listener(lock)
        try:
            return subprocess.Popen(
                ["bash", "-c", _EXEC, str(listener), *self._words],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=(listener, passed),
            )
        finally:
            os.close(passed)

    def _complaint(self) -> str:
        text = os.pread(self._said, 4096, 0).decode(errors="replace").strip()
        return text.splitlines()[-1] if text else ""

    def _unserved(self, detail: object) -> errors.TargetUnserved:
        return errors.TargetUnserved(path=self._path, host=socket.gethostname(), detail=detail)

    # --- the disk; every call raises OSError

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> None:
        view = memoryview(buffer)
        with self._os_errors():
            for start in range(0, len(view), _CHUNK):
                part = view[start : start + _CHUNK]
                part[:] = self._nbd.pread(len(part), offset + start)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        with self._os_errors():
            for start in range(0, len(view), _CHUNK):
                self._nbd.pwrite(view[start : start + _CHUNK], offset + start)

    def zero(self, offset: int, length: int) -> None:
        """Zeroes that keep their space."""
        with self._os_errors():
            for start in range(offset, offset + length, _ZEROES):
                count = min(_ZEROES, offset + length - start)
                self._nbd.zero(count, start, self._no_hole)

    def flush(self) -> None:
        with self._os_errors():
            self._nbd.flush()

    @contextlib.contextmanager
    def _os_errors(self) -> Iterator[None]:
        try:
            yield
        except self._error as e:
            raise OSError(getattr(e, "errnum", errno.EIO), f"qemu-nbd of {self._path}: {e}") from e

    def end(self) -> None:
        """The image is closed when this returns. Idempotent."""
        if self._said < 0:
            return
        with contextlib.suppress(self._error):
            self._nbd.shutdown()
        if self._process is not None:
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._kill()
        os.close(self._said)
        self._said = -1
