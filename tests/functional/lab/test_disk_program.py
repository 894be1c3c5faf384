"""The disk program on files: what it finds when nothing is wrong, and when something is."""

import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from remus_ha.lab.disks import DiskVerdict, LastWrite
from remus_ha.lab.errors import DisksRefused, LedgerUnreachable
from remus_ha.lab.guest_image import compile_disks
from tests.functional.lab.disk_program import (
    AREAS,
    OWN_AREAS,
    SECTOR,
    DiskProgram,
    number_at,
    written_above,
)

pytestmark = pytest.mark.root

WRITES = 300
Start = Callable[..., DiskProgram]


@pytest.fixture(scope="session")
def program_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("disks") / "disks"
    compile_disks(program)
    return program


@pytest.fixture
def disks(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "xvda", tmp_path / "xvdb"]
    for disk in made:
        disk.touch()
        os.truncate(disk, 8 << 20)
    return made


@pytest.fixture
def start(program_file: Path, disks: list[Path]) -> Iterator[Start]:
    """Starts the program on the disks."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with ExitStack() as stack:

        def enter(*options: str) -> DiskProgram:
            return stack.enter_context(DiskProgram(program_file, disks, *options))

        yield enter


@pytest.fixture
def program(start: Start) -> DiskProgram:
    return start("area_kib=1024")


def last_write(program: DiskProgram, disk: Path) -> LastWrite:
    """The newest completed write on a disk; all that it covers must still be seen."""
    written = [program.control.last(writer) for writer in range(8)]
    return max((w for w in written if w.disk == disk.name), key=lambda w: w.completed)


def change(disk: Path, offset: int, data: bytes) -> None:
    with open(disk, "r+b") as file:
        file.seek(offset)
        file.write(data)


class TestSound:
    """Disks that did what they were told."""

    def test_writers_begin_when_told(self, program: DiskProgram) -> None:
        stat = program.control.stat()
        assert (stat.running, stat.writers, stat.disks, stat.number) == (False, 8, 2, 0)
        assert program.control.verify().checked == 0

    def test_all_that_was_written_is_there(self, program: DiskProgram, disks: list[Path]) -> None:
        stat = program.write(WRITES)
        assert stat.completed == stat.number >= WRITES
        assert stat.errors == 0
        verdict = program.control.verify()
        assert verdict.clean, verdict
        assert verdict.first == ""
        assert verdict.in_flight == verdict.unsure == verdict.torn == 0
        for disk in disks:
            assert verdict.disks[disk.name].checked == written_above(disk, 0) > 100

    def test_every_writer_writes_and_small_writes_prevail(self, program: DiskProgram) -> None:
        stat = program.write(WRITES)
        assert all(program.control.last(writer).completed for writer in range(8))
        assert 512 < stat.bytes / stat.completed < 64 << 10

    def test_writing_goes_on_around_a_verification(self, program: DiskProgram) -> None:
        program.control.start(0)
        for _ in range(3):
            before = program.control.stat()
            program.wait(before.completed + 100)
            assert program.control.verify().clean
            assert program.control.stat().running

    def test_what_is_in_flight_is_not_held_against_it(self, program: DiskProgram) -> None:
        program.control.start(0)
        program.wait(200)
        verdicts = [program.control.verify(settle_s=0) for _ in range(10)]
        assert all(verdict.clean for verdict in verdicts), verdicts
        assert any(verdict.in_flight for verdict in verdicts)

    def test_what_another_run_left_is_not_held_against_it(self, start: Start) -> None:
        start("area_kib=1024").write(WRITES)
        second = start("area_kib=1024")
        assert second.control.verify().clean
        second.write(WRITES)
        verdict = second.control.verify()
        assert verdict.clean, verdict
        assert verdict.checked > 100

    def test_the_rate_is_kept(self, program: DiskProgram) -> None:
        program.write(20, kib_s=256)
        slow = program.control.latency()
        assert slow.count >= 20
        assert 0 < slow.p50_us <= slow.p95_us <= slow.max_us
        assert program.control.start(512).kib_s == 512
        program.control.stop()
        program.control.reset()
        assert program.control.latency().count <= 8

    def test_a_pause_of_the_whole_program_harms_nothing(self, program: DiskProgram) -> None:
        """As when its guest is suspended in the middle of everything."""
        program.control.start(0)
        program.wait(50)
        program.child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, program.child.pid, os.WSTOPPED)
        program.child.send_signal(signal.SIGCONT)
        program.wait(program.control.stat().completed + 50)
        assert program.control.verify().clean


class TestFaulty:
    """Disks that did not: each fault is found, where it is, and no other."""

    def test_one_corrupt_sector(self, program: DiskProgram, disks: list[Path]) -> None:
        program.write(WRITES)
        checked = program.control.verify().checked
        broken = last_write(program, disks[1])
        change(disks[1], broken.offset + 100, b"\xff\x00\xff")
        verdict = program.control.verify()
        assert not verdict.clean
        assert (verdict.missing, verdict.later, verdict.corrupt) == (0, 0, 1)
        assert verdict.checked == checked - 1
        assert verdict.first.startswith(f"xvdb:{broken.offset // SECTOR}:corrupt:")
        assert verdict.disks["xvda"].corrupt == 0
        assert verdict.disks["xvdb"].corrupt == 1

    def test_sectors_that_change_places(self, program: DiskProgram, disks: list[Path]) -> None:
        program.write(WRITES)
        number = program.control.stat().number
        moved = last_write(program, disks[0])
        there = disks[0].read_bytes()[moved.offset :][:SECTOR]
        change(disks[1], last_write(program, disks[1]).offset, there)
        verdict = program.control.verify()
        assert (verdict.missing, verdict.later, verdict.corrupt) == (0, 0, 1)
        assert program.control.stat().number == number

    def test_a_write_that_never_arrived(self, program: DiskProgram, disks: list[Path]) -> None:
        program.write(WRITES)
        lost = last_write(program, disks[0])
        change(disks[0], lost.offset, bytes(lost.bytes))
        verdict = program.control.verify()
        assert (verdict.missing, verdict.later, verdict.corrupt) == (lost.bytes // SECTOR, 0, 0)
        assert verdict.first == (
            f"xvda:{lost.offset // SECTOR}:missing:wanted={lost.completed}:seen=0"
        )

    def test_a_disk_that_went_back(
        self, program: DiskProgram, disks: list[Path], tmp_path: Path
    ) -> None:
        """Its backup's image is one epoch too old, the memory and the other disk are not."""
        then = program.write(WRITES).number
        older = shutil.copy(disks[0], tmp_path / "older")
        program.write(100)
        assert program.control.verify().clean
        gone = written_above(disks[0], then)
        change(disks[0], 0, Path(older).read_bytes())
        verdict = program.control.verify()
        assert gone > 0
        assert (verdict.missing, verdict.later, verdict.corrupt) == (gone, 0, 0)
        assert verdict.disks["xvda"].missing == gone
        assert verdict.disks["xvdb"] == DiskVerdict(
            checked=written_above(disks[1], 0), missing=0, later=0, corrupt=0, unread=0
        )

    def test_one_area_that_went_back(
        self, program: DiskProgram, disks: list[Path], tmp_path: Path
    ) -> None:
        program.write(WRITES)
        older = Path(shutil.copy(disks[1], tmp_path / "older")).read_bytes()
        program.write(100)
        now = disks[1].read_bytes()
        area = slice(AREAS, OWN_AREAS)
        gone = sum(
            older[at : at + SECTOR] != now[at : at + SECTOR]
            for at in range(area.start, area.stop, SECTOR)
        )
        change(disks[1], area.start, older[area])
        verdict = program.control.verify()
        assert gone > 0
        assert (verdict.missing, verdict.later, verdict.corrupt) == (gone, 0, 0)

    def test_disks_from_the_future(self, program: DiskProgram, disks: list[Path]) -> None:
        """The memory is one epoch too old for its disks."""
        then = program.write(WRITES).number
        program.write(100)
        ahead = [written_above(disk, then) for disk in disks]
        stat = program.control.forget(then)
        assert stat.number == then
        verdict = program.control.verify()
        assert sum(ahead) > 0
        assert (verdict.missing, verdict.later, verdict.corrupt) == (0, sum(ahead), 0)
        assert [verdict.disks[disk.name].later for disk in disks] == ahead
        assert ":later:" in verdict.first

    def test_a_write_of_a_discarded_future_has_no_alibi_later(
        self, program: DiskProgram, disks: list[Path]
    ) -> None:
        """Memory went back and wrote on: the discarded write's number has been used since."""
        then = program.write(50).number
        program.write(WRITES)
        discarded = disks[0].read_bytes()
        program.control.forget(then)
        begun = program.write(WRITES).number
        before = program.control.verify()
        now = disks[0].read_bytes()
        stray = next(
            at
            for at in range(OWN_AREAS, len(now), SECTOR)
            if then < number_at(now, at) < number_at(discarded, at) <= begun
        )
        change(disks[0], stray, discarded[stray : stray + SECTOR])
        verdict = program.control.verify()
        assert (verdict.missing, verdict.later, verdict.corrupt) == (0, before.later + 1, 0)
        assert verdict.checked == before.checked - 1

    def test_memory_is_not_made_to_forget_under_writers(self, program: DiskProgram) -> None:
        program.control.start(64)
        with pytest.raises(DisksRefused, match="running"):
            program.control.forget(1)

    def test_errors_are_counted_and_end_nothing(self, program: DiskProgram) -> None:
        program.write(50)
        limit = str(4 << 20)
        subprocess.run(
            ["prlimit", f"--pid={program.child.pid}", f"--fsize={limit}"], check=True, timeout=20
        )
        program.control.start(0)
        program.wait(program.control.stat().completed + 100)
        stat = program.settle()
        assert stat.errors > 0
        # a write may end where the limit is: short, which is an error without a number
        assert stat.last_error in (errno.EFBIG, errno.EIO)
        verdict = program.control.verify()
        assert verdict.clean, verdict
        assert verdict.unsure > 0
        assert program.control.reset().errors == 0


