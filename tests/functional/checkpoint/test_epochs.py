"""The epoch loop with a scripted helper, a real pipe and a real socket."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remus_ha.checkpoint import outflow as outflow_module
from remus_ha.checkpoint.epochs import Epochs, Sample, Timing, Trouble
from remus_ha.checkpoint.outflow import Outflow
from remus_ha.core.pacing import Pace
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.errors import SaveFailed
from remus_ha.hypervisor.xen.helper import SaveHelper
from remus_ha.killpoint import KillPoint
from remus_ha.loop import Loop
from remus_ha.stream.sealed import Stream
from tests.functional.checkpoint.guest import Buffer, Guest, Story
from tests.functional.hypervisor.fake_helper import install, numbered

SIZE = 10_000
ENOUGH = "enough"
PATIENT = Timing(suspend_s=10.0, copy_s=5.0, close_s=1.0, still_s=5.0)


class Reader:
    """The other end of the data connection: takes everything, or nothing while ``stopped``."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.near = socket.create_connection(listener.getsockname())
        self.near.setblocking(False)
        self._far, _ = listener.accept()
        listener.close()
        self.octets = bytearray()
        self.octet_s = 0.0  # how long the link takes for each
        self.going = threading.Event()
        self.going.set()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            self.going.wait()
            try:
                octets = self._far.recv(1 << 20)
            except OSError:
                return
            if not octets:
                return
            self.octets += octets
            time.sleep(self.octet_s * len(octets))

    def await_octets(self, count: int) -> bytes:
        until = time.monotonic() + 10.0
        while len(self.octets) < count:
            assert time.monotonic() < until, f"{len(self.octets)} of {count} octets"
            time.sleep(0.005)
        return bytes(self.octets)

    def close(self) -> None:
        self.going.set()
        self.near.close()
        self._far.close()


class Disks:
    """Replicated disks whose backup answers at once, or only when ``answer`` is called."""

    def __init__(self, story: Story) -> None:
        self._story, self._closed = story, -1
        self.answers = self.vouched = True

    def close(self, n: int) -> None:
        self._story(f"close {n}")
        if self.answers:
            self.answer(n)

    def answer(self, n: int) -> None:
        self._story(f"closed {n}")
        self._closed = n

    def closed(self, n: int) -> bool:
        return self._closed >= n

    def resumed(self, n: int) -> None:
        self._story(f"asked {n}")

    def vouches(self, n: int) -> bool:
        return self.vouched


