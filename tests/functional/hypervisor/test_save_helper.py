"""SaveHelper against a scripted helper, through real pipes."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.hypervisor.base import Ask
from remus_ha.hypervisor.errors import SaveFailed
from remus_ha.hypervisor.xen import helper as module
from remus_ha.hypervisor.xen.helper import SaveHelper
from remus_ha.waiting import readable
from tests.functional.hypervisor.fake_helper import install, notes, numbered

DEADLINE_S = 20.0
DEAF = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
REMUS = 'helper.remus(b"live", 100)'


class Bench:
    """A helper started on a scenario, with a pipe for its stream."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logged: list[str] = []
        self.stream_r, self._stream_w = os.pipe()
        self.helper: SaveHelper | None = None

    def start(self, scenario: str) -> SaveHelper:
        path = install(self.directory, scenario)
        self.helper = SaveHelper(path, 7, self._stream_w, self.logged.append)
        os.close(self._stream_w)
        self._stream_w = -1
        return self.helper

    def notes(self) -> list[str]:
        return notes(self.directory)

    def close(self) -> None:
        if self.helper is not None:
            self.helper.close()
        for fd in (self.stream_r, self._stream_w):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_END_S", 0.5)


def await_asks(helper: SaveHelper, count: int = 1) -> list[Ask]:
    """Wait as the loop does. Raises what ``pump`` raises."""
    asks: list[Ask] = []
    until = time.monotonic() + DEADLINE_S
    while len(asks) < count:
        left = until - time.monotonic()
        assert left > 0, f"{asks} by the deadline"
        if readable(helper, left):
            asks += helper.pump()
    return asks


def await_end(helper: SaveHelper) -> SaveFailed:
    with pytest.raises(SaveFailed) as caught:
        await_asks(helper, 1000)
    return caught.value


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_it_is_called_as_libxl_calls_it(bench: Bench) -> None:
    """Mode, stream, no back channel, domain, live, callbacks 3 4 5 7, Remus."""
    helper = bench.start(
        """
        import os
        helper.note(" ".join(helper.argv[1:2] + helper.argv[3:]))
        helper.note(sorted(set(map(int, os.listdir("/proc/self/fd"))) - {helper.stream}))
        helper.ask(SUSPEND)
        """
    )
    await_asks(helper)
    called, descriptors = bench.notes()
    assert called == "--save-domain -1 7 1 184 1"
    # 0 to 2, the notes' file and the listing itself
    assert descriptors == "[0, 1, 2, 3, 4]"


@pytest.mark.parametrize("piece", [1, 3, 65536])
def test_messages_arrive_whole_wherever_they_are_cut(bench: Bench, piece: int) -> None:
    helper = bench.start(
        f"""
        helper.piece = {piece}
        helper.log(DEBUG, "just so")
        helper.progress()
        helper.log(WARNING, "a warning of the helper")
        for _ in range(2):
            helper.epoch(b"octets")
        helper.complete()
        """
    )
    asked: list[Ask] = []
    for _ in range(6):
        asked += await_asks(helper)
        helper.reply(1)
    assert asked == [Ask.SUSPEND, Ask.POSTCOPY, Ask.CHECKPOINT] * 2
    assert await_asks(helper) == [Ask.COMPLETE]
    assert bench.logged == ["save helper: a warning of the helper"]


def test_several_messages_in_one_read(bench: Bench) -> None:
    helper = bench.start(
        """
        helper.raw(helper.frame(PROGRESS, b"") * 500 + helper.frame(SUSPEND))
        helper.stand_still()
        """
    )
    assert await_asks(helper) == [Ask.SUSPEND]


def test_the_stream_is_what_the_copier_wrote(bench: Bench) -> None:
    helper = bench.start('helper.remus(b"live" * 10, 1000)')
    for n in range(3):
        assert await_asks(helper) == [Ask.SUSPEND]
        if n == 0:
            assert os.read(bench.stream_r, 4096) == b"live" * 10
        helper.reply(1)
        assert await_asks(helper) == [Ask.POSTCOPY]
        assert os.read(bench.stream_r, 4096) == numbered(n, 1000)
        helper.reply(1)
        assert await_asks(helper) == [Ask.CHECKPOINT]
        helper.reply(1)


def test_log_dirty_is_answered_by_itself(bench: Bench) -> None:
    helper = bench.start(
        """
        import struct
        helper.ask(LOGDIRTY, struct.pack("<II", 7, 1))
        helper.ask(SUSPEND)
        """
    )
    assert await_asks(helper) == [Ask.SUSPEND]
    assert bench.notes() == ["7 -> 0"]


