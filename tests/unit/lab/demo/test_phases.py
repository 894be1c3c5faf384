"""The parts of the silence add up to it."""

import itertools

import pytest

from remus_ha.lab.demo.figures import measure
from remus_ha.lab.demo.phases import phases
from tests.unit.lab.demo import observed


def test_phases_fill_the_silence_without_a_hole() -> None:
    seen = observed.run()
    found = phases(seen)
    assert all(one.end_s == after.start_s for one, after in itertools.pairwise(found))
    assert sum(phase.length_ms for phase in found) == pytest.approx(measure(seen).silence_ms, abs=1)


def test_phases_agree_with_the_report() -> None:
    seen = observed.run()
    report = measure(seen)
    length = {phase.name: phase.length_ms for phase in phases(seen)}
    assert length["detection"] == pytest.approx(report.detection_ms)
    assert length["witness read"] + length["witness swap"] == pytest.approx(report.decision_ms)
    assert length["restore"] == pytest.approx(report.restore_ms)


def test_no_failover_has_no_phases() -> None:
    assert phases(observed.without_failover()) == []
