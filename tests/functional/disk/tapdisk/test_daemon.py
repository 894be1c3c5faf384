"""The daemons of one disk on two hosts, from the guest's writes to the backup's image."""

import itertools
import os
import random
import signal
import threading
from collections.abc import Iterable

import pytest

from remus_ha.disk.tapdisk.errors import FlushFailed, TapdiskGone
from remus_ha.disk.tapdisk.fifo import FlushController
from tests.functional.disk.machine import DEADLINE_S
from tests.functional.disk.writers import BLOCK, Writers, block, number_in

from .daemons import SIZE, Daemon, Pair, await_answer, digest, stand_still, standing_still

pytestmark = pytest.mark.root
BLOCKS = SIZE // BLOCK


def same(primary: Daemon, backup: Daemon) -> bool:
    return digest(primary.image.read_bytes()) == digest(backup.content())


def test_every_epoch_is_on_the_backup_when_it_is_done(pair: Pair) -> None:
    primary, backup = pair.begin()
    controller = primary.controller()
    for epoch in range(4):
        writers = Writers(primary.nbd, blocks=BLOCKS, after=epoch << 32)  # never the same again
        writers.wait(150)
        writers.stop()
        assert not same(primary, backup), "an open epoch is seen"
        controller.flush(DEADLINE_S)
        writers.check(primary.image)
        assert same(primary, backup)


def test_an_epoch_holds_what_was_complete_at_its_flush_and_nothing_later(pair: Pair) -> None:
    """The guest writes on as soon as the flush is written, and nobody waits for anything."""
    primary, backup = pair.begin()
    controller, blocks = primary.controller(), 256
    writers = Writers(primary.nbd, blocks=blocks)
    for _ in range(6):
        writers.wait(150)
        done = list(writers.done)
        controller.begin(DEADLINE_S)
        begun = list(writers.begun)
        writers.wait(20)
        await_answer(controller)
        image, checked = backup.content(), 0
        for place in range(blocks):
            if done[place] > 0:
                number = number_in(image, place)
                zeroed = number == 0 and begun[place] > done[place]
                assert zeroed or done[place] <= number <= begun[place], f"block {place}"
                checked += 1
        assert checked > 50
        assert begun != writers.begun
    writers.stop()
    writers.check(primary.image)


def test_a_write_costs_no_round_trip(pair: Pair) -> None:
    """It is complete while the backup does nothing at all."""
    primary, backup = pair.begin()
    with standing_still(backup):
        primary.client().write(0, block(1))
        assert primary.image.read_bytes()[:BLOCK] == block(1)
    primary.controller().flush(DEADLINE_S)
    assert same(primary, backup)


def test_writes_of_every_kind(pair: Pair) -> None:
    primary, backup = pair.begin()
    client = primary.client()
    client.write(700, b"x" * 100)  # no whole sectors: the wire knows nothing else
    client.write(1 << 20, os.urandom(3 << 20))
    client.zero(2 << 20, 1 << 20)
    client.write(SIZE - 512, b"y" * 512)
    client.flush()
    primary.controller().flush(DEADLINE_S)
    assert primary.image.read_bytes()[700:800] == b"x" * 100
    assert same(primary, backup)


