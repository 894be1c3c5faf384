"""The figures that need no Xen."""

from benchmarks import control_cost, splice
from benchmarks.rows import Row, native

ROUNDS = 5
EPOCHS = 4000


def rows() -> list[Row]:
    """What ``splice`` and ``control_cost`` measure."""
    paths = [native(raw, unit_bounded=False) for raw in splice.rows(ROUNDS)]
    return paths + [native(raw, unit_bounded=True) for raw in control_cost.rows(EPOCHS)]
