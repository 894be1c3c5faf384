"""Sessions whose memory stream has a rate."""

from collections.abc import Iterator

import pytest

from remus_ha.checkpoint.epochs import Sample
from remus_ha.stream.modes import Tls
from tests.functional.checkpoint.pair import Pair

RATE_MBIT_S = 8
EPOCH = 2_500_000  # octets: two and a half seconds


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(monkeypatch)
    made.scenario = f'helper.remus(b"live" * 100, {EPOCH})'
    yield made
    made.close()


def on_its_way_s(pair: Pair) -> float:
    """How long the first epoch after the full copy took from the guest's resume to its ACK."""

    def last() -> Sample | None:
        return pair.primary_process._figures.last()

    pair.wait_protected(epochs=1)
    pair.wait(lambda: (sample := last()) is not None and sample.n > 0)
    sample = last()
    assert sample is not None
    return sample.acked - sample.resumed


@pytest.mark.parametrize("tls", [Tls.DISABLED, Tls.REQUIRED])
def test_an_epoch_that_takes_longer_than_the_detection_is_no_accident(pair: Pair, tls: Tls) -> None:
    """Octets of it arrive all the time."""
    pair.tls, pair.rate_mbit_s = tls.value, RATE_MBIT_S
    pair.start()
    assert on_its_way_s(pair) > pair.detect_ms / 1e3
    assert pair.status()["rate_mbit_s"] == RATE_MBIT_S
    assert pair.status()["state"] == "protected"
