"""What can go wrong with a witness. Every one of these means *hold*: none is evidence of losing."""

from remus_ha.exceptions import RemusError


class WitnessError(RemusError):
    """Base class of this package's errors."""


class WitnessUnavailable(WitnessError):
    """No definite answer in time; a swap that was asked may or may not have taken place."""

    code = "WITNESS-001"
    cause = "The witness {store} gave no definite answer: {why}"
    remedy = (
        "Output stays held until it answers. Check that the store runs and has a quorum "
        "('etcdctl endpoint health') and that this host reaches it over the management network."
    )


class WitnessRewound(WitnessError):
    """The store is not the one, or not as far, as this host has seen it: nothing is swapped."""

    code = "WITNESS-002"
    cause = "The witness {store} has lost acknowledged writes or is another store: {why}"
    remedy = (
        "Give a restored store a new life with 'remus-ha witness incarnate URL', then run "
        "'remus-ha witness accept URL' on both hosts (with the guest's UUID where it is another "
        "store than before); until then nothing is decided and output stays held."
    )


class WitnessNotInitialised(WitnessError):
    """The store has no incarnation yet (new, or wiped)."""

    code = "WITNESS-003"
    cause = "The witness {store} was never initialised (no key {key})"
    remedy = (
        "Run 'remus-ha witness init URL' once for a new store. If the store was in use before, it "
        "has lost its content: run 'remus-ha witness accept URL' on both hosts afterwards."
    )


class WitnessMissing(WitnessError):
    """No witness was given."""

    code = "WITNESS-004"
    cause = "No witness is given, so nothing could decide which copy of the guest may live"
    remedy = "Give --witness URL (for example etcd://10.0.0.1:2379), or -F to go on unsafely."


class WitnessUrlInvalid(WitnessError):
    """The witness URL cannot be understood."""

    code = "WITNESS-005"
    cause = "The witness URL {url!r} is not valid: {why}"
    remedy = (
        "Write etcd://HOST:PORT[,HOST:PORT...][/PREFIX], or "
        "etcd+https://HOST:PORT[/PREFIX]?ca=FILE&cert=FILE&key=FILE."
    )


class WitnessRequiresForce(WitnessError):
    """The pretended witness is asked for without -F."""

    code = "WITNESS-006"
    cause = "The witness 'none' decides nothing: after a fault both copies of the guest may live"
    remedy = "Give --witness with a real store, or add -F if two living copies are acceptable."


class WitnessCorrupt(WitnessError):
    """A key of ours holds something that no version of ours writes."""

    code = "WITNESS-007"
    cause = "The witness {store} holds rubbish under {key}: {value}"
    remedy = (
        "Something else writes there: give the witness a prefix of its own. Look at the key with "
        "'etcdctl get KEY'; nothing is decided until it holds a register again."
    )


class ReportsDiffer(WitnessError):
    """Two hosts know different values of one generation: two lives of the store were mixed."""

    code = "WITNESS-010"
    cause = "Guest {uuid}: this host knows {known}, the witness has {row}, of one generation"
    remedy = (
        "The store was used before it got a new life. Look which host's guest is the right one, "
        "end the other, then run 'remus-ha witness accept --without HOST URL UUID' where it is."
    )


class NotReported(WitnessError):
    """The other host of a guest may know more."""

    code = "WITNESS-011"
    cause = "Guest {uuid}: {hosts} has not yet said what it knows, {seconds:.0f} s long"
    remedy = (
        "Run 'remus-ha witness accept URL' there as well, then here again; or give --without HOST "
        "for a host that is off for good or has no copy of the guest."
    )


class SameLife(WitnessError):
    """The store that is to be accepted calls itself what the distrusted one did."""

    code = "WITNESS-012"
    cause = "Guest {uuid}: the witness still has the incarnation {incarnation}, but {why}"
    remedy = (
        "Run 'remus-ha witness incarnate URL' first: swaps of its former life may be on their way."
    )


class OtherStore(WitnessError):
    """None of the guests that this host knows was protected by the store that was named."""

    code = "WITNESS-013"
    cause = "No guest was protected here by {url}, but by {others}"
    remedy = "Name the UUIDs of those that are to go on with {url}."


class WitnessDriverFault(WitnessError):
    """A driver raised what its contract does not allow: a defect. Treated like no answer."""

    code = "WITNESS-009"
    cause = "The witness driver failed unexpectedly: {why}"
    remedy = "Output stays held. Report this with the log of the process, which has the traceback."
