"""The moments of a failover out of a backup's log."""

from datetime import UTC, datetime

import pytest

from remus_ha.journal import Journal
from remus_ha.lab.demo.journal import Entry, Failover, failover, parse

LOG = """\
2026-03-04T05:06:01.000Z backup web: receiving -> standby on committed standing=unknown
2026-03-04T05:06:07.250Z backup web: in doubt: nothing heard of the primary for 1.88 s
2026-03-04T05:06:07.251Z backup web: standby -> in_doubt on doubt
2026-03-04T05:06:07.300Z backup web: in_doubt -> restoring on read standing=my_pair opened=False
2026-03-04T05:06:07.900Z backup web: the copy is restored
2026-03-04T05:06:07.901Z backup web: restoring -> swapping on restored
2026-03-04T05:06:07.950Z backup web: swapping -> opening on swap_won
2026-03-04T05:06:07.980Z backup web: opening -> alive on opened_recorded
2026-03-04T05:06:08.010Z backup web: the guest's output is open here
""".splitlines()
START_S = datetime(2026, 3, 4, 5, 6, tzinfo=UTC).timestamp()


def entries(lines: list[str]) -> list[Entry]:
    return [entry for entry in map(parse, lines) if entry is not None]


def test_moments_of_a_failover() -> None:
    fate = failover(entries(LOG))
    assert fate is not None
    assert fate.moved(START_S) == Failover(
        doubt_s=pytest.approx(7.251),
        restoring_s=pytest.approx(7.3),
        restored_s=pytest.approx(7.901),
        won_s=pytest.approx(7.95),
        open_s=pytest.approx(8.01),
    )


@pytest.mark.parametrize("missing", [2, 3, 5, 6, 8])
def test_a_failover_without_one_of_its_moments_is_not_complete(missing: int) -> None:
    assert failover(entries(LOG[:missing] + LOG[missing + 1 :])) is None


def test_the_primary_tells_nothing_of_a_promotion() -> None:
    assert failover(entries([line.replace(" backup ", " primary ") for line in LOG])) is None


def test_other_lines_are_no_entries() -> None:
    assert entries(["", "Traceback (most recent call last):", "xl: some noise: 3"]) == []


def test_reads_what_the_journal_writes(capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal("backup web")
    journal("standby -> in_doubt on doubt ")
    entry = parse(capsys.readouterr().err)
    assert entry is not None
    assert entry.step == ("standby", "in_doubt")
    assert entry.host_s == pytest.approx(journal.after(0)[0]["time"], abs=0.002)
