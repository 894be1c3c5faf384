"""What can go wrong in the lab: stable codes, causes and remedies."""

from remus_ha.exceptions import RemusError


class LabError(RemusError):
    """Base class of the lab's errors."""

    code = "LAB-00"
    cause = "{detail}"
    remedy = "Run 'remus-lab status', then 'remus-lab down' to begin afresh."


class NotRoot(LabError):
    code = "LAB-01"
    cause = "the lab makes network namespaces and a root tree, and this is not root"
    remedy = "Run it as root, for example with sudo."


class ToolsMissing(LabError):
    code = "LAB-02"
    cause = "programs are missing: {programs}"
    remedy = "apt-get install {packages}"


class NoAptSources(LabError):
    code = "LAB-03"
    cause = "no apt source of this machine offers Debian's {release}/main, nor its own release"
    remedy = "Add Debian {release} to /etc/apt/sources.list.d; the image is built from there."


class StepFailed(LabError):
    code = "LAB-04"
    cause = "'{command}' ended with status {status}: {output}"
    remedy = "Read the output above; free disk space and the network are the usual reasons."


class TimedOut(LabError):
    code = "LAB-05"
    cause = "{what} did not happen within {seconds:g} s"
    remedy = "The machine may be overloaded; look into {where} and try again."


class NotUp(LabError):
    code = "LAB-06"
    cause = "no lab is up"
    remedy = "remus-lab up"


class UnknownHost(LabError):
    code = "LAB-07"
    cause = "the lab has no host '{host}', only {known}"
    remedy = "Choose one of {known}, or start more with 'remus-lab up --hosts N'."


class HostDown(LabError):
    code = "LAB-08"
    cause = "host '{host}' is not running"
    remedy = "remus-lab boot {host}"


class HostDied(LabError):
    code = "LAB-09"
    cause = "host '{host}' died while booting; its console ends with: {tail}"
    remedy = "Read the whole console in {log}."


class RemoteFailed(LabError):
    code = "LAB-10"
    cause = "'{command}' on host '{host}' ended with status {status}: {output}"
    remedy = "Run it by hand with 'remus-lab ssh {host}'."


class UnknownLink(LabError):
    code = "LAB-11"
    cause = "'{link}' is no link of a host"
    remedy = "Choose one of {known}."


class GuestExists(LabError):
    code = "LAB-12"
    cause = "a guest '{name}' exists already on host '{host}'"
    remedy = "Choose another name, or 'remus-lab guest destroy {name}'."


class UnknownGuest(LabError):
    code = "LAB-13"
    cause = "there is no guest '{name}' on any running host"
    remedy = "remus-lab guest list"


class BadValue(LabError):
    code = "LAB-14"
    cause = "{what} cannot be '{value}'"
    remedy = "Give {wanted}."


class WrongShape(LabError):
    code = "LAB-15"
    cause = "a lab of another shape is up: {running}, asked for {wanted}"
    remedy = "remus-lab down, then up again."


class GuestSilent(LabError):
    code = "LAB-16"
    cause = "guest '{name}' was created on '{host}' and said nothing within {seconds:g} s"
    remedy = "Look at its console: remus-lab ssh {host} cat /var/log/xen/console/guest-{name}.log"


class LedgerUnreachable(LabError):
    code = "LAB-17"
    cause = "the guest's {proto} port {port} at {address} does not answer: {detail}"
    remedy = "Is the guest running? remus-lab guest list"


class SshFailed(LabError):
    """ssh could not open its connection to a host."""

    code = "LAB-18"
    cause = "host '{host}' runs, but ssh to it fails: {output}"
    remedy = "Is its mgmt cable in? Look at {console}, then 'remus-lab cut {host}' and boot it."


class DisksRefused(LabError):
    """The guest's disk program answered with an error word."""

    code = "LAB-19"
    cause = "the guest's disk program refused '{command}': {word}"
    remedy = "'stat' tells what it does (Guests.disks); its console tells why a disk is not there."


class DatabaseRefused(LabError):
    """The guest's database program answered with an error, or with what answers nothing."""

    code = "LAB-20"
    cause = "the guest's database program refused '{command}': {words}"
    remedy = "Its words are SQLite's or the system's; 'check' tells whether the database is whole."


class NoArchiveKeys(LabError):
    """Nothing could tell that the packages are Debian's."""

    code = "LAB-21"
    cause = "this machine's archive keyring has no key of Debian {release}"
    remedy = "apt-get update, then apt-get install debian-archive-keyring: a newer one has it."
