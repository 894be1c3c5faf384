"""A host's clocks against this machine's."""

import pytest

from remus_ha.lab.demo.clocks import offset_of


def test_an_answer_is_from_the_middle_of_its_round_trip() -> None:
    offset = offset_of(sent_s=10.0, received_s=10.04, wall_s=5000.02, monotonic_s=70.02)
    assert offset.error_s == pytest.approx(0.02)
    assert offset.of_wall(5001.0) == pytest.approx(11.0)
    assert offset.of_monotonic(71.0) == pytest.approx(11.0)
