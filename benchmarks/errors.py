"""What can go wrong in a benchmark, apart from the lab's and the product's errors."""

from remus_ha.exceptions import RemusError


class TookTooLong(RemusError):
    code = "BENCH-01"
    cause = "the part '{part}' did not end within {seconds:g} s"
    remedy = "Run it alone on an idle machine: python -m benchmarks --only {part}"


class PeerFailed(RemusError):
    code = "BENCH-02"
    cause = "xl remus {what}: {output}"
    remedy = "Run it by hand in the lab: remus-lab up, then xl -vvv remus on host a."


class Missing(RemusError):
    code = "BENCH-03"
    cause = "{what} did not happen within {seconds:g} s"
    remedy = "The end of what was said: {tail}"


class AlreadyRunning(RemusError):
    code = "BENCH-04"
    cause = "another benchmark runs on this machine"
    remedy = "Wait until it has ended, or interrupt it with ctrl-C."
