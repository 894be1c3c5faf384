"""What can go wrong in the demo itself, apart from the lab's and the product's errors."""

from remus_ha.exceptions import RemusError


class AlreadyRunning(RemusError):
    code = "DEMO-01"
    cause = "another demo runs on this machine"
    remedy = "Wait until it has ended, or interrupt it with ctrl-C."


class TookTooLong(RemusError):
    code = "DEMO-02"
    cause = "the demo did not end within {seconds:g} s"
    remedy = "The timeline shows where it hung; a less busy machine or a larger --limit may help."


class RemoteEnded(RemusError):
    code = "DEMO-03"
    cause = "'{command}' on host '{host}' gave no answer within {seconds:g} s"
    remedy = "Run the demo again; 'remus-lab up' and 'remus-lab ssh {host}' allow a closer look."


class ProtectionEnded(RemusError):
    code = "DEMO-04"
    cause = "the protection ended before the power cut; the journals' last words: {last}"
    remedy = "A busy machine delays the hosts: run it again, or with a longer --detect."
