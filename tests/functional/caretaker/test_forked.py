"""A copy of a process is what an interpreter of its own would be: name, descriptors, end."""

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from remus_ha import forked

ROOT = Path(__file__).parents[3]
PARENT = """
import os, sys
from remus_ha import forked

def main(words):
    {body}

held = os.open(sys.argv[1] + "/held", os.O_WRONLY | os.O_CREAT)
ours = open(sys.argv[1] + "/ours", "w")
log = os.open(sys.argv[1] + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
pid = forked.start("some.module", ["a b", str(held)], main, keep=[held], log_fd={log})
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), pid)
ours.write("the parent's")
"""


def run(directory: Path, body: str, log: str = "log", words: int = 2) -> tuple[int, int]:
    """Exit status and pid of a copy that runs ``body``."""
    text = PARENT.format(body=body, log=log)
    done = subprocess.run(
        [sys.executable, "-c", text, str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    said = done.stdout.split()
    assert len(said) == words
    return int(said[-2]), int(said[-1])


def test_it_is_detached_and_carries_its_own_name(tmp_path: Path) -> None:
    body = (
        "print(os.getsid(0), os.getcwd(), words, open('/proc/self/cmdline').read().strip(chr(0)))"
    )
    status, pid = run(tmp_path, body + "; return 7")
    assert status == 7
    name = f"{sys.executable} -m some.module 'a b' "
    said = (tmp_path / "log").read_text()
    assert said.startswith(f"{pid} / ['a b', ")
    assert name in said


def test_it_holds_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    body = (
        "os.write(int(words[1]), b'held'); ours.write('the copy\\'s'); ours.flush();"
        " print(sorted({os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')"
        " if os.path.exists(f'/proc/self/fd/{n}')})); return 0"
    )
    status, pid = run(tmp_path, body)
    assert status == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "held").read_text() == "held"
    assert (tmp_path / "ours").read_text() == "the parent's"
    links = {"/dev/null", str(tmp_path / "held"), str(tmp_path / "log"), f"/proc/{pid}/fd"}
    assert set(eval((tmp_path / "log").read_text())) <= links


def test_one_that_is_not_detached_keeps_its_parents_session_and_output(tmp_path: Path) -> None:
    body = "print('0', end=' '); return int(os.getsid(0) == os.getpid())"
    assert run(tmp_path, body, log="-1", words=3)[0] == 0


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("sys.exit(2)", 2, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('text')", 1, "text\n"),
    ],
)
def test_its_end_is_as_an_interpreters(tmp_path: Path, body: str, status: int, said: str) -> None:
    ended, _ = run(tmp_path, body)
    assert ended == status
    assert (tmp_path / "log").read_text() == said


def test_what_goes_wrong_is_in_its_log(tmp_path: Path) -> None:
    ended, _ = run(tmp_path, "raise ValueError('no such thing')")
    assert ended == 1
    assert "ValueError: no such thing" in (tmp_path / "log").read_text()


def test_no_copy_is_made_beside_a_thread_or_of_a_plug_in_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "stevedore", raising=False)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    assert forked.is_possible()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not forked.is_possible(), "it could not carry a name of its own"
    monkeypatch.undo()
    monkeypatch.delitem(sys.modules, "stevedore", raising=False)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setitem(sys.modules, "stevedore", os)
    assert not forked.is_possible()
    monkeypatch.delitem(sys.modules, "stevedore")
    monkeypatch.undo()
    over = threading.Event()
    beside = threading.Thread(target=over.wait)
    beside.start()
    try:
        assert not forked.is_possible()
    finally:
        over.set()
        beside.join()
