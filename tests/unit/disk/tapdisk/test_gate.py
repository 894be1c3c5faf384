"""Who gets through a gate, and when it is shut."""

import threading

from remus_ha.disk.tapdisk.classic.gate import Gate


def test_shut_it_waits_for_those_inside_and_lets_nobody_in() -> None:
    gate, told = Gate(), list[str]()
    shut, entered = threading.Event(), threading.Event()

    def shutting() -> None:
        gate.shut()
        told.append("shut")
        shut.set()

    def late() -> None:
        with gate.open():
            entered.set()

    with gate.open(), gate.open():
        threading.Thread(target=shutting, daemon=True).start()
        assert not shut.wait(0.1)
        told.append("left")
    assert shut.wait(10)
    assert told == ["left", "shut"]
    threading.Thread(target=late, daemon=True).start()
    assert not entered.wait(0.1)
    gate.shut()


def test_an_error_leaves_it_too() -> None:
    gate = Gate()
    try:
        with gate.open():
            raise OSError
    except OSError:
        gate.shut()
