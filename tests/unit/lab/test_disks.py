from remus_ha.lab.disks import (
    DiskStat,
    DiskVerdict,
    LastWrite,
    WriteLatency,
    parse_last,
    parse_latency,
    parse_stat,
    parse_verdict,
)


def test_stat() -> None:
    text = (
        "running 1 writers 8 disks 2 direct 1 kib_s 1024 number 77 completed 74 in_flight 3 "
        "bytes 1048576 errors 1 last_error 5 saved 4"
    )
    assert parse_stat(text) == DiskStat(
        running=True,
        direct=True,
        writers=8,
        disks=2,
        kib_s=1024,
        number=77,
        completed=74,
        in_flight=3,
        bytes=1048576,
        errors=1,
        last_error=5,
        saved=4,
    )


def test_latency() -> None:
    text = "count 9 p50_us 120 p95_us 900 max_us 1010"
    assert parse_latency(text) == WriteLatency(9, 120, 900, 1010)


def test_last() -> None:
    text = "writer 3 disk xvdb completed 12 in_flight 0 offset 1310720 bytes 4096"
    assert parse_last(text) == LastWrite(3, "xvdb", 12, 0, 1310720, 4096)


CLEAN = (
    "clean 1 in_flight 0 saved 2 checked 10 missing 0 later 0 corrupt 0 unread 0 unsure 0 torn 0 "
    "first - xvda.checked 6 xvda.missing 0 xvda.later 0 xvda.corrupt 0 xvda.unread 0 "
    "xvdb.checked 4 xvdb.missing 0 xvdb.later 0 xvdb.corrupt 0 xvdb.unread 0"
)


def test_a_clean_verdict() -> None:
    verdict = parse_verdict(CLEAN)
    assert verdict.clean
    assert (verdict.checked, verdict.saved, verdict.first) == (10, 2, "")
    assert verdict.disks == {
        "xvda": DiskVerdict(6, 0, 0, 0, 0),
        "xvdb": DiskVerdict(4, 0, 0, 0, 0),
    }


def test_a_verdict_with_faults_names_the_disk() -> None:
    text = (
        CLEAN.replace("clean 1", "clean 0")
        .replace(" later 0", " later 3", 1)
        .replace("xvdb.later 0", "xvdb.later 3")
        .replace("first -", "first xvdb:2560:later:wanted=0:seen=99")
    )
    verdict = parse_verdict(text)
    assert not verdict.clean
    assert (verdict.later, verdict.disks["xvda"].later, verdict.disks["xvdb"].later) == (3, 0, 3)
    assert verdict.first == "xvdb:2560:later:wanted=0:seen=99"
