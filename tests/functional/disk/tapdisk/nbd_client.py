"""``DIRECTORY -unix SOCKET DEVICE ...`` makes a device, ``DIRECTORY -d DEVICE`` takes it away.

In place of nbd-client(8) and the kernel's driver. The device is ``DIRECTORY/NAME-NETNS.disk``: one
client at a time is served there by NBD, over the one connection to the socket. ``DIRECTORY/asked``
is what was asked for.
"""

import os
import select
import signal
import socket
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))

from tests.functional.disk.writers import Nbd


def serve(disk: Nbd, listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        client.sendall(struct.pack(">8s8sH", b"NBDMAGIC", b"IHAVEOPT", 3))
        client.recv(20, socket.MSG_WAITALL)  # as writers.Nbd asks
        client.sendall(struct.pack(">QH", disk.size, 1))
        other = {client: disk.socket, disk.socket: client}
        while True:
            ready, _, _ = select.select(list(other), [], [])
            octets = ready[0].recv(1 << 20)
            if not octets:
                break
            other[ready[0]].sendall(octets)


directory, words = Path(sys.argv[1]), sys.argv[2:]
with open(directory / "asked", "a") as asked:
    print(*words, file=asked)
name = Path(words[1 if words[0] == "-d" else 2]).name
device = directory / f"{name}-{os.stat('/proc/self/ns/net').st_ino}.disk"  # of this host
pid = device.with_suffix(".pid")
if words[0] == "-d":
    os.kill(int(pid.read_text()), signal.SIGKILL)
    pid.unlink()
    sys.exit()
disk = Nbd(Path(words[1]))
device.unlink(missing_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(device))
listener.listen()
if child := os.fork():
    pid.write_text(str(child))
    with open(directory / "pids", "a") as pids:
        print(child, file=pids)
else:
    for fd in range(3):
        os.close(fd)
    serve(disk, listener)
