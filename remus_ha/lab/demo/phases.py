"""The silence cut into its phases: from the last answer before it to the first after it. Pure."""

import itertools
from dataclasses import dataclass

from remus_ha.lab.demo import figures
from remus_ha.lab.demo.figures import Observed


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of the silence, on the client's clock."""

    name: str
    start_s: float
    end_s: float
    remark: str

    @property
    def length_ms(self) -> float:
        """How long it lasted."""
        return (self.end_s - self.start_s) * 1e3


def phases(seen: Observed) -> list[Phase]:
    """In order, without a hole; empty when there was no failover."""
    fate = seen.failover
    if fate is None:
        return []
    start_s, end_s = figures.silence(seen.clients, seen.cut_s, seen.ended_s)
    moments = (
        *(start_s, seen.cut_s, fate.doubt_s, fate.restoring_s, fate.restored_s, fate.won_s),
        *(fate.open_s, end_s),
    )
    return [
        Phase(name, one_s, next_s, remark)
        for (name, remark), (one_s, next_s) in zip(_NAMES, itertools.pairwise(moments), strict=True)
    ]


_NAMES = (
    ("before the cut", "output of an open epoch, held"),
    ("detection", "from the cut to the backup's doubt"),
    ("witness read", "it says pair: the backup may go on"),
    ("restore", "from end of file to a running copy"),
    ("witness swap", "won: the guest is the backup's"),
    ("opening", "written down, vifs opened"),
    ("first answer", "from the opened vif to a client"),
)
