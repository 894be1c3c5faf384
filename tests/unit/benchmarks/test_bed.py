"""The instruments on a host, with this machine in the host's place."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from benchmarks.bed import Bed, Lines, Suspends
from benchmarks.errors import Missing
from benchmarks.ours import Log
from remus_ha.lab.host import Host

XS = """
import os

class xs:
    def __init__(self):
        self.fd = os.open(os.environ["FAKE_XENSTORE"], os.O_RDWR | os.O_NONBLOCK)

    def watch(self, path, token):
        assert path == "/local/domain/7/control/shutdown", path
        os.write(self.fd, b".")

    def fileno(self):
        return self.fd

    def check_watch(self):
        try:
            return os.read(self.fd, 1) or None
        except BlockingIOError:
            return None

    def read_watch(self):
        assert self.check_watch()
"""


def popen(
    command: str, *, stdin: int | None = subprocess.DEVNULL, stderr: int | None = subprocess.PIPE
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["sh", "-c", command], stdin=stdin, stdout=subprocess.PIPE, stderr=stderr
    )


@pytest.fixture
def host() -> Host:
    shell = SimpleNamespace(popen=popen)
    return cast("Host", SimpleNamespace(name="a", shell=shell))


def test_lines_are_taken_and_waited_for_until_standard_input_ends(host: Host) -> None:
    began_s = time.monotonic()
    with Lines(host, "echo one; echo two >&2; cat; echo end") as lines:
        lines.wait("two lines", lambda seen: len(seen) == 2, 10)
        assert sorted(lines.seen()) == ["one", "two"]
    assert lines.seen()[-1] == "end"
    assert time.monotonic() - began_s < 10


def test_what_does_not_come_is_missing_with_what_came_instead(host: Host) -> None:
    with (
        Lines(host, "echo complaint; cat") as lines,
        pytest.raises(Missing, match="the third line") as caught,
    ):
        lines.wait("the third line", lambda seen: len(seen) == 3, 0.5)
    assert caught.value.facts["tail"] == "complaint"


def test_a_program_that_does_not_end_is_ended(host: Host) -> None:
    with Lines(host, "echo $$; exec sleep 1000") as lines:
        lines.wait("its pid", bool, 10)
    with pytest.raises(ProcessLookupError):
        os.kill(int(lines.seen()[0]), 0)


@pytest.fixture
def xenstore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    package = tmp_path / "xen" / "lowlevel"
    package.mkdir(parents=True)
    (package / "xs.py").write_text(XS)
    os.mkfifo(tmp_path / "events")
    monkeypatch.setenv("FAKE_XENSTORE", str(tmp_path / "events"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fd = os.open(tmp_path / "events", os.O_RDWR)
    yield fd
    os.close(fd)


def test_a_request_to_suspend_is_the_first_of_two_events(host: Host, xenstore: int) -> None:
    bed = cast("Bed", SimpleNamespace(primary=host, domid=lambda: "7"))
    with Suspends(bed) as suspends:
        began_s = time.monotonic()
        os.write(xenstore, b"..")
        suspends.wait(1, 10)
        os.write(xenstore, b".")
        suspends.wait(2, 10)
        os.write(xenstore, b".")
        with pytest.raises(Missing):
            suspends.wait(3, 0.3)
        first, second = suspends.moments()
        assert began_s <= first <= second <= time.monotonic()


LINE = "2026-11-21T03:10:{second:02}.500Z primary g: {text}\n"


def test_a_log_is_followed_from_a_file_that_comes_later(host: Host, tmp_path: Path) -> None:
    log = Log(host, str(tmp_path / "log"))
    try:
        with open(tmp_path / "log", "w") as file:
            file.write(LINE.format(second=1, text="syncing -> pairing on first_ack"))
            file.write("something else\n" + LINE.format(second=2, text="ends as alone"))
        entry = log.wait("ends as ", 20)
        assert entry.text == "ends as alone"
        assert log.entries[0].text == "syncing -> pairing on first_ack"
        with pytest.raises(Missing, match="never said"):
            log.wait("never said", 0.2)
    finally:
        log.close()
