"""Cost of the control of one epoch with four vifs, beside pyroute2 for the same requests.

Measured natively, in a network namespace of its own: close the epoch of four buffers, send
``EPOCH(n)`` to a peer process over TLS on loopback, wait for its ``ACK(n)``, release the epoch and
read the fill. Where the kernel has no sch_plug, a pfifo stands in on idle ifb devices: the same
rtnetlink path with other options. Back to back flatters (warm caches, peer awake), so the same is
measured paced. Prints JSON rows. Needs root.

    python -m benchmarks.control_cost [--epochs N]
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import secrets
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from remus_ha.netbuf.messages import Action, change_plug, get_root_qdisc, root_qdisc
from remus_ha.netbuf.plug import Gauge
from remus_ha.netbuf.rtnl import Batch, Channel
from remus_ha.stream.control import ControlChannel, accept_control, connect_control
from remus_ha.stream.credentials import client_context, create, server_context
from remus_ha.stream.errors import PeerClosed
from remus_ha.stream.frames import Ack, Epoch
from remus_ha.waiting import readable

VIFS = 4
PACE_S = 0.025
DEADLINE_S = 60
GOALS_US = {"back to back": 100.0, "paced at 25 ms": 300.0}
SESSION = secrets.token_bytes(16)


class Buffers(Protocol):
    """The two hooks of an epoch that cost something."""

    def postsuspend(self) -> None: ...
    def commit(self) -> None: ...


class Prebuilt:
    """What the plug driver's hooks do, for a queueing discipline that this kernel has."""

    def __init__(self, indexes: list[int], kind: str) -> None:
        look = [get_root_qdisc(i) for i in indexes]
        self._channel = Channel()
        self._gauge = Gauge(len(indexes))
        self._close = Batch([change(i, kind, Action.BUFFER) for i in indexes])
        self._release = Batch(look + [change(i, kind, Action.RELEASE_ONE) for i in indexes])

    def postsuspend(self) -> None:
        self._channel.transact(self._close)

    def commit(self) -> None:
        self._channel.transact(self._release, self._gauge)


class Pyroute2:
    """The same requests through ``IPRoute.tc``, without the look at the fill."""

    def __init__(self, indexes: list[int], kind: str) -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415

        self._ipr, self._indexes, self._kind = IPRoute(), indexes, kind

    def postsuspend(self) -> None:
        self._change("TCQ_PLUG_BUFFER")

    def commit(self) -> None:
        self._change("TCQ_PLUG_RELEASE_ONE")

    def _change(self, action: str) -> None:
        options = {"action": action} if self._kind == "plug" else {"limit": 1000}
        for index in self._indexes:
            self._ipr.tc("change", self._kind, index=index, parent=0xFFFFFFFF, **options)


def change(index: int, kind: str, action: Action) -> bytes:
    """The driver's own request, or one of the same make for a pfifo."""
    if kind == "plug":
        return change_plug(index, action)
    return root_qdisc(index, 0, kind, struct.pack("=I", 1000))


def devices() -> tuple[list[int], str]:
    """Four idle ifbs with the same root; which kind of root the kernel has."""
    for kind in ("plug", "pfifo"):
        words = f"tc qdisc add dev probe0 root {kind} limit 1000000"
        probe = subprocess.run(
            [
                "sh",
                "-c",
                f"ip link add probe0 type ifb && {words}; s=$?; ip link del probe0; exit $s",
            ],
            capture_output=True,
        )
        if probe.returncode == 0:
            break
    for n in range(VIFS):
        name = f"rh1.{n}"
        command = f"ip link add {name} type ifb && ip link set {name} up && "
        subprocess.run(
            ["sh", "-c", command + f"tc qdisc add dev {name} root {kind} limit 1000000"], check=True
        )
    return [socket.if_nametoindex(f"rh1.{n}") for n in range(VIFS)], kind


def answer(listener: socket.socket, credentials: Any, peer: bytes) -> None:
    """The other process: an ACK for every EPOCH, until the connection ends."""
    channel = accept_control(listener, server_context(credentials, peer), DEADLINE_S)
    with contextlib.suppress(PeerClosed):
        while True:
            for frame in receive(channel):
                if isinstance(frame, Epoch):
                    channel.send(Ack(SESSION, frame.n))


