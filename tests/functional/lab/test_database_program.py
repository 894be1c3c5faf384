"""The database program: what it acknowledged is there after its end, and on its disk."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from remus_ha.lab.database_writer import Acknowledged, DatabaseWriter
from remus_ha.lab.errors import BadValue, DatabaseRefused, LedgerUnreachable
from remus_ha.lab.guest_image import compile_database
from tests.functional.lab.database_program import DatabaseProgram

pytestmark = pytest.mark.root

Start = Callable[..., DatabaseProgram]
# Fewer pages than those at which SQLite moves the WAL into the database (see database_rows.c).
FEW = 20
# Linked into the program in place of the C library's.
CARELESS = "int fsync(int fd) { return fd < 0; } int fdatasync(int fd) { return fd < 0; }"


@pytest.fixture(scope="session")
def program_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("database") / "database"
    compile_database(program)
    return program


@pytest.fixture
def data(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir()
    return place


@pytest.fixture
def programs() -> Iterator[ExitStack]:
    """Ends the programs that are entered."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(programs: ExitStack, program_file: Path, data: Path) -> Start:
    """Starts the program on the directory."""

    def start() -> DatabaseProgram:
        return programs.enter_context(DatabaseProgram(program_file, f"directory={data}"))

    return start


def killed_while_writing(program: DatabaseProgram, count: int, label: str = "w") -> Acknowledged:
    """What it acknowledged before it was killed in the middle of its work."""
    with DatabaseWriter(program.control, label) as writer:
        writer.wait_acknowledged(count)
        program.kill()
        writer.wait_acknowledged(1 << 30)  # until it has met the end
        told = writer.stop()
    assert writer.broken is not None
    assert len(told) >= count
    return told


class TestProtocol:
    """Its port."""

    def test_rows(self, start: Start) -> None:
        control = start().control
        assert control.count() == 0
        assert control.row(1) is None
        assert control.insert("one; it's") == 1
        assert control.insert("größer") == 2
        assert (control.row(1), control.row(2), control.row(3)) == ("one; it's", "größer", None)
        assert control.count() == 2
        assert control.check() == "ok"

    def test_files(self, start: Start, data: Path) -> None:
        control = start().control
        assert control.file("a.txt") is None
        control.save("a.txt", "one text")
        control.save("a.txt", "another?")
        assert control.file("a.txt") == "another?"
        assert (data / "files" / "a.txt").read_text() == "another?"
        assert os.listdir(data / "files") == ["a.txt"]

    def test_a_connection_is_kept(self, start: Start) -> None:
        with start().control.connect() as connection:
            assert [connection.insert(f"row {n}") for n in range(3)] == [1, 2, 3]
            assert connection.count() == 3

    def test_clients_at_the_same_time(self, start: Start) -> None:
        control = start().control
        with DatabaseWriter(control, "x") as one, DatabaseWriter(control, "y") as other:
            one.wait_acknowledged(20)
            other.wait_acknowledged(20)
            told = [one.stop(), other.stop()]
        assert [acknowledged.lost(control) for acknowledged in told] == [[], []]
        assert control.count() == sum(len(acknowledged.rows) for acknowledged in told)

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("rubbish", "syntax"),
            ("insert ", "syntax"),
            ("insert absent", "syntax"),
            ("insert error of mine", "syntax"),
            ("row 1", "syntax"),
            ("file name", "syntax"),
            ("file ../x text", "name"),
            ("file .half?", "name"),
        ],
    )
    def test_what_cannot_be(self, start: Start, line: str, words: str) -> None:
        with pytest.raises(DatabaseRefused, match=words):
            start().control._ask(line)

    def test_a_text_of_two_lines(self, start: Start) -> None:
        with pytest.raises(BadValue, match="text cannot be"):
            start().control.insert("a\nb")

    def test_a_line_that_is_too_long_ends_its_connection_only(self, start: Start) -> None:
        control = start().control
        with pytest.raises(LedgerUnreachable):
            control.insert("x" * 2000)
        assert control.insert("y" * 1000) == 1

    def test_nobody_there(self, start: Start) -> None:
        program = start()
        program.control.wait_served(10)
        program.kill()
        with pytest.raises(LedgerUnreachable, match="tcp port 7780"):
            program.control.count()
        with pytest.raises(LedgerUnreachable, match="refused"):
            program.control.wait_served(0.3)

    def test_a_client_whose_story_fails_waits_for_no_answer(self, start: Start) -> None:
        program = start()
        writer = DatabaseWriter(program.control)

        def story() -> None:
            with writer:
                program.child.send_signal(signal.SIGSTOP)
                raise RuntimeError("the story fails")

        with pytest.raises(RuntimeError, match="story"):
            story()
        assert writer.broken, "it met the end while it wrote, or while it read"

    def test_without_a_place(self, program_file: Path) -> None:
        done = subprocess.run([program_file, "quiet"], capture_output=True, timeout=20)
        assert done.returncode == 2


