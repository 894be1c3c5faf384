"""Whether a store moves: it is asked again and again, and judged by what it answers.

A store stands still while it owes an answer, and while a write lies in it and none is done with.
Only time that the receiver was awake for counts: one that slept itself, alone or with its whole
host, has not seen its stores stand still.
"""

from typing import Any


class Pulse:
    """One store's. ``still_s``: how long it has been seen to stand still; ``why``: in what way."""

    def __init__(self) -> None:
        self.still_s = 0.0
        self.why = ""
        self._owes = self._stuck = False
        self._written = -1

    def look(self, awake_s: float) -> bool:
        """``awake_s`` have passed since the last look. Whether it is to be asked now."""
        asks, self._owes = not self._owes, True
        if asks and not self._stuck:
            self.still_s = 0.0
        else:
            self.still_s += awake_s
            self.why = "its writes do not get on" if asks else "it does not answer"
        return asks

    def answered(self, status: dict[str, Any]) -> None:
        """A daemon that was started by an older version says nothing of its writes."""
        self._owes = False
        written = int(status.get("written", -1))
        self._stuck = bool(status.get("writing")) and written == self._written
        self._written = written
