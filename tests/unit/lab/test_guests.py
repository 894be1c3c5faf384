from pathlib import Path

from remus_ha.lab.control import GuestStat, parse_stat
from remus_ha.lab.guests import parse_xl_list

FIXTURE = Path(__file__).parent / "fixtures" / "xl-list-4.17.txt"


def test_xl_list_without_dom0() -> None:
    rows = parse_xl_list(FIXTURE.read_text())
    found = [(row.name, row.domid, row.memory_mib, row.state) for row in rows]
    assert found == [
        ("g", 1, 96, "-b----"),
        ("web--incoming", 3, 96, "--p---"),
        ("(null)", 4, 0, "--ps-d"),
    ]


def test_stat() -> None:
    text = (
        "name=g number=50 ticks=153 now_us=8023754 requests=2 gap_max_us=3238 gaps=1 "
        "dirty_kib_s=1024 dirty_mib=4 chatter=20 chatter_seq=58 free_kib=5000"
    )
    assert parse_stat(text) == GuestStat("g", 50, 153, 8023754, 2, 3238, 1, 1024, 4, 20, 58, 5000)