class TestSaved:
    """Records of clients."""

    def test_saved_is_on_the_disk_when_it_is_said(
        self, program: DiskProgram, disks: list[Path]
    ) -> None:
        assert program.control.save("first line") == 1
        assert program.control.save("second") == 2
        assert b"first line" in disks[0].read_bytes()[:SECTOR]
        assert program.control.saved(1) == "first line"
        assert program.control.saved(3) is None
        verdict = program.control.verify()
        assert (verdict.clean, verdict.saved, verdict.checked) == (True, 2, 2)

    def test_a_lost_and_a_broken_record_are_found(
        self, program: DiskProgram, disks: list[Path]
    ) -> None:
        for text in ("one", "two", "three"):
            program.control.save(text)
        change(disks[0], 0, bytes(SECTOR))
        change(disks[0], SECTOR + 30, b"X")
        verdict = program.control.verify()
        assert (verdict.missing, verdict.corrupt, verdict.checked) == (1, 1, 1)
        assert program.control.saved(1) is None
        assert program.control.saved(2) is None
        assert program.control.saved(3) == "three"

    def test_a_record_from_the_future_is_found(self, start: Start, disks: list[Path]) -> None:
        program = start()
        program.control.save("one")
        older = disks[0].read_bytes()
        program.control.save("two")
        newer = disks[0].read_bytes()
        change(disks[0], 0, older)
        set_back = start()
        change(disks[0], 0, newer)
        verdict = set_back.control.verify()
        assert (verdict.later, verdict.saved) == (1, 1)

    def test_records_outlive_the_program(self, start: Start) -> None:
        start().control.save("before")
        again = start().control
        assert again.saved(1) == "before"
        assert again.save("after") == 2

    @pytest.mark.parametrize(("command", "word"), [("save ", "syntax"), ("saved 0?", "number")])
    def test_what_cannot_be(self, program: DiskProgram, command: str, word: str) -> None:
        with pytest.raises(DisksRefused, match=word):
            program.control._patiently(command, 10)