def receive(channel: ControlChannel) -> list[Any]:
    """Wait for frames, as an epoll loop does."""
    while not (frames := channel.pump()):
        if not channel.ready and not readable(channel, DEADLINE_S):
            raise TimeoutError("the peer is silent")
    return frames


@contextlib.contextmanager
def control() -> Iterator[ControlChannel]:
    """A control channel to a peer process."""
    mine, theirs = create(), create()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = multiprocessing.get_context("fork").Process(
            target=answer, args=(listener, theirs, mine.certificate)
        )
        peer.start()
        address = listener.getsockname()
        context = client_context(mine, theirs.certificate)
        with connect_control(address, context, DEADLINE_S) as channel:
            yield channel
    peer.join(DEADLINE_S)


def epochs(
    buffers: Buffers, channel: ControlChannel, count: int, pace_s: float
) -> dict[str, list[float]]:
    """Microseconds per epoch: the whole, and of it the buffers' part."""
    found: dict[str, list[float]] = {"whole": [], "buffers": []}
    due = time.monotonic()
    for n in range(count):
        due += pace_s
        time.sleep(max(0.0, due - time.monotonic()))
        begun = time.perf_counter()
        buffers.postsuspend()
        closed = time.perf_counter()
        channel.send(Epoch(SESSION, n, n))
        if receive(channel) != [Ack(SESSION, n)]:
            raise RuntimeError("not the acknowledgement that was due")
        acknowledged = time.perf_counter()
        buffers.commit()
        done = time.perf_counter()
        found["whole"].append((done - begun) * 1e6)
        found["buffers"].append((closed - begun + done - acknowledged) * 1e6)
    return found


def row(
    name: str, mine: list[float], theirs: list[float], goal: float | None = None
) -> dict[str, Any]:
    ours, peer = statistics.median(mine), statistics.median(theirs)
    return {
        "name": name,
        "unit": "us",
        "ours": round(ours, 1),
        "peer": round(peer, 1),
        "ratio": round(ours / peer, 3),
        "goal": goal,
        "met": goal is None or ours <= goal,
        "samples": {
            who: {"count": len(v), "p5": percentile(v, 5), "p95": percentile(v, 95)}
            for who, v in (("ours", mine), ("peer", theirs))
        },
    }


def percentile(values: list[float], percent: int) -> float:
    return round(sorted(values)[(len(values) - 1) * percent // 100], 1)


def measure(count: int) -> list[dict[str, Any]]:
    """All rows; the contenders take turns, so that a busy machine hits both alike."""
    indexes, kind = devices()
    contenders: dict[str, Buffers] = {
        "ours": Prebuilt(indexes, kind),
        "peer": Pyroute2(indexes, kind),
    }
    rows = []
    with control() as channel:
        for way, pace_s in (("back to back", 0.0), ("paced at 25 ms", PACE_S)):
            found: dict[str, dict[str, list[float]]] = {}
            for _ in range(4):
                for who, buffers in contenders.items():
                    once = epochs(buffers, channel, count // (20 if pace_s else 4), pace_s)
                    for part, values in once.items():
                        found.setdefault(part, {}).setdefault(who, []).extend(values)
            name = f"control of an epoch, {VIFS} vifs ({kind}), {way}"
            whole, part = found["whole"], found["buffers"]
            rows.append(row(name, whole["ours"], whole["peer"], GOALS_US[way]))
            rows.append(row(f"{name}: of it the buffers", part["ours"], part["peer"]))
    return rows


def apart(count: int, pipe: Callable[[Any], None]) -> None:
    os.setsid()
    namespace = ["ip", "link", "set", "lo", "up"]
    unshare_network()
    subprocess.run(namespace, check=True)
    pipe(measure(count))


def unshare_network() -> None:
    """A network namespace for this process. Python 3.12 has os.unshare."""
    import ctypes  # noqa: PLC0415

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000):
        raise OSError(ctypes.get_errno(), "unshare needs root")


def rows(count: int = 4000) -> list[dict[str, Any]]:
    """Measure in a process of its own: its namespace and its devices end with it."""
    near, far = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=apart, args=(count, far.send))
    child.start()
    far.close()
    try:
        found: list[dict[str, Any]] = near.recv()
    finally:
        child.join(DEADLINE_S)
    return found


def main() -> None:
    """Print the rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4000)
    print(json.dumps(rows(parser.parse_args().epochs), indent=1))


if __name__ == "__main__":
    main()
