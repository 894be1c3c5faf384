"""The commit journal: what a receiver finds that another one left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.receive.commit import NOTHING, CommitJournal, Committer, Seal
from remus_ha.stream.xenstream import EPOCH_END


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    os.set_blocking(read_end, False)
    yield read_end, write_end
    for fd in (read_end, write_end):
        try:
            os.close(fd)
        except OSError:
            pass  # the test has closed it


def ends_in(read_end: int) -> int:
    """How many epochs' ends are in the pipe, and nothing else."""
    try:
        octets = os.read(read_end, 1 << 16)
    except BlockingIOError:
        return 0
    assert octets == EPOCH_END * (len(octets) // len(EPOCH_END))
    return len(octets) // len(EPOCH_END)


@pytest.fixture
def seal() -> Iterator[Seal]:
    ends = os.pipe()
    yield Seal(*ends)
    for fd in ends:
        os.close(fd)


def test_epochs_are_committed_in_order_each_once(
    tmp_path: Path, pipe: tuple[int, int], seal: Seal
) -> None:
    journal = CommitJournal(tmp_path / "epochs")
    committer = Committer(journal, pipe[1], seal)
    assert committer.committed == NOTHING
    for n in range(2):
        assert committer.seal(n)
        committer.finish(n)
    for wrong in (-1, 0, 1, 3):
        with pytest.raises(ValueError, match=f"epoch {wrong} after 1"):
            committer.seal(wrong)
    assert committer.committed == 1
    assert ends_in(pipe[0]) == 2
    journal.close()


def fill(fd: int) -> int:
    """Fill a pipe; its octets."""
    filled = 0
    try:
        while True:
            filled += os.write(fd, b"x" * 4096)
    except BlockingIOError:
        return filled


def test_a_full_pipe_is_tried_again_and_gets_one_record(
    tmp_path: Path, pipe: tuple[int, int], seal: Seal
) -> None:
    """The record is whole or not there at all."""
    journal = CommitJournal(tmp_path / "epochs")
    committer = Committer(journal, pipe[1], seal)
    filled = fill(pipe[1])
    for _ in range(2):
        assert committer.seal(0) is False
        assert (journal.committing, journal.committed) == (0, NOTHING)
        assert seal.is_set()
    while filled:
        filled -= len(os.read(pipe[0], min(filled, 1 << 16)))
    assert committer.seal(0) is True
    assert not seal.is_set()
    assert ends_in(pipe[0]) == 1
    journal.close()


def test_a_dead_restore_commits_nothing(tmp_path: Path, pipe: tuple[int, int], seal: Seal) -> None:
    journal = CommitJournal(tmp_path / "epochs")
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        Committer(journal, pipe[1], seal).seal(0)
    assert journal.committed == NOTHING
    journal.close()


PROGRAM = """
import os, signal, sys
from pathlib import Path
from remus_ha.receive import commit
path, step = Path(sys.argv[1]), sys.argv[2]
fd, *seal = map(int, sys.argv[3:])

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

journal = commit.CommitJournal(path)
committer = commit.Committer(journal, fd, commit.Seal(*seal))
for n in range(3):
    committer.seal(n)
    committer.finish(n)
if step == "before":
    die()
if step == "set":
    journal.begin = die
elif step == "begun":
    commit.os.splice = die
elif step == "moved":
    journal.finish = die
committer.seal(3)
committer.finish(3)
die()
"""


LEFT = {  # step: committing, committed, ends in the restore, then what a new receiver settles on
    "before": (2, 2, 3, 2),
    "set": (2, 2, 3, 2),
    "begun": (3, 2, 3, 2),
    "moved": (3, 2, 4, 3),
    "finished": (3, 3, 4, 3),
}


@pytest.mark.parametrize("step", LEFT)
def test_a_receiver_killed_at_a_step_leaves_what_it_had_done(
    tmp_path: Path, pipe: tuple[int, int], step: str
) -> None:
    """And the next one knows for certain which epoch the restore has got."""
    path = tmp_path / "epochs"
    ends = os.pipe()
    fds = [pipe[1], *ends]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), step, *map(str, fds)], pass_fds=fds
    )
    assert done.returncode == -signal.SIGKILL
    left = CommitJournal(path)
    written = ends_in(pipe[0])
    committing, committed, delivered, settled = LEFT[step]
    assert (left.committing, left.committed, written) == (committing, committed, delivered)
    assert written > left.committed, "what was acknowledged is in the restore"
    Committer(left, pipe[1], Seal(*ends)).settle()
    assert left.committed == left.committing == settled == written - 1
    left.close()
    for fd in ends:
        os.close(fd)


def test_an_epoch_withdrawn_can_be_committed_again(
    tmp_path: Path, pipe: tuple[int, int], seal: Seal
) -> None:
    """The record that was set aside for it is used for the next one: never two."""
    journal = CommitJournal(tmp_path / "epochs")
    committer = Committer(journal, pipe[1], seal)
    filled = fill(pipe[1])
    assert committer.seal(0) is False
    committer.settle()
    assert (journal.committing, journal.committed) == (NOTHING, NOTHING)
    while filled:
        filled -= len(os.read(pipe[0], min(filled, 1 << 16)))
    assert committer.seal(0) is True
    assert ends_in(pipe[0]) == 1
    journal.close()


@pytest.mark.parametrize("content", [b"", b"short", bytes(15)])
def test_a_journal_that_is_not_whole_has_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "epochs"
    path.write_bytes(content)
    journal = CommitJournal(path)
    assert (journal.committing, journal.committed) == (NOTHING, NOTHING)
    journal.close()
