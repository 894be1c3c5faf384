"""Stand-ins for what needs a hypervisor: a guest, its output buffer, a register."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from remus_ha.core.register import Register
from remus_ha.hypervisor.base import DomainControl, Life
from remus_ha.netbuf.base import NetbufDriver, VifRef, VifStats
from remus_ha.netbuf.modes import Hook, Mode, after
from remus_ha.witness.base import Reading, Swap, WitnessDriver
from remus_ha.witness.errors import WitnessRewound, WitnessUnavailable

_STILL = (Life.SUSPENDED, Life.GONE)
_BY_ITSELF = (Life.POWEROFF, Life.REBOOT, Life.CRASHED)


@dataclass
class Story:
    """What happened in which order, with the time of each."""

    events: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def __call__(self, event: str) -> None:
        self.times.append(time.monotonic())
        self.events.append(event)

    def of(self, *kinds: str) -> list[str]:
        return [event for event in self.events if event.split()[0] in kinds]

    def time_of(self, event: str) -> float:
        return self.times[self.events.index(event)]


class Guest(DomainControl):
    """A running guest that takes a request to suspend after ``take_s`` and obeys ``obey_s`` later.

    None: never. It may be told to do something from any thread.
    """

    def __init__(self, story: Story, domid: int = 7) -> None:
        self.story, self.domid = story, domid
        self.take_s: float | None = 0.0
        self.obey_s: float | None = 0.005
        self.closed = False
        self._life = Life.RUNNING
        self._owes = False
        self._held = False  # paused while it was suspended
        self._node = ""
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.lock = threading.Condition()

    # --- what the guest or somebody beside the product does

    def become(self, life: Life) -> None:
        """A guest that is suspended or paused ends itself when it runs again."""
        with self.lock:
            if life in _BY_ITSELF:
                alive = (Life.PAUSED, Life.SUSPENDED)
                assert self.lock.wait_for(lambda: self._life not in alive, 10)
            paused = self._life is Life.PAUSED
            if self._life is not Life.GONE:
                self._set(life)
            if paused and life is Life.RUNNING:
                self._go_on()

    def _set(self, life: Life) -> None:
        self._life = life
        self.lock.notify_all()
        self.story(f"guest {life.value}")
        self._poke()

    def _poke(self) -> None:
        if not self.closed:
            os.eventfd_write(self._event, 1)

    def _take(self) -> None:
        with self.lock:
            if self._node != "suspend" or self._life is not Life.RUNNING:
                return
            self._node = ""
            self.story("taken")
            self._poke()
        if self.obey_s is not None:
            threading.Timer(self.obey_s, self._obey).start()

    def _obey(self) -> None:
        with self.lock:
            self._owes = self._life is Life.PAUSED
            if self._life is Life.RUNNING:
                self._set(Life.SUSPENDED)

    def _go_on(self) -> None:
        """After a pause: what it was about to do."""
        if self._owes:
            threading.Timer(self.obey_s or 0.0, self._obey).start()
        elif self._node == "suspend" and self.take_s is not None:
            threading.Timer(self.take_s, self._take).start()

    # --- what the product does

    def fileno(self) -> int:
        return self._event

    def drain(self) -> None:
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            pass

    def life(self) -> Life:
        with self.lock:
            return self._life

    def request_suspend(self) -> None:
        with self.lock:
            self._node = "suspend"
            self.story("request")
        if self.take_s is not None:
            threading.Timer(self.take_s, self._take).start()

    def withdraw_suspend(self) -> bool:
        with self.lock:
            there = self._node == "suspend"
            self._node = ""
            if there:
                self.story("withdrawn")
            return there

    def resume(self) -> bool:
        with self.lock:
            suspended = self._life is Life.SUSPENDED
            if suspended:
                self.resume_now()
                self.rearm()
            return suspended

    def resume_now(self) -> None:
        with self.lock:
            if self._life is Life.GONE:
                return
            if self._life is not Life.SUSPENDED:
                raise RuntimeError(f"resume of a guest that is {self._life.value}")
            self._life, self._held = (Life.PAUSED if self._held else Life.RUNNING), False
            self.lock.notify_all()
            self.story("resume")

    def rearm(self) -> None:
        """The suspend is always noticed here."""

    def pause(self) -> None:
        with self.lock:
            if self._life is Life.RUNNING:
                self._set(Life.PAUSED)
            elif self._life is Life.SUSPENDED:
                self._held = True

    def unpause(self) -> None:
        with self.lock:
            if self._life is Life.PAUSED:
                self.become(Life.RUNNING)

    def destroy(self) -> None:
        with self.lock:
            if self._life is not Life.GONE:
                self._set(Life.GONE)

    def stop_tracking(self) -> None:
        """Nothing is tracked here."""

    def close(self) -> None:
        with self.lock:
            self.closed = True
            os.close(self._event)


class Buffer(NetbufDriver):
    """Obeys the order of hooks that a real plug needs; ``look(hook)`` is called with every hook."""

    def __init__(self, story: Story, guest: Guest) -> None:
        self._story, self._guest = story, guest
        self._mode = Mode.PASSING
        self.commits = 0
        self.released_at_teardown: bool | None = None
        self.look: Callable[[str], None] = lambda hook: None

    @property
    def mode(self) -> Mode:
        return self._mode

    def _run(self, hook: Hook) -> None:
        self._mode = after(self._mode, hook)
        self.look(hook.value)
        self._story(hook.value)

    def setup(self, vifs: Sequence[VifRef], *, adopt: bool = False, held: bool = False) -> None:
        raise NotImplementedError("it is in place from the beginning")

    def postsuspend(self) -> None:
        assert self._guest.life() in _STILL, "an epoch closed while the guest runs"
        self._run(Hook.POSTSUSPEND)

    def preresume(self) -> None:
        assert self._guest.life() in _STILL
        self._run(Hook.PRERESUME)

    def commit(self) -> None:
        self.commits += 1
        self._run(Hook.COMMIT)

    def hold(self) -> None:
        self._run(Hook.HOLD)

    def pass_through(self) -> None:
        self._run(Hook.PASS_THROUGH)

    def teardown(self, *, release: bool) -> None:
        self.released_at_teardown = release
        self._run(Hook.TEARDOWN)

    def stats(self) -> tuple[VifStats, ...]:
        return ()

    def close(self) -> None:
        """Nothing to let go of."""


class Store:
    """A linearizable register with the accidents of a network: by party, ``away`` or ``deaf``.

    ``away``: asks do not arrive. ``deaf``: swaps take place, their answers get lost.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.life = "one"
        self.register: Register | None = None
        self.opened = 0
        self.away: set[str] = set()
        self.delay_s: dict[str, float] = {}
        self.deaf: set[str] = set()
        self.history: list[tuple[str, Register]] = []


