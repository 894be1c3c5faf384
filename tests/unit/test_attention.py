import pytest

from remus_ha import attention
from remus_ha.attention import Attention


def test_only_a_loop_that_stood_still_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr(attention.time, "monotonic", lambda: now[0])
    ticks = Attention(0.25)
    found = []
    for passed in (0.25, 0.4, 0.5, 3.25, 0.25):
        now[0] += passed
        found.append(round(ticks.late_s(), 6))
    assert found == [0.0, 0.0, 0.0, 3.0, 0.0]
