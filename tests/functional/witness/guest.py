"""Names that the stories use."""

from remus_ha.core.register import Identity, Kind, Register

UUID = "0f4f6c2e-93b1-4b6f-9d0e-5f2b1c7a8d11"
PRIMARY = Identity("alpha", "n1")
BACKUP = Identity("beta", "n2")


def sole(generation: int, who: Identity = PRIMARY) -> Register:
    return Register(generation, Kind.HOLDER, who)


def pair(generation: int) -> Register:
    return Register(generation, Kind.PAIR, PRIMARY, BACKUP)


def stopped(generation: int) -> Register:
    return Register(generation, Kind.NONE, None)
