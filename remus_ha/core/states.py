"""A protection's states as operators see them, and which state of a role is which.

A state is a guarantee; what happens on the way from one to the next is an action of the tables.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from remus_ha.core import backup, primary


class Protection(enum.Enum):
    """What the operator can count on."""

    REQUESTED = "requested"  # nothing promised yet; the guest is as it was
    SYNCING = "syncing"  # the first copy is on its way; a failure loses what the backup has
    PROTECTED = "protected"  # the guest survives its host
    IN_DOUBT = "in_doubt"  # output held until the register has answered
    DEGRADED = "degraded"  # the guest runs, unprotected
    FAILING_OVER = "failing_over"  # the copy is being brought up, or the guest handed over
    FAILED_OVER = "failed_over"  # the copy is the guest now, unprotected
    PAUSED = "paused"  # a copy is kept, not running, until the winner has opened
    STOPPING = "stopping"  # the intent is on its way to the register; output held
    STOPPED = "stopped"  # ended on purpose, or by the register
    ERROR = "error"  # ended or refused for a reason that the operator has to look at


_P, _B = primary.State, backup.State

PRIMARY: Final[Mapping[primary.State, Protection]] = MappingProxyType(
    {
        _P.NEW: Protection.REQUESTED,
        _P.CLAIMING: Protection.REQUESTED,
        _P.CLAIMED: Protection.REQUESTED,
        _P.SYNCING: Protection.SYNCING,
        _P.PAIRING: Protection.SYNCING,
        _P.PROTECTED: Protection.PROTECTED,
        _P.YIELDING: Protection.FAILING_OVER,
        _P.YIELDED: Protection.FAILING_OVER,
        _P.ASKING: Protection.IN_DOUBT,
        _P.OPENING: Protection.IN_DOUBT,
        _P.ALONE: Protection.DEGRADED,
        _P.BEATEN: Protection.PAUSED,
        _P.FENCING: Protection.IN_DOUBT,
        _P.RETURNING: Protection.STOPPING,
        _P.RETURNED: Protection.STOPPING,
        _P.ENDING: Protection.STOPPING,
        _P.REBOOTING: Protection.STOPPING,
        _P.REBOOTED: Protection.STOPPING,
        _P.BROKEN: Protection.ERROR,
        _P.STOPPED: Protection.STOPPED,
        _P.DESTROYED: Protection.FAILED_OVER,
        _P.REFUSED: Protection.ERROR,
    }
)

BACKUP: Final[Mapping[backup.State, Protection]] = MappingProxyType(
    {
        _B.RECEIVING: Protection.SYNCING,
        _B.STANDBY: Protection.PROTECTED,
        _B.RETURNED: Protection.IN_DOUBT,
        _B.IN_DOUBT: Protection.IN_DOUBT,
        _B.RESTORING: Protection.FAILING_OVER,
        _B.SWAPPING: Protection.FAILING_OVER,
        _B.OPENING: Protection.FAILING_OVER,
        _B.ALIVE: Protection.FAILED_OVER,
        _B.BEATEN: Protection.PAUSED,
        _B.FENCING: Protection.FAILING_OVER,
        _B.GIVING_BACK: Protection.ERROR,
        _B.BROKEN: Protection.ERROR,
        _B.DESTROYED: Protection.STOPPED,
        _B.STOPPED: Protection.STOPPED,
    }
)


def protection(state: primary.State | backup.State) -> Protection:
    """What ``state`` of either role means to the operator."""
    return PRIMARY[state] if isinstance(state, primary.State) else BACKUP[state]
