"""The commit journal: what a receiver finds that another one left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.receive.commit import NOTHING, CommitJournal, Committer
from remus_ha.stream.xenstream import CHECKPOINT_END


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


def records(read_end: int) -> int:
    """How many of our records are in the pipe, and nothing else."""
    try:
        octets = os.read(read_end, 1 << 16)
    except BlockingIOError:
        return 0
    assert octets == CHECKPOINT_END * (len(octets) // len(CHECKPOINT_END))
    return len(octets) // len(CHECKPOINT_END)


def test_epochs_are_committed_in_order_each_once(tmp_path: Path, pipe: tuple[int, int]) -> None:
    journal = CommitJournal(tmp_path / "epochs")
    committer = Committer(journal, pipe[1])
    assert committer.committed == NOTHING
    assert committer.commit(0)
    assert committer.commit(1)
    for wrong in (-1, 0, 1, 3):
        with pytest.raises(ValueError, match=f"epoch {wrong} after 1"):
            committer.commit(wrong)
    assert committer.committed == 1
    assert records(pipe[0]) == 2
    journal.close()


def test_a_full_pipe_is_tried_again_and_gets_one_record(
    tmp_path: Path, pipe: tuple[int, int]
) -> None:
    """The record is whole or not there at all."""
    journal = CommitJournal(tmp_path / "epochs")
    committer = Committer(journal, pipe[1])
    filled = 0
    try:
        while True:
            filled += os.write(pipe[1], b"x" * 4096)
    except BlockingIOError:
        pass
    assert committer.commit(0) is False
    assert (journal.committing, journal.committed) == (0, NOTHING)
    assert committer.commit(0) is False
    while filled:
        filled -= len(os.read(pipe[0], min(filled, 1 << 16)))
    assert committer.commit(0) is True
    assert records(pipe[0]) == 1
    journal.close()


def test_a_dead_restore_commits_nothing(tmp_path: Path, pipe: tuple[int, int]) -> None:
    journal = CommitJournal(tmp_path / "epochs")
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        Committer(journal, pipe[1]).commit(0)
    assert journal.committed == NOTHING
    journal.close()


PROGRAM = """
import os, signal, sys
from pathlib import Path
from remus_ha.receive import commit
path, fd, step = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

journal = commit.CommitJournal(path)
committer = commit.Committer(journal, fd)
for n in range(3):
    committer.commit(n)
if step == "before":
    die()
if step == "begun":
    commit.os.write = die
elif step == "written":
    journal.finish = die
committer.commit(3)
die()
"""


LEFT = {  # step: committing, committed, records in the restore
    "before": (2, 2, 3),
    "begun": (3, 2, 3),
    "written": (3, 2, 4),
    "finished": (3, 3, 4),
}


@pytest.mark.parametrize("step", LEFT)
def test_a_receiver_killed_at_a_step_leaves_what_it_had_done(
    tmp_path: Path, pipe: tuple[int, int], step: str
) -> None:
    path = tmp_path / "epochs"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(pipe[1]), step], pass_fds=[pipe[1]]
    )
    assert done.returncode == -signal.SIGKILL
    left = CommitJournal(path)
    written = records(pipe[0])
    assert (left.committing, left.committed, written) == LEFT[step]
    assert written > left.committed, "what was acknowledged is in the restore"
    left.close()


@pytest.mark.parametrize("content", [b"", b"short", bytes(15)])
def test_a_journal_that_is_not_whole_has_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "epochs"
    path.write_bytes(content)
    journal = CommitJournal(path)
    assert (journal.committing, journal.committed) == (NOTHING, NOTHING)
    journal.close()
