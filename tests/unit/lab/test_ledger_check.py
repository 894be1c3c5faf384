from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.lab.ledger_check import (
    Exchange,
    Reply,
    Verdict,
    judge,
    latencies_ms,
    longest_silence_ms,
    parse_reply,
)

CLEAN = Verdict(0, 0, 0)


def honest(amounts: list[int], lost_on_the_way: frozenset[int] = frozenset()) -> list[Exchange]:
    """What a client sees of a guest that forgets nothing; some requests never reach it."""
    exchanges = []
    total = count = 0
    for seq, amount in enumerate(amounts, 1):
        exchange = Exchange(seq, amount, sent_s=float(seq))
        if seq not in lost_on_the_way:
            total, count = total + amount, count + 1
            reply = Reply(seq, total, count, seq * 10)
            exchange = replace(exchange, answered_s=seq + 0.5, reply=reply)
        exchanges.append(exchange)
    return exchanges


@given(st.lists(st.integers(1, 9), max_size=30), st.frozensets(st.integers(1, 30)))
def test_an_honest_guest_is_clean_whatever_the_network_loses(
    amounts: list[int], lost: frozenset[int]
) -> None:
    assert judge(honest(amounts, lost)) == CLEAN


@given(st.lists(st.integers(1, 9), min_size=2, max_size=30), st.data())
def test_an_answer_lost_on_the_way_back_is_no_fault(
    amounts: list[int], data: st.DataObject
) -> None:
    exchanges = honest(amounts)
    unseen = data.draw(st.integers(0, len(exchanges) - 1))
    exchanges[unseen] = replace(exchanges[unseen], reply=None, answered_s=None)
    assert judge(exchanges) == CLEAN


@given(st.integers(2, 20), st.data())
def test_a_rollback_past_an_answer_is_found(length: int, data: st.DataObject) -> None:
    """The guest returns to a state before requests that it has answered."""
    cut = data.draw(st.integers(1, length - 1))
    forgotten = data.draw(st.integers(1, cut))
    exchanges = honest([3] * length)
    for at in range(cut, length):
        reply = exchanges[at].reply
        assert reply is not None
        less = replace(reply, total=reply.total - 3 * forgotten, count=reply.count - forgotten)
        exchanges[at] = replace(exchanges[at], reply=less)
    assert judge(exchanges).lost_acknowledged == forgotten


def test_going_back_is_found() -> None:
    exchanges = honest([5, 1, 1])
    exchanges[2] = replace(exchanges[2], reply=Reply(3, 6, 2, 30))
    verdict = judge(exchanges)
    assert verdict.lost_acknowledged == 1
    assert verdict.went_back == 0
    exchanges[2] = replace(exchanges[2], reply=Reply(3, 5, 1, 30))
    assert judge(exchanges).went_back == 1


def test_the_guests_own_counter_going_back_is_found() -> None:
    exchanges = honest([1, 1])
    exchanges[1] = replace(exchanges[1], reply=Reply(2, 2, 2, 9))
    assert judge(exchanges) == Verdict(0, 1, 0)


def test_an_amount_forgotten_although_the_count_is_right_is_found() -> None:
    exchanges = honest([5, 1])
    exchanges[1] = replace(exchanges[1], reply=Reply(2, 5, 2, 20))
    assert judge(exchanges).lost_acknowledged == 1


def test_a_request_applied_twice_is_found() -> None:
    exchanges = honest([5, 1])
    exchanges[1] = replace(exchanges[1], reply=Reply(2, 11, 3, 20))
    assert judge(exchanges) == Verdict(0, 0, 1)


def test_silence_counts_both_ends() -> None:
    assert longest_silence_ms(0.0, [1.0, 1.5], 2.0) == 1000
    assert longest_silence_ms(0.0, [0.1], 2.0) == 1900
    assert longest_silence_ms(0.0, [], 3.0) == 3000


def test_latencies_are_of_answered_requests() -> None:
    exchanges = [Exchange(1, 1, 1.0, 1.25, Reply(1, 1, 1, 1)), Exchange(2, 1, 2.0)]
    assert latencies_ms(exchanges) == (250.0,)


@pytest.mark.parametrize("line", ["", "me 1 2 3", "you 1 2 3 4", "me 1 x 3 4", "error full"])
def test_what_is_no_reply(line: str) -> None:
    assert parse_reply(line, "me") is None


def test_reply() -> None:
    assert parse_reply("me 1 2 3 4", "me") == Reply(1, 2, 3, 4)
