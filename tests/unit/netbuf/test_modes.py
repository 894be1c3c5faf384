"""The table of modes, and that no path through it lets a frame out before its commit.

The second is shown on a model of sch_plug's counters: frames are numbered by the epoch in which
they were sent, and whatever hooks are called in whatever order, those that the table admits never
release a frame of an epoch that has not been committed.
"""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.netbuf.errors import HookRefused
from remus_ha.netbuf.modes import Hook, Mode, after, holds

ADMITTED = {
    Mode.ABSENT: {Hook.SETUP_PASSING, Hook.SETUP_HELD, Hook.TEARDOWN},
    Mode.PASSING: {Hook.POSTSUSPEND, Hook.HOLD, Hook.PASS_THROUGH, Hook.TEARDOWN},
    Mode.HELD: {Hook.POSTSUSPEND, Hook.HOLD, Hook.PASS_THROUGH, Hook.TEARDOWN},
    Mode.OPEN: {Hook.POSTSUSPEND, Hook.HOLD, Hook.PASS_THROUGH, Hook.TEARDOWN},
    Mode.CLOSED: {Hook.PRERESUME, Hook.COMMIT, Hook.HOLD, Hook.PASS_THROUGH, Hook.TEARDOWN},
    Mode.DOUBTFUL: {Hook.HOLD, Hook.PASS_THROUGH, Hook.TEARDOWN},
}


@pytest.mark.parametrize(("mode", "hook"), list(product(Mode, Hook)))
def test_every_hook_in_every_mode_is_admitted_or_refused(mode: Mode, hook: Hook) -> None:
    if hook in ADMITTED[mode]:
        assert after(mode, hook) in Mode
    else:
        with pytest.raises(HookRefused) as refused:
            after(mode, hook)
        assert hook.value in str(refused.value)
        assert mode.value in str(refused.value)


def test_only_modes_in_which_buffer_is_in_force_hold() -> None:
    assert {mode for mode in Mode if holds(mode)} == {Mode.HELD, Mode.OPEN, Mode.CLOSED}


class Plug:
    """sch_plug's counters (Linux net/sched/sch_plug.c) over a list of numbered frames."""

    def __init__(self) -> None:
        self.queue: list[int] = []
        self.current = self.last = self.releasable = 0
        self.passing = False
        self.out: list[int] = []

    def send(self, epoch: int) -> None:
        self.queue.append(epoch)
        if not self.passing:
            self.current += 1
        self.run()

    def buffer(self) -> None:
        self.last, self.current, self.passing = self.current, 0, False

    def release_one(self) -> None:
        self.releasable += self.last
        self.last = 0
        self.run()

    def release_indefinite(self) -> None:
        self.passing = True
        self.releasable = self.last = self.current = 0
        self.run()

    def run(self) -> None:
        while self.queue and (self.passing or self.releasable):
            if not self.passing:
                self.releasable -= 1
            self.out.append(self.queue.pop(0))


HOOKS = st.sampled_from([Hook.POSTSUSPEND, Hook.COMMIT, Hook.HOLD, Hook.PASS_THROUGH, "send"])


@given(held=st.booleans(), steps=st.lists(HOOKS, max_size=60))
def test_no_admitted_path_releases_an_uncommitted_frame(held: bool, steps: list[object]) -> None:
    plug = Plug()
    mode = after(Mode.ABSENT, Hook.SETUP_HELD if held else Hook.SETUP_PASSING)
    (plug.buffer if held else plug.release_indefinite)()
    epoch, committed, opened = 0, -1, not held
    for step in steps:
        if step == "send":
            plug.send(epoch)
            assert not plug.out or opened
            plug.out.clear()
            continue
        assert isinstance(step, Hook)
        try:
            following = after(mode, step)
        except HookRefused:
            continue
        if step is Hook.POSTSUSPEND:
            plug.buffer()
            epoch += 1
            opened = False
        elif step is Hook.COMMIT:
            committed = epoch - 1
            plug.release_one()
        elif step is Hook.PASS_THROUGH:
            plug.release_indefinite()
            opened = True
        elif not holds(mode):
            plug.buffer()
            opened = False
        mode = following
        assert opened or all(sent <= committed for sent in plug.out), (plug.out, committed)
        plug.out.clear()


def test_the_model_finds_the_leak_that_a_second_buffer_would_be() -> None:
    """What the table refuses (a commit after a hold inside an epoch) does leak in the model."""
    plug = Plug()
    plug.buffer()
    plug.send(0)
    plug.buffer()  # end of epoch 0
    plug.send(1)
    plug.send(1)
    plug.buffer()  # in doubt, in the middle of epoch 1
    plug.release_one()  # ACK(0) comes after all
    assert 1 in plug.out
