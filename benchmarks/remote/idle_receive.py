"""The failure detector that ``xl remus`` lacks: ends a receiver's input when nothing comes.

Runs a command and passes standard input on to it. Once armed by SIGUSR1 an idle time ends the
command's standard input, which makes ``xl migrate-receive -r`` fail over. Writes its pid to
STATE.pid and, when it has detected, CLOCK_MONOTONIC to STATE.detected.

    python3 idle_receive.py STATE IDLE_S COMMAND [WORD...]
"""

import os
import select
import signal
import subprocess
import sys
import time

BUDGET_OCTETS = 1 << 20


def main(state: str, idle_s: str, *command: str) -> int:
    armed = False

    def arm(_signal: int, _frame: object) -> None:
        nonlocal armed
        armed = True

    signal.signal(signal.SIGUSR1, arm)
    write(f"{state}.pid", os.getpid())
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        while True:
            if not select.select([0], [], [], float(idle_s))[0]:
                if armed:
                    break
                continue
            if not os.splice(0, child.stdin.fileno(), BUDGET_OCTETS):
                break
        child.stdin.close()
        write(f"{state}.detected", time.monotonic())
    return child.returncode


def write(path: str, value: object) -> None:
    """Complete or not there."""
    with open(path + ".new", "w") as file:
        file.write(f"{value}\n")
    os.rename(path + ".new", path)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
