from remus_ha.core.register import Identity, Kind, Register
from remus_ha.witness.base import Swap
from remus_ha.witness.none import NoWitness

ONE = Register(1, Kind.HOLDER, Identity("a", "n"))
TWO = Register(2, Kind.HOLDER, Identity("b", "n"))


def test_every_swap_is_won_and_read_back() -> None:
    witness = NoWitness()
    assert witness.read("u", 1).register is None
    assert witness.swap("u", None, ONE, 1) is Swap.WON
    assert witness.swap("u", None, TWO, 1) is Swap.WON
    assert witness.read("u", 1).register == TWO


def test_two_of_them_know_nothing_of_each_other() -> None:
    one, other = NoWitness(), NoWitness()
    assert one.swap("u", None, ONE, 1) is other.swap("u", None, TWO, 1) is Swap.WON
    assert one.read("u", 1).register == ONE


def test_opened_only_grows() -> None:
    witness = NoWitness()
    for generation in (3, 2):
        witness.record_opened("u", generation, 1)
    assert witness.read("u", 1).opened == 3
