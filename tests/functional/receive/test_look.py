"""The backup's answers to HashDisk, against a primary that the test plays frame by frame."""

from collections.abc import Iterator

import pytest

from remus_ha.core.register import Kind, Register
from remus_ha.disk.digests import digests
from remus_ha.stream.frames import CloseDisks, DiskHashed, DisksClosed, HashDisk
from tests.functional.checkpoint.pair import Pair
from tests.functional.hypervisor.fake_helper import numbered
from tests.functional.receive.test_backup import HELLO, SESSION, A, Player
from tests.functional.stream.peers import receive as frames_of

SIZE = 1 << 20


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(monkeypatch)
    made.detect_ms, made.disks = 5000, {"xvda": SIZE}
    made.store.register, made.store.opened = Register(1, Kind.HOLDER, A), 1
    yield made
    made.close()


@pytest.fixture
def player(pair: Pair) -> Iterator[Player]:
    made = Player(pair)
    made.begin(HELLO)
    yield made
    made.close()


def answers(player: Player, count: int) -> tuple[list[DiskHashed], list[DisksClosed]]:
    frames = frames_of(player.channel, count)
    hashed = [frame for frame in frames if isinstance(frame, DiskHashed)]
    closed = [frame for frame in frames if isinstance(frame, DisksClosed)]
    assert len(hashed) + len(closed) == count
    return hashed, closed


def test_a_look_right_behind_the_end_of_an_epoch(player: Player) -> None:
    player.channel.send(CloseDisks(SESSION, 0))
    player.channel.send(HashDisk(SESSION, 0, "xvda", 0, SIZE, SIZE))
    (found,), closed = answers(player, 2)
    assert closed == [DisksClosed(SESSION, 0)]
    assert found == DiskHashed(SESSION, 0, "xvda", digests(bytes(SIZE), SIZE), "")
    player.write(numbered(0, 100))
    player.mark(0)
    assert player.acked() == 0


@pytest.mark.parametrize(
    "look",
    [
        HashDisk(SESSION, 7, "xvda", 0, 512, 512),
        HashDisk(SESSION, 0, "../../etc/passwd", 0, 512, 512),
        HashDisk(SESSION, 0, "", 0, 512, 512),
        HashDisk(SESSION, 0, "xvda", SIZE, 512, 512),
        HashDisk(SESSION, 0, "xvda", 2**64 - 1, 2**64 - 1, 2**64 - 1),
        HashDisk(SESSION, 0, "xvda", 0, SIZE, 0),
        HashDisk(SESSION, 2**64 - 1, "xvda", 0, SIZE, 512),
    ],
)
def test_a_look_that_cannot_be_has_no_digests_and_ends_nothing(
    player: Player, look: HashDisk
) -> None:
    player.channel.send(CloseDisks(SESSION, 0))
    player.channel.send(look)
    (refused,), _ = answers(player, 2)
    assert (refused.n, refused.vdev, refused.digests) == (look.n, look.vdev, ())
    assert refused.problem
    player.write(numbered(0, 100))
    player.mark(0)
    assert player.acked() == 0
