"""The timeline: one line per event, with the seconds since the start, while it happens."""

import sys
import threading
import time
from typing import TextIO

from remus_ha.lab.progress import Progress


class Timeline:
    """Lines from any thread. All moments are time.monotonic seconds of this machine."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()
        self.began_s = time.monotonic()

    def say(self, who: str, text: str, at_s: float | None = None) -> None:
        """One event of ``who``, which happened at ``at_s``, else now."""
        moment = (time.monotonic() if at_s is None else at_s) - self.began_s
        with self._lock:
            print(f"{moment:8.3f} s  {who:7} {text}", file=self._stream, flush=True)


class Steps(Progress):
    """The lab's progress as lines of the timeline."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__(None)
        self._timeline = timeline

    def say(self, text: str) -> None:
        self._timeline.say("lab", text)