class TestKilled:
    """The program ends in the middle of its work."""

    def test_nothing_acknowledged_is_missing(self, start: Start) -> None:
        """Four times on the same data; the WAL has been moved into the database meanwhile."""
        told = []
        for number in range(4):
            count = random.Random(number).randint(50, 400)
            told.append(killed_while_writing(start(), count, f"w{number}"))
            control = start().control
            assert control.check() == "ok"
            assert [acknowledged.lost(control) for acknowledged in told] == [[]] * len(told)
            rows = sum(len(acknowledged.rows) for acknowledged in told)
            # an insert that was not answered may have been committed
            assert rows <= control.count() <= rows + len(told)

    def test_a_lost_wal_is_found_out(self, start: Start, data: Path) -> None:
        """Negative control: its rows are missing, the files are not."""
        program = start()
        with DatabaseWriter(program.control) as writer:
            writer.wait_acknowledged(FEW)
            program.kill()
            told = writer.stop()
        (data / "rows.db-wal").unlink()
        (data / "rows.db-shm").unlink()
        again = start().control
        assert again.check() == "ok"
        lost = told.lost(again)
        assert lost, "the judge sees nothing"
        assert all(thing.startswith("row ") for thing in lost), lost

    def test_a_lost_file_is_found_out(self, start: Start, data: Path) -> None:
        told = killed_while_writing(start(), FEW)
        (name, _), *_ = told.files
        (data / "files" / name).unlink()
        assert told.lost(start().control) == [f"file {name}"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "xvdb.img"
    file.touch()
    os.truncate(file, 32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-J", "size=4", file], check=True, timeout=20)
    return file


@pytest.fixture
def mounting(programs: ExitStack, program_file: Path, data: Path) -> Start:
    """Starts the program on an image, which it mounts where nobody else sees it."""

    def mounting(image: Path, program: Path = program_file) -> DatabaseProgram:
        words = (f"database={attached(programs, image)}", f"directory={data}")
        alone = ("unshare", "--mount")
        return programs.enter_context(DatabaseProgram(program, *words, prefix=alone))

    return mounting


def attached(stack: ExitStack, image: Path) -> str:
    """The name in /dev of a loop device that has the image."""
    done = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, timeout=20
    )
    if done.returncode != 0:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    device = done.stdout.strip()
    stack.callback(subprocess.run, ["losetup", "--detach", device], check=True, timeout=20)
    return device.removeprefix("/dev/")


def cut(program: DatabaseProgram, image: Path) -> tuple[Acknowledged, Path]:
    """What was acknowledged, and the disk as a power cut would leave it.

    The copy is taken of the stopped program's disk: it has what the file system has sent to its
    disk, and nothing of what is only in the page cache.
    """
    with DatabaseWriter(program.control) as writer:
        writer.wait_acknowledged(100)
        program.child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, program.child.pid, os.WSTOPPED)
        left = Path(shutil.copy(image, image.with_name("left.img")))
        program.kill()
        told = writer.stop()
    return told, left


class TestDisk:
    """On an ext4 of its own, as it is in a guest."""

    def test_what_is_acknowledged_is_on_the_disk(self, mounting: Start, image: Path) -> None:
        told, left = cut(mounting(image), image)
        control = mounting(left).control
        assert control.check() == "ok"
        assert told.lost(control) == []

    def test_a_program_that_does_not_sync_is_found_out(
        self, mounting: Start, image: Path, tmp_path: Path
    ) -> None:
        """Negative control."""
        careless = tmp_path / "careless.c"
        careless.write_text(CARELESS)
        compile_database(tmp_path / "careless", careless)
        told, left = cut(mounting(image, program=tmp_path / "careless"), image)
        lost = told.lost(mounting(left).control)
        assert any(thing.startswith("row ") for thing in lost), lost
        assert any(thing.startswith("file ") for thing in lost), lost
