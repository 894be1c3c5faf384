"""What a host remembers of a store, so that a store that went back in time is noticed.

An etcd restored from a snapshot forgets acknowledged swaps without saying so. Its incarnation key
is part of the snapshot, so three things are remembered: the incarnation, the cluster's id, and
the highest revision seen. The memory belongs into /run, so that a restarted process keeps it. A
store that is found rewound stays so in the memory: its revision grows past the remembered one
sooner or later, which makes nothing good.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Memory:
    """The newest state seen of a store.

    ``rewound`` is empty, or says why the store is not trusted any more.
    """

    incarnation: str
    cluster_id: str
    revision: int
    rewound: str = ""

    def encode(self) -> str:
        """JSON on one line, for a file."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def decode(cls, text: str) -> "Memory":
        """The inverse of ``encode``. Raises ValueError for anything else."""
        try:
            fields: dict[str, Any] = json.loads(text)
            memory = cls(**fields)
        except (ValueError, TypeError, RecursionError) as e:
            raise ValueError(f"not a witness memory: {text!r}") from e
        if not memory._is_sound():
            raise ValueError(f"not a witness memory: {text!r}")
        return memory

    def _is_sound(self) -> bool:
        texts = (self.incarnation, self.cluster_id, self.rewound)
        return all(type(t) is str for t in texts) and type(self.revision) is int

    def contradiction(self, incarnation: str | None, cluster_id: str, revision: int) -> str:
        """Why an answer cannot come from the store remembered; empty when it can.

        ``incarnation`` is None when the store has none.
        """
        if self.rewound:
            return self.rewound
        if cluster_id != self.cluster_id:
            return f"cluster {cluster_id} answers, {self.cluster_id} was known"
        if incarnation is None:
            return f"incarnation {self.incarnation} is gone"
        if incarnation != self.incarnation:
            return f"incarnation is {incarnation}, {self.incarnation} was known"
        if revision < self.revision:
            return f"revision is {revision}, {self.revision} was seen before"
        return ""

    def advanced(self, revision: int) -> "Memory":
        """The memory after an answer without contradiction."""
        return dataclasses.replace(self, revision=max(revision, self.revision))

    def distrusted(self, why: str) -> "Memory":
        """The memory after a contradiction."""
        return dataclasses.replace(self, rewound=why)