class StoreWitness(WitnessDriver):
    """One party's access to a ``Store``."""

    def __init__(self, store: Store, party: str) -> None:
        super().__init__()
        self._store, self._party = store, party
        self._life = ""

    def forget(self) -> None:
        self._life = ""

    def _reach(self) -> None:
        if self._interrupted.wait(self._store.delay_s.get(self._party, 0.0)):
            raise WitnessUnavailable(store="the test's", why="the ask was given up")
        if self._party in self._store.away:
            raise WitnessUnavailable(store="the test's", why="it is away")
        self._life = self._life or self._store.life
        if self._life != self._store.life:
            raise WitnessRewound(store="the test's", why="another life")

    def read(self, uuid: str, timeout_s: float) -> Reading:
        self._reach()
        with self._store.lock:
            return Reading(self._store.register, self._store.opened, self._life)

    def swap(self, uuid: str, old: Register | None, new: Register, timeout_s: float) -> Swap:
        self._reach()
        with self._store.lock:
            if self._store.register not in (old, new):
                return Swap.REFUSED
            if self._store.register == old:
                self._store.history.append((self._party, new))
            self._store.register = new
        if self._party in self._store.deaf:
            self._store.deaf.discard(self._party)
            raise WitnessUnavailable(store="the test's", why="its answer got lost")
        return Swap.WON

    def record_opened(
        self, uuid: str, generation: int, timeout_s: float, won: Register | None = None
    ) -> None:
        self._reach()
        with self._store.lock:
            if won not in (None, self._store.register):
                raise WitnessUnavailable(store="the test's", why="the register says another")
            self._store.opened = max(self._store.opened, generation)

    def close(self) -> None:
        """Nothing to drop."""


class Silence:
    """A descriptor that never becomes readable, in place of an inotify watch."""

    def __init__(self, *_: Any) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._event

    def drain(self) -> None:
        """Nothing is there."""

    def foreign(self) -> bool:
        return False

    def close(self) -> None:
        os.close(self._event)
