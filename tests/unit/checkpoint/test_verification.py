"""What a verification looks at, and when it calls what it found a mismatch."""

import random
from collections.abc import Callable

import pytest

from remus_ha.checkpoint import verification as v
from remus_ha.checkpoint.verification import Look, Range, Verification
from remus_ha.disk.digests import FINE, SECTOR, digests

MIB = 1 << 20
Side = Callable[[], bytearray]


class Hosts:
    """Two images and a clock; ``epoch`` may change the images before every look."""

    def __init__(self, size: int, piece: int = MIB) -> None:
        self.ours, self.theirs = bytearray(size), bytearray(size)
        self.rules = Verification({"xvda": size}, piece)
        self.now = 0.0
        self.looks: list[Look] = []
        self.found: list[Range] = []
        self.epoch: Callable[[], None] = lambda: None
        self.epoch_s = 0.2

    def one(self) -> bool:
        """An epoch; False once there is nothing left to look at."""
        look = self.rules.next()
        if look is None:
            return False
        self.looks.append(look)
        self.now += self.epoch_s
        self.epoch()
        place = slice(look.offset, look.offset + look.length)
        ours, theirs = (digests(bytes(i[place]), look.grain) for i in (self.ours, self.theirs))
        self.found += self.rules.judge(look, ours, theirs, self.now)
        return True

    def run(self, most: int = 5000) -> v.Tally:
        for _ in range(most):
            if not self.one():
                return self.rules.tallies["xvda"]
        raise AssertionError("it does not come to an end")


def test_equal_disks_are_looked_at_once_everywhere() -> None:
    hosts = Hosts(2 * MIB + 1000)
    tally = hosts.run()
    assert [(look.offset, look.length) for look in hosts.looks] == [
        (0, MIB),
        (MIB, MIB),
        (2 * MIB, 1000),
    ]
    assert (tally.equal, tally.differing, tally.unsettled) == (2 * MIB + 1000, [], 0)


def test_several_disks_one_after_the_other() -> None:
    rules = Verification({"xvda": MIB, "xvdb": 10}, MIB)
    for vdev, length in (("xvda", MIB), ("xvdb", 10)):
        look = rules.next()
        assert look is not None
        assert (look.vdev, look.length) == (vdev, length)
        assert rules.judge(look, (b"",), (b"",), 0.0) == ()
    assert rules.next() is None
    assert [tally.equal for tally in rules.tallies.values()] == [MIB, 10]


@pytest.mark.parametrize("at", [0, 511, 512, MIB - 1, MIB + 700_000, 2 * MIB + 5])
def test_one_octet_that_differs_is_found_in_its_sector(at: int) -> None:
    hosts = Hosts(2 * MIB + 10)
    hosts.theirs[at] ^= 1
    tally = hosts.run()
    start = at - at % SECTOR
    place = Range(start, min(SECTOR, 2 * MIB + 10 - start))
    assert tally.differing == hosts.found == [place]
    assert tally.equal == 2 * MIB + 10 - place.length
    assert tally.done == tally.size


def test_neighbours_are_one_mismatch() -> None:
    hosts = Hosts(MIB)
    hosts.theirs[1000:5000] = b"x" * 4000
    assert hosts.run().differing == [Range(512, 4608)]


def test_a_mismatch_takes_its_time_and_its_looks() -> None:
    """A request may be on its way for a moment: neither looks nor time alone are enough."""
    hosts = Hosts(FINE, FINE)
    hosts.theirs[0] ^= 1
    hosts.epoch_s = 0.02
    while not hosts.found:
        assert hosts.one()
    assert hosts.now >= v.SETTLE_S
    hosts = Hosts(FINE, FINE)
    hosts.theirs[0] ^= 1
    hosts.epoch_s = 5.0
    while not hosts.found:
        assert hosts.one()
    assert len(hosts.looks) == 1 + v.SAME_LOOKS