def test_a_failure_says_what_the_helper_complained_about(bench: Bench) -> None:
    helper = bench.start(
        """
        helper.log(ERROR, "Failed to enable logdirty: 95,22")
        helper.complete(-1, 22)
        """
    )
    assert await_asks(helper) == [Ask.COMPLETE]
    assert "Failed to enable logdirty: 95,22" in str(await_end(helper))


def test_a_failure_without_complaint_says_the_error(bench: Bench) -> None:
    helper = bench.start("helper.complete(-1, 32)")
    assert await_asks(helper) == [Ask.COMPLETE]
    assert "errno 32" in str(await_end(helper))


@pytest.mark.parametrize(
    "death",
    [
        "import os; os._exit(3)",
        'helper.raw(b"\\x02"); import os; os._exit(3)',
        "helper.raw(helper.frame(LOG, bytes(50))[:20]); import os; os._exit(3)",
    ],
    ids=("between messages", "in a length", "in a body"),
)
def test_a_death_is_a_failure_of_the_save(bench: Bench, death: str) -> None:
    helper = bench.start(death)
    assert await_end(helper).as_dict()["code"] == "XEN-017"


@pytest.mark.parametrize(
    "rubbish",
    [
        "helper.say(99)",
        "helper.say(8)",
        'helper.raw(b"\\0\\0")',
        'helper.raw(b"\\1\\0\\3")',
        'helper.say(LOG, b"\\1")',
        'helper.say(COMPLETE, b"\\0\\0")',
        'helper.raw(b"usage: libxl-save-helper --save-domain" * 2000)',
    ],
)
def test_rubbish_is_a_failure_of_the_save(bench: Bench, rubbish: str) -> None:
    helper = bench.start(f"{rubbish}\nimport time; time.sleep(0.1)")
    await_end(helper)


def test_answering_a_dead_helper_is_a_failure_of_the_save(bench: Bench) -> None:
    helper = bench.start("helper.say(SUSPEND)")
    end = os.pidfd_open(helper.pid)
    assert readable(end, DEADLINE_S)
    os.close(end)
    with pytest.raises(SaveFailed):
        helper.reply(1)


def test_closing_answers_what_was_asked_and_lets_it_clean_up(bench: Bench) -> None:
    helper = bench.start(REMUS)
    await_asks(helper)
    before = time.monotonic()
    helper.close()
    assert time.monotonic() - before < 3.0
    assert "cleaned" in bench.notes()
    assert is_gone(helper.pid)


def test_closing_between_two_questions(bench: Bench) -> None:
    """It was answered and is copying; SIGTERM makes its next write fail."""
    helper = bench.start('helper.remus(b"", 64 << 20)')
    await_asks(helper)
    helper.reply(1)
    helper.close()
    assert bench.notes()[-2:] == ["cleaned", "10 -> 0"]
    assert "SIGTERM" in bench.notes()
    assert is_gone(helper.pid)


def test_closing_while_nobody_reads_its_stream(bench: Bench) -> None:
    """Blocked in a write into a full pipe: the signal gets it out of there."""
    helper = bench.start('helper.remus(b"x" * (1 << 20), 100)')
    assert readable(bench.stream_r, DEADLINE_S)  # it is writing, and ready for the signal
    helper.close()
    assert "cleaned" in bench.notes()
    assert is_gone(helper.pid)


def test_closing_twice_and_closing_a_dead_one(bench: Bench) -> None:
    helper = bench.start("import os; os._exit(0)")
    await_end(helper)
    helper.close()
    helper.close()


@pytest.mark.usefixtures("impatient")
def test_a_helper_that_will_not_end_is_killed(bench: Bench) -> None:
    helper = bench.start(
        """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        helper.ask(SUSPEND)
        time.sleep(600)
        """
    )
    await_asks(helper)
    helper.close()
    assert is_gone(helper.pid)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "rest",
    ["os.close(1)", "helper.say(99)"],
    ids=("its output closed", "rubbish"),
)
def test_who_goes_on_after_its_last_word_is_killed(bench: Bench, rest: str) -> None:
    helper = bench.start(f"{DEAF} helper.ask(SUSPEND); {rest}; time.sleep(600)")
    await_asks(helper)
    helper.reply(1)
    try:
        helper.close()
        assert is_gone(helper.pid)
    finally:
        if not is_gone(helper.pid):
            os.kill(helper.pid, 9)


@pytest.mark.usefixtures("impatient")
def test_an_output_closed_by_a_living_helper_is_a_failure_of_the_save(bench: Bench) -> None:
    helper = bench.start(f"{DEAF} os.close(1); time.sleep(600)")
    try:
        await_end(helper)
    finally:
        os.kill(helper.pid, 9)
