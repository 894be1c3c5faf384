"""A replication link with accidents: two forwarded ports of loopback."""

import contextlib
import socket
import threading

from remus_ha.waiting import readable


class Wire:
    """Forwards a port. ``cut`` breaks its connections; while ``silent`` nothing comes through."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._socks: list[socket.socket] = []
        self.tap: bytearray | None = None  # what has crossed, if anybody wants it
        self._going = threading.Event()
        self._going.set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def silent(self) -> bool:
        return not self._going.is_set()

    @silent.setter
    def silent(self, value: bool) -> None:
        (self._going.clear if value else self._going.set)()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._socks += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while octets := source.recv(1 << 18):
                self._going.wait()
                if self.tap is not None:
                    self.tap += octets
                sink.sendall(octets)
            sink.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):
            for sock in (sink, source):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()  # only that tells whoever goes on sending

    def cut(self) -> None:
        """Both ends see their connection end."""
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._going.set()
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for sock in (self._listener, *self._socks):
            sock.close()


def is_readable(fd: int, seconds: float) -> bool:
    return readable(fd, seconds)