def test_a_write_on_its_way_is_no_mismatch() -> None:
    """It is here and not there in one look, and there in a later one."""
    hosts = Hosts(MIB)
    hosts.ours[5000] = 1

    def arrive() -> None:
        if len(hosts.looks) == 30:
            hosts.theirs[5000] = 1

    hosts.epoch = arrive
    tally = hosts.run()
    assert tally.differing == []
    assert tally.equal == MIB


def test_a_write_there_and_not_yet_here_is_no_mismatch_either() -> None:
    hosts = Hosts(MIB)
    hosts.theirs[5000] = 1

    def arrive() -> None:
        if len(hosts.looks) == 4:
            hosts.ours[5000] = 1

    hosts.epoch = arrive
    assert hosts.run().equal == MIB


def test_a_sector_that_is_always_being_written_is_told_and_is_no_mismatch() -> None:
    """Every look meets another write on its way: the backup is one write behind."""
    hosts = Hosts(MIB)

    def write() -> None:
        hosts.theirs[700] = hosts.ours[700]
        hosts.ours[700] = (hosts.ours[700] + 1) % 256

    hosts.epoch = write
    tally = hosts.run()
    assert tally.differing == []
    assert tally.unsettled == SECTOR
    assert tally.equal == MIB - SECTOR


def test_a_mismatch_beside_a_sector_that_is_always_being_written() -> None:
    hosts = Hosts(MIB)
    hosts.theirs[SECTOR * 4] = 9

    def write() -> None:
        hosts.theirs[SECTOR * 5] = hosts.ours[SECTOR * 5]
        hosts.ours[SECTOR * 5] = (hosts.ours[SECTOR * 5] + 1) % 256

    hosts.epoch = write
    tally = hosts.run()
    assert tally.differing == [Range(SECTOR * 4, SECTOR)]
    assert tally.unsettled == SECTOR


def test_writes_that_never_arrive_are_a_mismatch() -> None:
    """The guest writes to a sector all the time, and the backup gets nothing of it."""
    hosts = Hosts(MIB)

    def write() -> None:
        hosts.ours[700] = 1 + hosts.ours[700] % 255

    hosts.epoch = write
    assert hosts.run().differing == [Range(512, SECTOR)]


def test_random_writers_give_no_alarm() -> None:
    """Each look meets a few writes on their way, of different sectors."""
    chance = random.Random(1)
    hosts = Hosts(4 * MIB, 256 << 10)
    late: list[tuple[int, int]] = []

    def write() -> None:
        for at, value in late:
            hosts.theirs[at] = value
        late.clear()
        for _ in range(200):
            at, value = chance.randrange(4 * MIB), chance.randrange(256)
            hosts.ours[at] = value
            if chance.random() < 0.1:
                late.append((at, value))
            else:
                hosts.theirs[at] = value

    hosts.epoch = write
    tally = hosts.run()
    assert (tally.equal, tally.differing, tally.unsettled) == (4 * MIB, [], 0)
    assert any(look.grain == SECTOR for look in hosts.looks), "nothing was ever in doubt"


def test_the_sweep_goes_on_beside_a_doubt() -> None:
    hosts = Hosts(32 * MIB)
    hosts.theirs[0] ^= 1
    while hosts.one():
        pass
    fine = [i for i, look in enumerate(hosts.looks) if look.grain == SECTOR]
    wide = [i for i, look in enumerate(hosts.looks) if look.grain != SECTOR]
    assert len(wide) == 32
    assert fine[4] < wide[-1]


def test_an_image_of_something_else_is_given_up() -> None:
    hosts = Hosts(64 * MIB)
    hosts.theirs[:] = b"x" * (64 * MIB)
    hosts.epoch_s = 3.0
    tally = hosts.run()
    assert hosts.rules.hopeless
    assert v.HOPELESS <= tally.mismatched < 64 * MIB
    assert hosts.rules.next() is None


def test_no_look_is_larger_than_an_answer_can_be() -> None:
    hosts = Hosts(5 * MIB + 7, 16 * MIB)
    hosts.theirs[:] = b"x" * len(hosts.theirs)
    hosts.run()
    for look in hosts.looks:
        assert -(-look.length // look.grain) <= FINE // SECTOR