class Bench:
    """One session without network and without table: the test acknowledges.

    ``acknowledge(n)`` is called with every mark; the default answers 5 ms later.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.loop = Loop()
        self.story = Story()
        self.guest = Guest(self.story)
        self.buffer = Buffer(self.story, self.guest)
        self.reader = Reader()
        self.marks: list[tuple[int, int]] = []
        self.samples: list[Sample] = []
        self.logged: list[str] = []
        self.acknowledge: Callable[[int], None] = lambda n: self.after(0.005, self.ack, n)
        self.timing = Timing(suspend_s=2.0, copy_s=5.0, close_s=1.0, still_s=5.0)
        self.disks = Disks(self.story)
        self.pace = Pace(10_000_000, share=0.0)
        self.helper: SaveHelper | None = None
        self.epochs: Epochs
        self.outflow: Outflow

    def start(self, scenario: str = f'helper.remus(b"live" * 100, {SIZE})') -> None:
        self.outflow = Outflow(self.loop, Stream(self.reader.near, self.reader.near))
        path = install(self.directory, scenario)
        self.helper = SaveHelper(path, 7, self.outflow.write_end, self.logged.append)
        self.outflow.close_write_end()
        self.epochs = Epochs(
            loop=self.loop,
            domain=self.guest,
            stream=self.helper,
            outflow=self.outflow,
            buffer=self.buffer,
            disks=self.disks,
            pace=self.pace,
            timing=self.timing,
            mark=self._mark,
            killpoint=KillPoint(),
        )
        self.epochs.finished = self.samples.append
        self.loop.watch(self.helper.fileno(), self.epochs.on_stream)
        self.loop.watch(self.guest.fileno(), lambda _events: self.guest.drain())

    def _mark(self, n: int, offset: int) -> None:
        self.story(f"mark {n}")
        self.marks.append((n, offset))
        self.acknowledge(n)

    def after(self, delay_s: float, what: Callable[..., object], *arguments: object) -> None:
        self.loop.after(delay_s, lambda: what(*arguments))

    def ack(self, n: int) -> bool:
        """What the process does with an acknowledgement in a pair."""
        self.story(f"ack {n}")
        due = self.epochs.acknowledge(n)
        if due:
            self.epochs.release()
        return due

    def run(self, epochs: int = 10**9, limit_s: float = 30.0) -> Trouble:
        """Until that many epochs are acknowledged, or something is wrong."""

        def look() -> None:
            if self.epochs.acked + 1 >= epochs:
                self.epochs.fail(Trouble(ENOUGH))

        self.loop.every(0.002, look)
        self.after(limit_s, lambda: self.epochs.fail(Trouble("the test's own limit")))
        with pytest.raises(Trouble) as caught:
            self.epochs.run()
        return caught.value

    def requests(self) -> list[float]:
        """When the guest was asked to suspend."""
        told = zip(self.story.times, self.story.events, strict=True)
        return [at for at, event in told if event == "request"]

    def close(self) -> None:
        if self.helper is not None:
            self.loop.forget(self.helper.fileno())
            self.outflow.close()
            self.helper.close()
        self.reader.close()
        self.guest.close()
        self.loop.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_the_order_within_an_epoch_and_between_two(bench: Bench) -> None:
    """Suspend, BUFFER, end on the disks, copy, resume, mark, ACK, release; the next suspend."""
    bench.start()
    copied: list[int] = []
    bench.buffer.look = lambda hook: copied.append(bench.outflow.offset())
    assert bench.run(epochs=3).reason == ENOUGH
    steps = [event for event in bench.story.events if event != "taken"]
    expected = []
    for n in range(3):
        expected += ["request", "guest suspended", "postsuspend", f"close {n}", f"closed {n}"]
        expected += ["preresume", "resume", f"asked {n}", f"mark {n}", f"ack {n}", "commit"]
    assert steps[: len(expected)] == expected
    # postsuspend sees nothing of the copy yet, preresume all of it, commit no more than that
    start = len(b"live" * 100)
    for n in range(3):
        before, end = start + n * SIZE, start + (n + 1) * SIZE
        assert copied[3 * n : 3 * n + 3] == [before, end, end]


def test_the_marks_are_the_exact_ends_of_the_epochs(bench: Bench) -> None:
    bench.start()
    bench.run(epochs=5)
    live = b"live" * 100
    for n, offset in bench.marks:
        assert offset == len(live) + (n + 1) * SIZE
        octets = bench.reader.await_octets(offset)
        assert octets[offset - SIZE : offset] == numbered(n, SIZE)
    assert bench.reader.octets.startswith(live)


def test_there_is_no_suspend_before_the_acknowledgement(bench: Bench) -> None:
    bench.acknowledge = lambda n: bench.after(0.1, bench.ack, n)
    bench.start()
    bench.run(epochs=4)
    for n in range(3):
        assert bench.story.time_of(f"ack {n}") < bench.requests()[n + 1]
        assert bench.story.time_of(f"ack {n}") - bench.story.time_of(f"mark {n}") >= 0.1


def test_only_the_outstanding_epoch_can_be_acknowledged(bench: Bench) -> None:
    """Stale, early and repeated acknowledgements release nothing."""
    answers: dict[str, bool] = {}

    def acknowledge(n: int) -> None:
        answers[f"{n}: early"] = bench.ack(n + 1)
        answers[f"{n}: stale"] = bench.ack(n - 1)
        answers[f"{n}: negative"] = bench.ack(-1)
        bench.after(0.01, bench.ack, n)
        bench.after(0.011, lambda: answers.update({f"{n}: again": bench.ack(n)}))

    bench.acknowledge = acknowledge
    bench.start()
    bench.run(epochs=3)
    assert not any(answers.values())
    assert len(answers) >= 11
    assert bench.buffer.commits == 3


def test_nothing_is_acknowledged_while_the_next_epoch_is_on_its_way(bench: Bench) -> None:
    """A duplicate after the next BUFFER would release the next epoch early."""
    seen: list[bool] = []
    bench.buffer.look = lambda hook: (
        hook == "postsuspend" and seen.append(bench.epochs.acknowledge(bench.epochs.acked))
    )
    bench.start()
    bench.run(epochs=3)
    assert seen[:3] == [False] * 3


def test_the_pair_is_waited_for(bench: Bench) -> None:
    bench.start()
    allowed: list[float] = []
    bench.epochs.may_go_on = lambda: bench.epochs.marked < 0 or bool(allowed)
    bench.acknowledge = lambda n: bench.after(0.001, bench.ack, n)
    bench.after(0.5, lambda: allowed.append(time.monotonic()))
    bench.run(epochs=2)
    assert bench.story.time_of("ack 0") < allowed[0] < bench.requests()[1]


def test_a_guest_that_never_takes_the_request(bench: Bench) -> None:
    bench.timing = Timing(suspend_s=0.3, copy_s=5.0, close_s=1.0, still_s=5.0)
    bench.guest.take_s = None
    bench.start()
    before = time.monotonic()
    trouble = bench.run()
    assert "did not suspend within 0.3 s" in trouble.reason
    assert trouble.life is None
    assert 0.3 <= time.monotonic() - before < 3.0
    assert bench.epochs.asking, "the request has to be withdrawn by whoever ends the session"
    assert bench.story.of("postsuspend", "resume") == []


def test_a_guest_that_takes_the_request_and_never_suspends(bench: Bench) -> None:
    """Linux takes the request first and may then fail to freeze its processes."""
    bench.timing = Timing(suspend_s=0.3, copy_s=5.0, close_s=1.0, still_s=5.0)
    bench.guest.obey_s = None
    bench.start()
    assert "did not suspend" in bench.run(limit_s=5.0).reason


def test_a_guest_that_its_operator_has_paused_is_waited_for(bench: Bench) -> None:
    bench.timing = Timing(suspend_s=0.2, copy_s=5.0, close_s=1.0, still_s=5.0)
    bench.start()

    def go_on() -> None:
        bench.epochs._timing = PATIENT
        bench.guest.become(Life.RUNNING)

    bench.guest.become(Life.PAUSED)
    bench.after(1.0, go_on)
    assert bench.run(epochs=3).reason == ENOUGH
    assert bench.story.of("postsuspend") == ["postsuspend"] * 3


def test_a_pause_while_the_request_is_on_its_way(bench: Bench) -> None:
    """A paused guest cannot take it; it does when it runs again."""
    bench.timing = Timing(suspend_s=0.2, copy_s=5.0, close_s=1.0, still_s=5.0)
    bench.guest.take_s = None
    request_suspend = bench.guest.request_suspend
    bench.start()

    def request_and_pause() -> None:
        bench.guest.request_suspend = request_suspend  # type: ignore[method-assign]
        request_suspend()
        bench.guest.become(Life.PAUSED)
        bench.after(0.8, go_on)

    def go_on() -> None:
        bench.epochs._timing = PATIENT
        bench.guest.take_s = 0.0
        bench.guest.become(Life.RUNNING)

    bench.guest.request_suspend = request_and_pause  # type: ignore[method-assign]
    assert bench.run(epochs=2).reason == ENOUGH
    assert bench.story.of("request", "guest")[:3] == ["request", "guest paused", "guest running"]


@pytest.mark.parametrize("life", [Life.POWEROFF, Life.REBOOT, Life.CRASHED, Life.GONE])
def test_a_guest_that_ends_instead_of_suspending(bench: Bench, life: Life) -> None:
    bench.guest.obey_s = None
    bench.start()
    bench.after(0.1, bench.guest.become, life)
    trouble = bench.run()
    assert trouble.life is life
    assert bench.story.of("postsuspend") == []


def test_trouble_from_outside_ends_every_wait(bench: Bench) -> None:
    """In the live copy, in the suspend, in the copy, before the acknowledgement."""
    bench.acknowledge = lambda n: bench.after(0.01, bench.epochs.fail, Trouble("from outside"))
    bench.start()
    assert bench.run().reason == "from outside"
    assert bench.buffer.commits == 0


def test_the_first_trouble_counts(bench: Bench) -> None:
    bench.start()
    bench.epochs.fail(Trouble("first"))
    bench.epochs.fail(Trouble("second"))
    assert bench.run().reason == "first"


def test_an_epoch_larger_than_the_pipe_goes_at_the_networks_speed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outflow_module, "PIPE_WANTED", 65536)
    size = 20 << 20
    bench.start(f'helper.remus(b"", {size})')
    bench.run(epochs=2)
    assert [sample.overflowed for sample in bench.samples] == [True] * len(bench.samples)
    assert bench.samples
    assert len(bench.reader.await_octets(2 * size)) == 2 * size


def test_an_epoch_that_fits_is_not_sent_during_the_pause(bench: Bench) -> None:
    """The copier has the processor to itself; what is sent goes out after the resume."""
    sent: dict[str, list[int]] = {"postsuspend": [], "preresume": []}
    bench.buffer.look = lambda hook: hook in sent and sent[hook].append(bench.outflow.moved)
    bench.start()
    bench.run(epochs=3)
    # the run may end within the fourth
    assert sent["postsuspend"][:3] == sent["preresume"][:3]
    assert all(not sample.overflowed for sample in bench.samples)


def test_a_copy_that_the_network_does_not_take_ends_at_its_deadline(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outflow_module, "PIPE_WANTED", 65536)
    bench.timing = Timing(suspend_s=2.0, copy_s=0.5, close_s=1.0, still_s=5.0)
    bench.reader.going.clear()
    bench.start(f'helper.remus(b"", {64 << 20})')
    before = time.monotonic()
    assert "the copy took longer than 0.5 s" in bench.run().reason
    assert time.monotonic() - before < 5.0


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("helper.ask(SUSPEND); helper.write(b'x'); helper.stand_still()", "copy took"),
        (
            "helper.ask(SUSPEND); helper.ask(POSTCOPY); helper.stand_still()",
            "did not get to its checkpoint",
        ),
        (
            "helper.ask(SUSPEND); helper.ask(POSTCOPY); helper.ask(CHECKPOINT);"
            " helper.stand_still()",
            "did not get to its suspend",
        ),
        ("helper.ask(POSTCOPY)", "asked for postcopy where suspend was due"),
        ("helper.ask(SUSPEND); helper.ask(CHECKPOINT)", "where postcopy was due"),
        ("helper.ask(SUSPEND); helper.complete(-1, 5)", "where postcopy was due"),
    ],
)
def test_a_helper_that_stands_still_or_speaks_out_of_turn(
    bench: Bench, scenario: str, reason: str
) -> None:
    bench.timing = Timing(suspend_s=2.0, copy_s=1.5, close_s=1.0, still_s=5.0)
    bench.start(scenario)
    assert reason in bench.run().reason
    assert bench.buffer.commits == len(bench.marks)


# --- the first copy


def test_a_helper_that_stands_still_in_the_first_copy(bench: Bench) -> None:
    bench.timing = Timing(suspend_s=2.0, copy_s=5.0, close_s=1.0, still_s=0.5)
    bench.start("helper.write(b'live'); helper.stand_still()")
    assert "the save helper sends nothing for 0.5 s" in bench.run(limit_s=10.0).reason
    assert bench.story.events == [], "the guest was not touched"


def test_a_backup_that_takes_nothing_of_the_first_copy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outflow_module, "PIPE_WANTED", 65536)
    bench.timing = Timing(suspend_s=2.0, copy_s=5.0, close_s=1.0, still_s=0.5)
    bench.reader.going.clear()
    bench.start(f"helper.remus(bytes({64 << 20}), {SIZE})")
    assert "the backup takes nothing for 0.5 s" in bench.run(limit_s=10.0).reason
    assert bench.story.events == [], "the guest was not touched"


def test_a_helper_that_only_speaks_of_progress_is_waited_for(bench: Bench) -> None:
    """It looks for pages to send, and finds none for a while."""
    bench.timing = Timing(suspend_s=2.0, copy_s=5.0, close_s=1.0, still_s=1.0)
    bench.start(
        "for _ in range(20):\n    helper.progress()\n    time.sleep(0.1)\n"
        f"helper.remus(b'live', {SIZE})"
    )
    assert bench.run(epochs=2).reason == ENOUGH


def test_a_first_copy_over_a_slow_link_takes_its_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outflow_module, "PIPE_WANTED", 65536)
    bench.timing = Timing(suspend_s=2.0, copy_s=5.0, close_s=1.0, still_s=1.0)
    bench.reader.octet_s = 1 / (8 << 20)
    bench.start(f"helper.remus(bytes({32 << 20}), {SIZE})")
    began = time.monotonic()
    assert bench.run(epochs=1).reason == ENOUGH
    assert time.monotonic() - began > 2.0


@pytest.mark.parametrize("asks", ["", "SUSPEND", "SUSPEND POSTCOPY", "SUSPEND POSTCOPY CHECKPOINT"])
def test_a_helper_that_dies(bench: Bench, asks: str) -> None:
    told = ";".join(f"helper.ask({ask})" for ask in asks.split())
    bench.start(f"{told}\nimport os; os._exit(1)")
    with pytest.raises(SaveFailed):
        bench.epochs.run()
    assert bench.marks == ([(0, 0)] if asks.endswith("CHECKPOINT") else [])


def test_a_connection_that_breaks_ends_the_session(bench: Bench) -> None:
    bench.start()
    bench.after(0.3, bench.reader._far.close)
    assert "the data connection" in bench.run().reason


def test_a_late_epoch_is_skipped_and_not_made_up_for(bench: Bench) -> None:
    bench.pace = Pace(50_000_000, share=0.0)
    bench.acknowledge = lambda n: bench.after(0.18 if n == 1 else 0.001, bench.ack, n)
    bench.start()
    bench.run(epochs=4)
    assert bench.epochs.skipped >= 2


def test_samples_tell_what_happened_when(bench: Bench) -> None:
    bench.start()
    bench.run(epochs=4)
    for sample in bench.samples:
        times = (sample.requested, sample.suspended, sample.copied, sample.resumed, sample.acked)
        assert list(times) == sorted(times)
        assert sample.octets == SIZE
        assert sample.pause_s == sample.resumed - sample.suspended
    assert [sample.n for sample in bench.samples] == list(range(len(bench.samples)))
    assert len(bench.samples) >= 3


# --- disks


def test_the_guest_goes_on_only_when_the_epoch_is_closed_on_its_disks(bench: Bench) -> None:
    bench.disks.answers = False
    close = bench.disks.close

    def close_late(n: int) -> None:
        close(n)
        bench.after(0.2, bench.disks.answer, n)

    bench.disks.close = close_late  # type: ignore[method-assign]
    bench.start()
    bench.run(epochs=2)
    order = bench.story.of("close", "closed", "resume", "mark")
    assert order[:4] == ["close 0", "closed 0", "resume", "mark 0"]
    assert order[4:8] == ["close 1", "closed 1", "resume", "mark 1"]


def test_what_is_read_of_the_disks_is_read_between_the_epochs_end_and_the_resume(
    bench: Bench,
) -> None:
    """The guest is suspended then, and its epoch has ended on every disk."""
    bench.start()
    bench.epochs.suspended = lambda n: bench.story(f"look {n}")
    bench.run(epochs=2)
    order = bench.story.of("close", "look", "preresume", "resume")
    assert order[:4] == ["close 0", "look 0", "preresume", "resume"]
    assert order[4:8] == ["close 1", "look 1", "preresume", "resume"]


def test_an_epoch_that_cannot_be_closed_on_the_disks_is_never_marked(bench: Bench) -> None:
    bench.disks.answers = False
    bench.timing = Timing(suspend_s=2.0, copy_s=5.0, close_s=0.2, still_s=5.0)
    bench.start()
    trouble = bench.run()
    assert "could not be closed" in trouble.reason
    assert bench.marks == []


def test_an_epoch_that_lacks_a_write_is_never_marked(bench: Bench) -> None:
    """Its replication failed before the suspend, and the word of it comes after."""
    bench.disks.vouched = False
    bench.timing = Timing(suspend_s=2.0, copy_s=5.0, close_s=0.2, still_s=5.0)
    bench.start()
    trouble = bench.run()
    assert "vouches" in trouble.reason
    assert bench.marks == []
    assert bench.guest.life() is Life.RUNNING
