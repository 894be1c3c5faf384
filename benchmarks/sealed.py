"""Throughput of the memory stream's path inside TLS beside the same path in the clear, on loopback.

From a full pipe to the last octet that the backup's side reads off its local socket; the writer and
the reader are C programs and the same for both, the mover and the relays are the product's. The two
take turns. Needs gcc.

    python -m benchmarks.sealed [--rounds N] [--mib N]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.splice import DEADLINE_S, MIB, PIPE_OCTETS, build, ours
from remus_ha.stream.credentials import create
from remus_ha.stream.data import accept_data, connect_data
from remus_ha.stream.mover import grow_pipe
from remus_ha.stream.sealed import Relay, Stream
from remus_ha.stream.tcp import listen

GOAL = 0.7
SESSION, KEY = bytes(16), bytes(32)
CONNECT_S = 20.0


def connected(*, tls: bool) -> tuple[Stream, Stream]:
    """The primary's end and the backup's."""
    primary, backup = create(), create()
    arrived: list[Stream] = []
    with listen("127.0.0.1") as listener:
        address = listener.getsockname()
        if not tls:
            near = connect_data(address, SESSION, KEY, CONNECT_S)
            return Stream(near, near), Stream(accept_data(listener, SESSION, KEY, CONNECT_S))
        there = Relay(backup, primary.certificate, listener)
        here = Relay(primary, backup.certificate)
        accepting = threading.Thread(
            target=lambda: arrived.append(there.accept(SESSION, KEY, CONNECT_S))
        )
        accepting.start()
        stream = here.connect(address, SESSION, KEY, CONNECT_S)
        accepting.join()
    return stream, arrived[0]


def measure(program: str, octets: int, *, tls: bool) -> tuple[float, str]:
    """MiB/s from the word "go" to the reader's last octet, and how it was done."""
    pipe_r, pipe_w = os.pipe()
    grow_pipe(pipe_w, PIPE_OCTETS)
    near, far = connected(tls=tls)
    far.sock.setblocking(True)
    reader = subprocess.Popen(
        [program, "swallow", str(octets)], stdin=far.sock.fileno(), stdout=subprocess.DEVNULL
    )
    writer = subprocess.Popen(
        [program, "fill", str(octets)], stdin=subprocess.PIPE, stdout=pipe_w, bufsize=0
    )
    os.close(pipe_w)
    wait = ours(pipe_r, near.sock)
    os.close(pipe_r)
    begun = time.monotonic()
    writer.communicate(b"!", DEADLINE_S)
    if reader.wait(DEADLINE_S) or writer.returncode:
        raise RuntimeError("the writer or the reader failed")
    took_s = time.monotonic() - begun
    wait()
    near.close()
    far.close()
    return octets / MIB / took_s, near.how


def rows(rounds: int = 9, mib: int = 1024) -> list[dict[str, Any]]:
    """One figure of the report. Each way has one run before the first that counts."""
    found: dict[bool, list[float]] = {True: [], False: []}
    how = ""
    with tempfile.TemporaryDirectory() as directory:
        program = build(Path(directory))
        for turn in range(rounds + 1):
            for tls, speeds in found.items():
                speed, said = measure(program, mib * MIB, tls=tls)
                how = said if tls else how
                if turn:
                    speeds.append(speed)
    for tls, speeds in found.items():
        low, middle, high = statistics.quantiles(speeds, n=4)
        name = how if tls else "in the clear"
        print(f"{name:14} {middle:8.0f} MiB/s  quartiles {low:.0f} to {high:.0f}", file=sys.stderr)
    mine, plain = (statistics.median(found[tls]) for tls in (True, False))
    return [
        {
            "name": f"memory stream inside {how}, beside the same in the clear",
            "unit": "MiB/s",
            "ours": round(mine, 1),
            "peer": round(plain, 1),
            "ratio": round(mine / plain, 3),
            "goal": GOAL,
            "met": mine / plain >= GOAL,
            "samples": {
                "ours": [round(x, 1) for x in found[True]],
                "peer": [round(x, 1) for x in found[False]],
            },
        }
    ]


def main() -> None:
    """Print the row as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--mib", type=int, default=1024)
    given = parser.parse_args()
    print(json.dumps(rows(given.rounds, given.mib), indent=1))


if __name__ == "__main__":
    main()
