"""From a QEMU, which may be built without TLS, to a store, which speaks nothing else.

A stock nbdkit per disk: NBD in the clear on a unix socket of this host, TLS to the store. It ends
with the process that has started it, and with QEMU's connection its own to the store ends.
"""

import os
import socket
import subprocess
from pathlib import Path

from remus_ha.disk import plugin, tls
from remus_ha.disk.base import Mirrored, Stores
from remus_ha.disk.qemu.errors import RelayDidNotStart


class Relay:
    """One disk's. ``path`` can be connected to as soon as it is made. Raises RelayDidNotStart."""

    def __init__(self, disk: Mirrored, stores: Stores) -> None:
        self.path = stores.tls / f"{disk.vdev}.nbd"
        try:
            self._process = self._start(_words(disk, stores))
        except OSError as e:
            raise RelayDidNotStart(vdev=disk.vdev, detail=e) from e

    def _start(self, words: list[str]) -> subprocess.Popen[bytes]:
        self.path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            os.chmod(self.path, 0o600)
            listener.listen()
            return plugin.nbdkit(listener, words)

    def end(self) -> None:
        """Idempotent."""
        self._process.kill()
        self._process.wait()
        self.path.unlink(missing_ok=True)


def _words(disk: Mirrored, stores: Stores) -> list[str]:
    return [
        *("--foreground", "--exit-with-parent", "nbd"),
        *(f"hostname={stores.address}", f"port={disk.port}"),
        *("tls=require", f"tls-psk={_key(stores.tls)}", f"tls-username={tls.USER}"),
    ]


def _key(directory: Path) -> Path:
    return directory / tls.FILE
