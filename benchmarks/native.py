"""The figures that need no Xen."""

from benchmarks import control_cost, sealed, splice
from benchmarks.rows import Row, native

ROUNDS = 5
EPOCHS = 4000


def rows() -> list[Row]:
    """What ``splice``, ``sealed`` and ``control_cost`` measure."""
    moved = [*splice.rows(ROUNDS), *sealed.rows(ROUNDS)]
    paths = [native(raw, unit_bounded=False) for raw in moved]
    return paths + [native(raw, unit_bounded=True) for raw in control_cost.rows(EPOCHS)]