def test_writes_to_one_place_are_in_one_order_on_both_sides(pair: Pair) -> None:
    primary, backup = pair.begin()

    def overwrite(number: int) -> None:
        """All are at about the same place at a time, and overlap in parts."""
        client = primary.client()
        for place in range(100):
            client.write(place * 65536 + number * 512, bytes([number]) * 61440)

    threads = [threading.Thread(target=overwrite, args=(i,)) for i in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    primary.controller().flush(DEADLINE_S)
    assert same(primary, backup)


def test_the_backup_dies_and_the_guest_goes_on(pair: Pair) -> None:
    primary, backup = pair.begin()
    controller = primary.controller()
    writers = Writers(primary.nbd)
    controller.flush(DEADLINE_S)
    backup.kill()
    primary.hear("UNPROTECTED")
    with pytest.raises(FlushFailed):
        controller.flush(DEADLINE_S)
    for _ in range(2):
        with pytest.raises(FlushFailed):
            primary.controller().flush(DEADLINE_S)
    writers.wait(100)
    writers.stop()
    writers.check(primary.image)
    assert primary.role == "unprotected"


def test_a_flush_that_is_under_way_fails_when_the_backup_dies(pair: Pair) -> None:
    primary, backup = pair.begin()
    controller = primary.controller()
    pid = backup.pid
    stand_still(pid)
    primary.client().write(0, block(1))
    controller.begin(DEADLINE_S)
    assert not controller.answered()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(FlushFailed):
        await_answer(controller)


def test_a_backup_that_hangs_is_given_up(pair: Pair) -> None:
    """The guest waits for room at most as long as a stall lasts, and sees no error."""
    primary, backup = pair.begin()
    with standing_still(backup):
        client = primary.client()
        for i in range(96):
            client.write((i % 8) << 20, bytes([i]) * (1 << 20))
        assert "has not gone on for 3 s" in primary.hear("UNPROTECTED")
        assert primary.image.read_bytes()[7 << 20 :] == bytes([95]) * (1 << 20)


def test_the_primary_dies_and_its_open_epoch_with_it(pair: Pair) -> None:
    primary, backup = pair.begin()
    client = primary.client()
    client.write(0, block(1) * 64)
    primary.controller().flush(DEADLINE_S)
    committed = primary.image.read_bytes()
    client.write(4096, block(2) * 64)
    primary.kill()
    backup.hear("UNPROTECTED from now on, at epoch 1")
    assert backup.role == "unprotected"
    assert digest(backup.image.read_bytes()) == digest(committed)
    guest = backup.client()
    assert guest.read(0, 8192) == block(1) * 2
    guest.write(0, block(3))
    guest.flush()
    assert backup.image.read_bytes()[:8192] == block(3) + block(1)


def end_epochs(
    controller: FlushController,
    writers: Writers,
    epochs: list[tuple[list[int], list[int]]],
    numbers: Iterable[int],
) -> None:
    """One after another; what was complete before each flush, and begun when it was written."""
    for _ in numbers:
        done = list(writers.done)
        controller.begin(DEADLINE_S)
        epochs.append((done, list(writers.begun)))
        await_answer(controller)


@pytest.mark.parametrize("seed", range(3))
def test_the_primary_dies_at_any_moment(pair: Pair, seed: int) -> None:
    """The backup is at the last epoch that was answered, or at the one that was asked for."""
    primary, backup = pair.begin()
    controller, blocks, chance = primary.controller(), 256, random.Random(seed)
    writers = Writers(primary.nbd, blocks=blocks)
    death = threading.Timer(chance.uniform(0.3, 1.0), os.kill, (primary.pid, signal.SIGKILL))
    epochs = [([-1] * blocks, [-1] * blocks)]
    end_epochs(controller, writers, epochs, range(3))
    death.start()
    with pytest.raises(TapdiskGone):
        end_epochs(controller, writers, epochs, itertools.count())
    death.join()
    with pytest.raises(OSError, match=r"closed the connection|reset|Broken pipe"):
        writers.stop()
    at = int(backup.hear("UNPROTECTED").split("at epoch ")[1].split(":")[0])
    assert len(epochs) - 2 <= at < len(epochs), "the last flush is not answered"
    assert at > 2
    done, begun = epochs[at]
    image = backup.image.read_bytes()
    for place in range(blocks):
        if done[place] > 0:
            number = number_in(image, place)
            zeroed = number == 0 and begun[place] > done[place]
            assert zeroed or done[place] <= number <= begun[place], f"block {place}"


def test_a_guests_write_on_the_backup_is_the_failover(pair: Pair) -> None:
    """As with the original: the open epoch is dropped first, and the committed ones are in."""
    primary, backup = pair.begin()
    controller = primary.controller()
    primary.client().write(0, block(1) * 3)
    controller.flush(DEADLINE_S)
    primary.client().write(4096, block(2))
    backup.client().write(8192, block(9))
    assert backup.role == "unprotected"
    assert backup.image.read_bytes()[:12288] == block(1) * 2 + block(9)
    primary.hear("UNPROTECTED")
    with pytest.raises(FlushFailed):
        controller.flush(DEADLINE_S)


def test_ended_in_order_both_images_are_the_same_and_a_pair_again(pair: Pair) -> None:
    primary, backup = pair.begin()
    client = primary.client()
    client.write(0, block(1))
    primary.controller().flush(DEADLINE_S)
    client.write(4096, block(2))  # no flush follows
    assert primary.stop() == 0
    backup.hear("UNPROTECTED")
    assert digest(backup.image.read_bytes()) == digest(primary.image.read_bytes())
    assert backup.stop() == 0
    assert not primary.nbd.exists()
    assert not list(primary.files.directory.glob("*.msg"))
    primary, backup = pair.begin()
    primary.client().write(0, block(3))
    primary.controller().flush(DEADLINE_S)
    assert same(primary, backup)


def test_images_that_have_grown_apart_are_no_pair_until_somebody_says_so(pair: Pair) -> None:
    primary, backup = pair.begin()
    primary.client().write(0, block(1))
    primary.kill()
    backup.hear("UNPROTECTED")
    backup.stop()
    backup = pair.start("backup")  # nobody has written here
    primary = pair.start("primary")
    assert (primary.role, backup.role) == ("unprotected", "backup")
    with pytest.raises(FlushFailed):
        primary.controller().flush(DEADLINE_S)
    primary.client().write(0, block(2))
    primary.stop()
    backup.stop()
    backup.image.write_bytes(primary.image.read_bytes())
    primary, backup = pair.begin("--in-sync")
    primary.client().write(0, block(3))
    primary.controller().flush(DEADLINE_S)
    assert same(primary, backup)


def test_the_guests_own_disk_is_not_offered_to_a_primary_again(pair: Pair) -> None:
    """Else a primary that comes back would write over what the guest has done here."""
    primary, backup = pair.begin()
    primary.kill()
    backup.hear("UNPROTECTED")
    backup.client().write(0, block(9))
    backup.kill()
    backup = pair.start("backup")
    assert backup.role == "unprotected"
    assert backup.content()[:BLOCK] == block(9)


def test_an_epoch_that_outgrows_the_journal_costs_the_protection(pair: Pair) -> None:
    """Nobody hangs: the backup keeps what is committed, the guest goes on."""
    primary, backup = pair.begin("--journal", str(1 << 20))
    controller, client = primary.controller(), primary.client()
    for _ in range(3):
        client.write(0, block(1) * 200)  # one after another they have room
        controller.flush(DEADLINE_S)
    committed = primary.image.read_bytes()
    for i in range(4):
        client.write(i << 20, block(2) * 256)
    assert "DISK-156" in backup.hear("the primary is lost")
    backup.hear("UNPROTECTED from now on, at epoch 3")
    primary.hear("UNPROTECTED")
    assert digest(backup.content()) == digest(committed)
    client.write(4 << 20, block(3))
    assert primary.image.read_bytes()[4 << 20 :][:BLOCK] == block(3)
