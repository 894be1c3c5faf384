"""One contender of a race: swaps a register to itself until it is far enough.

Run as ``python -m tests.functional.witness.contender URL NAME LAST``. Prints one JSON line: the
generations that it was told to have won, those whose swap it never got an answer to, and how
often it was refused.
"""

import json
import sys
import time

from remus_ha.core.register import Identity, Kind, Register
from remus_ha.witness.base import Swap
from remus_ha.witness.errors import WitnessUnavailable
from remus_ha.witness.etcd import EtcdWitness
from tests.functional.witness.guest import UUID

TIMEOUT_S = 10.0
GIVE_UP_S = 60.0


class Contender:
    def __init__(self, url: str, name: str) -> None:
        self.witness = EtcdWitness(url)
        self.me = Identity(name, "race")
        self.won: list[int] = []
        self.unknown: list[int] = []
        self.refused = 0

    def race(self, last: int) -> None:
        end = time.monotonic() + GIVE_UP_S
        while time.monotonic() < end:
            try:
                found = self.witness.read(UUID, TIMEOUT_S).register
            except WitnessUnavailable:
                time.sleep(0.01)
                continue
            if found is not None and found.generation >= last:
                return
            self.grab(found)
        raise SystemExit("the race did not end")

    def grab(self, found: Register | None) -> None:
        generation = found.generation + 1 if found else 1
        try:
            answer = self.witness.swap(
                UUID, found, Register(generation, Kind.HOLDER, self.me), TIMEOUT_S
            )
        except WitnessUnavailable:
            self.unknown.append(generation)
            return
        if answer is Swap.WON:
            self.won.append(generation)
        else:
            self.refused += 1


def main() -> None:
    url, name, last = sys.argv[1:]
    contender = Contender(url, name)
    contender.race(int(last))
    outcome = {"won": contender.won, "unknown": contender.unknown, "refused": contender.refused}
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
