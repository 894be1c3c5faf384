"""Batches and acknowledgements, against the kernel's own answers about the loopback device.

Only questions are asked, so no privilege is needed and nothing changes.
"""

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from remus_ha.netbuf import messages, rtnl
from remus_ha.netbuf.errors import NoAcknowledgement

NOWHERE = 0x7FFFFFF0


@pytest.fixture
def channel() -> Iterator[rtnl.Channel]:
    made = rtnl.Channel()
    yield made
    made.close()


def question(index: int) -> bytes:
    return messages.get_root_qdisc(index)


LOOPBACK = socket.if_nametoindex("lo")


def test_every_answer_is_matched_to_its_request(channel: rtnl.Channel) -> None:
    seen: list[tuple[int, int]] = []

    def keep(index: int, payload: memoryview) -> None:
        seen.append((index, struct.unpack_from("=i", payload, 4)[0]))

    channel.transact(rtnl.Batch([question(LOOPBACK)] * 3), keep)
    assert seen == [(0, LOOPBACK), (1, LOOPBACK), (2, LOOPBACK)]


def test_the_first_refusal_is_raised_after_all_answers_are_read(channel: rtnl.Channel) -> None:
    seen: list[int] = []
    batch = rtnl.Batch([question(i) for i in (LOOPBACK, NOWHERE, LOOPBACK, NOWHERE)])
    with pytest.raises(rtnl.RequestRefused) as refused:
        channel.transact(batch, lambda index, _: seen.append(index))
    assert (refused.value.index, refused.value.code) == (1, errno.ENODEV)
    assert seen == [0, 2]
    channel.transact(rtnl.Batch([question(LOOPBACK)]))  # nothing of the former batch is left


def test_stale_answers_are_thrown_away(channel: rtnl.Channel) -> None:
    stale = rtnl.Batch([question(NOWHERE), question(LOOPBACK)])
    channel._number(stale)
    channel._socket.send(stale.octets)  # and its answers are never read
    seen: list[int] = []
    channel.transact(rtnl.Batch([question(LOOPBACK)]), lambda index, _: seen.append(index))
    assert seen == [0]


def test_sequence_numbers_wrap(channel: rtnl.Channel) -> None:
    channel._sequence = 0xFFFFFFFE
    seen: list[int] = []
    channel.transact(rtnl.Batch([question(LOOPBACK)] * 4), lambda index, _: seen.append(index))
    assert seen == [0, 1, 2, 3]
    assert channel._sequence == 2


def test_a_missing_answer_is_an_error(channel: rtnl.Channel) -> None:
    batch = rtnl.Batch([question(LOOPBACK)])
    batch.count = 2
    with pytest.raises(NoAcknowledgement) as missing:
        channel.transact(batch)
    assert "1 missing, EAGAIN" in str(missing.value)


def test_an_empty_batch_sends_nothing() -> None:
    channel = rtnl.Channel()
    channel.close()
    channel.transact(rtnl.Batch([]))


def test_attributes_are_found_and_rubbish_ends_the_search() -> None:
    octets = rtnl.attribute(1, b"abc") + rtnl.attribute(2, b"") + b"\0\0\0\0\x05\0\x09\0x"
    assert rtnl.attributes(memoryview(octets)) == {1: (4, 7), 2: (12, 12)}


def test_a_message_states_its_length() -> None:
    assert rtnl.message(16, 5, b"abcd") == bytes.fromhex("14000000 1000 0500") + bytes(8) + b"abcd"