class TestProtocol:
    """Its port."""

    def test_unknown_commands_are_refused(self, program: DiskProgram) -> None:
        with pytest.raises(DisksRefused, match="command"):
            program.control._quick("rubbish")

    def test_a_slow_command_is_answered_over_udp_as_well(self, program: DiskProgram) -> None:
        assert program.control._quick("save by datagram") == "saved 1"

    def test_hellos_of_new_guests_are_passed_over(self, program: DiskProgram) -> None:
        with program._namespace.enter():
            asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with asking:
            asking.settimeout(10)
            asking.connect(("127.0.0.1", 7779))
            asking.send(b"hello g1")
            asking.send(b"latency")
            assert asking.recv(100).startswith(b"count ")

    def test_several_lines_in_one_segment(self, program: DiskProgram) -> None:
        with program._namespace.enter():
            s = socket.create_connection(("127.0.0.1", 7779), 10)
        with s, s.makefile("rw") as stream:
            stream.write("stat\nsave x\nsaved 1?\n")
            stream.flush()
            assert stream.readline().startswith("running 0 ")
            assert stream.readline() == "saved 1\n"
            assert stream.readline() == "saved 1 x\n"

    def test_nobody_there(self, program: DiskProgram) -> None:
        program.child.kill()
        program.child.wait()
        with pytest.raises(LedgerUnreachable, match="tcp port 7779"):
            program.control.verify()
        with pytest.raises(LedgerUnreachable, match="udp port 7779"):
            program.control._quick("stat", timeout_s=0.5)


@pytest.fixture
def only_read(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own: a test fills it, and mounts it again for reading only."""
    place = tmp_path / "only-read"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_can_only_be_read_is_read(
    start: Start, program_file: Path, disks: list[Path], only_read: Path
) -> None:
    number = start().control.save("a line")
    disk = only_read / "xvda"
    shutil.copy(disks[0], disk)
    subprocess.run(["mount", "-o", "remount,ro", only_read], check=True)
    with DiskProgram(program_file, [disk]) as program:
        assert program.control.saved(number) == "a line"
        assert program.control.stat().writers == 0
        with pytest.raises(DisksRefused):
            program.control.save("another")
