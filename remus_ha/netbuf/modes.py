"""What the plugs of a session are doing, and what may be asked of them next.

sch_plug keeps one closed epoch apart from the open one. A second BUFFER before the first was
released mixes their packet counts, and a release by count could then let frames of the open
epoch out. So a hook that would do that is refused before the kernel hears of it.
"""

import enum

from remus_ha.netbuf.errors import HookRefused


class Mode(enum.Enum):
    """State of all plugs of a session together."""

    ABSENT = "not set up"
    PASSING = "passing"  # everything goes through
    HELD = "held"  # buffering, no epoch to release
    OPEN = "buffering an open epoch"
    CLOSED = "holding a closed epoch"  # one epoch waits for its commit
    DOUBTFUL = "in doubt"  # a request failed: some plugs may have obeyed


class Hook(enum.Enum):
    """What the owner of a session asks for."""

    SETUP_PASSING = "setup"
    SETUP_HELD = "setup held"
    POSTSUSPEND = "postsuspend"
    PRERESUME = "preresume"
    COMMIT = "commit"
    HOLD = "hold"
    PASS_THROUGH = "pass_through"  # noqa: S105
    TEARDOWN = "teardown"


_NEXT: dict[tuple[Mode, Hook], Mode] = {
    (Mode.ABSENT, Hook.SETUP_PASSING): Mode.PASSING,
    (Mode.ABSENT, Hook.SETUP_HELD): Mode.HELD,
    (Mode.ABSENT, Hook.TEARDOWN): Mode.ABSENT,
    (Mode.PASSING, Hook.POSTSUSPEND): Mode.CLOSED,
    (Mode.HELD, Hook.POSTSUSPEND): Mode.CLOSED,
    (Mode.OPEN, Hook.POSTSUSPEND): Mode.CLOSED,
    (Mode.CLOSED, Hook.PRERESUME): Mode.CLOSED,
    (Mode.CLOSED, Hook.COMMIT): Mode.OPEN,
    (Mode.PASSING, Hook.HOLD): Mode.HELD,
    (Mode.HELD, Hook.HOLD): Mode.HELD,
    (Mode.OPEN, Hook.HOLD): Mode.OPEN,
    (Mode.CLOSED, Hook.HOLD): Mode.CLOSED,
    (Mode.DOUBTFUL, Hook.HOLD): Mode.HELD,
    **{(mode, Hook.PASS_THROUGH): Mode.PASSING for mode in Mode if mode is not Mode.ABSENT},
    **{(mode, Hook.TEARDOWN): Mode.ABSENT for mode in Mode},
}


def after(mode: Mode, hook: Hook) -> Mode:
    """The mode that ``hook`` leads to. Raises HookRefused where it is not possible."""
    try:
        return _NEXT[mode, hook]
    except KeyError:
        raise HookRefused(hook=hook.value, mode=mode.value) from None


def holds(mode: Mode) -> bool:
    """Whether BUFFER is known to be in force."""
    return mode in (Mode.HELD, Mode.OPEN, Mode.CLOSED)
