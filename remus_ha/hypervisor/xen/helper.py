"""Driving libxl-save-helper: Xen's memory copier as a subprocess.

The protocol is libxl's own (libxl_save_helper.c, libxl_save_msgs_gen.pl): the helper writes
messages, u16 length then u16 number and arguments, to its standard output; an answer is one
32-bit integer on its standard input. It is single-threaded and asks one thing at a time.
"""

import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable

from remus_ha.hypervisor import errors
from remus_ha.hypervisor.base import Ask, MemoryStream
from remus_ha.waiting import readable

_LOG, _PROGRESS, _SUSPEND, _POSTCOPY, _CHECKPOINT, _LOGDIRTY, _COMPLETE = 1, 2, 3, 4, 5, 7, 10
_ASKS = {_SUSPEND: Ask.SUSPEND, _POSTCOPY: Ask.POSTCOPY, _CHECKPOINT: Ask.CHECKPOINT}
_CALLBACKS = 1 << _SUSPEND | 1 << _POSTCOPY | 1 << _CHECKPOINT | 1 << _LOGDIRTY
_LIVE, _REMUS = 1, 1
_WARNING = 7  # xentoollog.h: XTL_WARN
_END_S = 1.0  # each: its own clean-up, and its end


class SaveHelper(MemoryStream):
    """One save of one domain. ``log`` receives the helper's warnings, a line each."""

    def __init__(self, path: str, domid: int, stream_fd: int, log: Callable[[str], None]) -> None:
        self._log = log
        self._buffer = bytearray()
        self._failure = ""
        self._asked = False
        argv = [
            path,
            "--save-domain",
            str(stream_fd),
            "-1",
            str(domid),
            str(_LIVE),
            str(_CALLBACKS),
            str(_REMUS),
        ]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[stream_fd], bufsize=0
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise errors.SaveFailed(detail="no pipes to the helper")
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._out, False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._out

    def reply(self, value: int) -> None:
        try:
            self._asked = False
            os.write(self._in, struct.pack("<i", value))
        except OSError as e:
            raise errors.SaveFailed(detail=f"its reply pipe is closed ({e.strerror})") from e

    def pump(self) -> list[Ask]:
        asks: list[Ask] = []
        try:
            octets = os.read(self._out, 65536)
        except BlockingIOError:
            return asks
        if not octets:
            raise errors.SaveFailed(detail=self._failure or "it ended without a word")
        self._buffer += octets
        while (body := self._next_body()) is not None:
            ask = self._handle(body)
            if ask is not None:
                self._asked = ask is not Ask.COMPLETE
                asks.append(ask)
        return asks

    def _next_body(self) -> bytes | None:
        if len(self._buffer) < 2:
            return None
        (length,) = struct.unpack_from("<H", self._buffer)
        if len(self._buffer) < 2 + length:
            return None
        body = bytes(self._buffer[2 : 2 + length])
        del self._buffer[: 2 + length]
        return body

    def _handle(self, body: bytes) -> Ask | None:
        try:
            (number,) = struct.unpack_from("<H", body)
            if number in _ASKS:
                return _ASKS[number]
            if number == _LOGDIRTY:
                self.reply(0)  # PVH has no device model whose writes would need tracking
                return None
            if number == _COMPLETE:
                result, error = struct.unpack_from("<ii", body, 2)
                if result:
                    self._failure = self._failure or f"it returned {result}, errno {error}"
                self.reply(0)
                return Ask.COMPLETE
            if number == _LOG:
                self._take_log(body)
            elif number != _PROGRESS:
                raise errors.SaveFailed(detail=f"unknown message {number}")
        except (struct.error, IndexError) as e:
            raise errors.SaveFailed(detail=f"malformed message {body[:16].hex()}") from e
        return None

    def _take_log(self, body: bytes) -> None:
        level, _errno, size = struct.unpack_from("<III", body, 2)
        (text_size,) = struct.unpack_from("<I", body, 14 + size)
        text = body[18 + size : 18 + size + text_size].rstrip(b"\0").decode(errors="replace")
        if level >= _WARNING:
            self._log(f"save helper: {text}")
            self._failure = text

    def close(self) -> None:
        """Let the helper clean up (dirty tracking off); kill it where it does not in time.

        A question is answered with "stop"; a helper that is busy gets SIGTERM, upon which its
        next write to the stream fails and it cleans up as well.
        """
        if self._process.poll() is None:
            self._ask_to_stop()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask_to_stop(self) -> None:
        """Until its end of file, or until it had its time."""
        self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _END_S
        try:
            while (left := deadline - time.monotonic()) > 0:
                if self._asked:
                    self.reply(0)
                if readable(self._out, left):
                    self.pump()
        except errors.SaveFailed:
            pass  # end of file, or it makes no sense any more
