"""Throughput of the page octets' path, pipe to TCP, beside socat and a bare C splice loop.

Every contender moves the same octets from an equally large pipe to a reader on loopback; writer
and reader are the same C program for all. Contenders take turns, so that a busy machine hits all
alike. Prints JSON rows; a table with the spread goes to standard error. Needs gcc and socat.

    python -m benchmarks.splice [--rounds N] [--mib N]
"""

import argparse
import json
import multiprocessing
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remus_ha.stream.mover import Mover, Wait, grow_pipe
from remus_ha.stream.tcp import tune

MIB = 1 << 20
PIPE_OCTETS = 64 * MIB
BUDGET_OCTETS = 4 * MIB
GOAL = 0.9
DEADLINE_S = 120

PROGRAM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[1 << 20];

/* On a word from fd 0 write argv[2] octets to fd 1, in awkward batches as a save helper does. */
static int fill(long long left) {
    memset(buffer, 'p', sizeof buffer);
    if (read(0, buffer, 1) != 1) return 1;
    while (left > 0) {
        size_t want = sizeof buffer - 4080 < left ? sizeof buffer - 4080 : left;
        ssize_t n = write(1, buffer, want);
        if (n <= 0) return 1;
        left -= n;
    }
    return 0;
}

/* Read the connection on fd 0 to its end without copying it to user space. */
static int drain(void) {
    ssize_t n;
    while ((n = recv(0, buffer, 1 << 30, MSG_TRUNC)) > 0) {}
    return n < 0;
}

/* Read argv[2] octets off fd 0, whatever kind of socket it is. */
static int swallow(long long left) {
    while (left > 0) {
        ssize_t n = read(0, buffer, sizeof buffer);
        if (n <= 0) return 1;
        left -= n;
    }
    return 0;
}

/* The least there can be: splice fd 0 to the socket on fd 1 until the end. */
static int move(void) {
    fcntl(1, F_SETFL, O_NONBLOCK);
    for (;;) {
        ssize_t n = splice(0, 0, 1, 0, 1 << 20, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n == 0) return 0;
        if (n > 0) continue;
        if (errno != EAGAIN) return 1;
        struct pollfd p[2] = {{.fd = 0, .events = POLLIN}, {.fd = 1, .events = POLLOUT}};
        if (poll(p, 1, -1) < 0 || poll(p + 1, 1, -1) < 0) return 1;
    }
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "fill")) return fill(atoll(argv[2]));
    if (argc == 3 && !strcmp(argv[1], "swallow")) return swallow(atoll(argv[2]));
    if (argc == 2 && !strcmp(argv[1], "drain")) return drain();
    return argc == 2 && !strcmp(argv[1], "move") ? move() : 2;
}
"""

#: Starts moving from the pipe to the socket, in a process of its own; the answer waits for its end.
Contender = Callable[[int, socket.socket], Callable[[], None]]


def build(directory: Path) -> str:
    """Compile the C program."""
    source, program = directory / "splice.c", directory / "splice"
    source.write_text(PROGRAM, encoding="utf-8")
    subprocess.run(["gcc", "-O2", "-o", program, source], check=True)
    return str(program)


def move(pipe_r: int, sock: socket.socket) -> None:
    """The product's mover in a loop like the product's: epoll, one budget a turn."""
    sock.setblocking(False)
    mover = Mover(pipe_r, sock)
    watched = {Wait.SOURCE: select.epoll(), Wait.SINK: select.epoll()}
    watched[Wait.SOURCE].register(pipe_r, select.EPOLLIN)
    watched[Wait.SINK].register(sock, select.EPOLLOUT)
    while (why := mover.pump(BUDGET_OCTETS)) is not Wait.END:
        if why in watched:
            watched[why].poll()


def ours(pipe_r: int, sock: socket.socket) -> Callable[[], None]:
    """The product's mover, the interpreter already started, as in the product."""
    process = multiprocessing.get_context("fork").Process(target=move, args=(pipe_r, sock))
    process.start()

    def wait() -> None:
        process.join(DEADLINE_S)
        if process.exitcode != 0:
            raise RuntimeError("the mover failed")

    return wait


def command(*argv: str) -> Contender:
    """A program that moves its standard input to the socket on its standard output."""

    def start(pipe_r: int, sock: socket.socket) -> Callable[[], None]:
        process = subprocess.Popen(argv, stdin=pipe_r, stdout=sock.fileno())

        def wait() -> None:
            if process.wait(DEADLINE_S) != 0:
                raise RuntimeError(f"{argv[0]} failed")

        return wait

    return start


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    tune(near)
    return near, far


def measure(program: str, contender: Contender, octets: int) -> float:
    """MiB/s from the word "go" to the reader's last octet; every process runs already."""
    pipe_r, pipe_w = os.pipe()
    grow_pipe(pipe_w, PIPE_OCTETS)
    near, far = connected()
    reader = subprocess.Popen([program, "drain"], stdin=far.fileno())
    far.close()
    writer = subprocess.Popen(
        [program, "fill", str(octets)], stdin=subprocess.PIPE, stdout=pipe_w, bufsize=0
    )
    os.close(pipe_w)
    wait = contender(pipe_r, near)
    os.close(pipe_r)
    near.close()
    begun = time.monotonic()
    writer.communicate(b"!", DEADLINE_S)
    if reader.wait(DEADLINE_S) or writer.returncode:
        raise RuntimeError("the writer or the reader failed")
    took_s = time.monotonic() - begun
    wait()
    return octets / MIB / took_s


def row(name: str, mine: list[float], theirs: list[float]) -> dict[str, Any]:
    """One figure of the report. The ratio is of the medians."""
    ours_median, peer_median = statistics.median(mine), statistics.median(theirs)
    ratio = ours_median / peer_median
    return {
        "name": name,
        "unit": "MiB/s",
        "ours": round(ours_median, 1),
        "peer": round(peer_median, 1),
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "met": ratio >= GOAL,
        "samples": {"ours": [round(x, 1) for x in mine], "peer": [round(x, 1) for x in theirs]},
    }


def rows(rounds: int = 9, mib: int = 1024) -> list[dict[str, Any]]:
    """Run everything. Each contender has one run before the first that counts."""
    with tempfile.TemporaryDirectory() as directory:
        program = build(Path(directory))
        contenders = {
            "ours": ours,
            "bare C splice": command(program, "move"),
            "socat": command("socat", "-u", "-b", str(MIB), "STDIN", "FD:1"),
        }
        found: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(rounds + 1):
            for name, contender in contenders.items():
                speed = measure(program, contender, mib * MIB)
                if turn:
                    found[name].append(speed)
    for name, speeds in found.items():
        low, middle, high = statistics.quantiles(speeds, n=4)
        print(f"{name:14} {middle:8.0f} MiB/s  quartiles {low:.0f} to {high:.0f}", file=sys.stderr)
    return [
        row(f"pipe to TCP, beside {peer}", found["ours"], found[peer])
        for peer in contenders
        if peer != "ours"
    ]


def main() -> None:
    """Print the rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--mib", type=int, default=1024)
    given = parser.parse_args()
    print(json.dumps(rows(given.rounds, given.mib), indent=1))


if __name__ == "__main__":
    main()
