"""``remus-ha witness``: prepare a witness store, look into it, and say what an operator knows."""

import argparse
import dataclasses
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from remus_ha import kept, rundir
from remus_ha.cmd import witness_accept
from remus_ha.cmd.common import uuid_of
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.core.witness import Knowledge
from remus_ha.exceptions import RemusError
from remus_ha.hotplug import records
from remus_ha.hypervisor.base import Guest
from remus_ha.hypervisor.xen.driver import XenDriver
from remus_ha.hypervisor.xen.restore import MIGRATED
from remus_ha.hypervisor.xen.savers import Savers
from remus_ha.loading import entry_point
from remus_ha.netbuf.sweep import find_leftovers, remove
from remus_ha.witness import admin, rewound
from remus_ha.witness.base import Reading, Swap, WitnessDriver
from remus_ha.witness.errors import WitnessRewound
from remus_ha.witness.load import NAMESPACE, driver_name, open_witness

TIMEOUT_S = 5.0


class StillHere(RemusError):
    code = "PROTECT-011"
    cause = "guest {uuid} is on this host: its claim cannot be given up"
    remedy = "Migrate or destroy it first; 'remus-ha unprotect' ends a protection."


class NotHolder(RemusError):
    code = "PROTECT-012"
    cause = "the register of {uuid} names {holder}, not {me}"
    remedy = (
        "Run this on the host that it names, in the boot that it names. Where the other host has"
        " lost the guest for good, 'remus-ha witness claim --fenced HOST' says so."
    )


class SessionRuns(RemusError):
    code = "PROTECT-022"
    cause = "a protection of {uuid} is here: it knows best what its register means"
    remedy = (
        "Tell that process: 'remus-ha fenced {uuid} HOST', or end it with 'remus-ha unprotect'."
        " Where it is dead, 'remus-ha cleanup' takes up what it left first."
    )


class MigratedAway(RemusError):
    code = "PROTECT-023"
    cause = "domain '{name}' is what a migration leaves: the guest is, or will be, elsewhere"
    remedy = (
        "Let the migration end. Where it has failed and the guest is nowhere else, 'xl rename' it."
    )


def add_parser(commands: Any) -> None:
    p = commands.add_parser("witness", help="prepare or look into a witness", description=__doc__)
    verbs = p.add_subparsers(metavar="VERB", required=True)
    init = verbs.add_parser("init", help="give an empty store its incarnation; again: no change")
    init.add_argument("url", metavar="URL")
    init.set_defaults(run=_init)
    show = verbs.add_parser("show", help="show the register of a guest")
    show.add_argument("url", metavar="URL")
    show.add_argument("uuid", metavar="UUID", type=uuid_of)
    show.set_defaults(run=_show)
    incarnate = verbs.add_parser(
        "incarnate", help="after restoring the store from a backup: refuse all older swaps"
    )
    incarnate.add_argument("url", metavar="URL")
    incarnate.set_defaults(run=_incarnate)

    witness_accept.add_parser(verbs)
    release = verbs.add_parser(
        "release", help="give up this host's claim to a guest that has left it on purpose"
    )
    release.add_argument("url", metavar="URL")
    release.add_argument("uuid", metavar="UUID", type=uuid_of)
    release.set_defaults(run=_release)
    claim = verbs.add_parser(
        "claim",
        help="a guest has come here on purpose, or was left by a session that is lost: claim it,"
        " open vifs that were left shut, and let it go on",
    )
    claim.add_argument("url", metavar="URL")
    claim.add_argument("uuid", metavar="UUID")
    claim.add_argument(
        "--fenced",
        metavar="HOST",
        default="",
        help="take it from HOST, which is off for good or has no copy of the guest any more",
    )
    claim.set_defaults(run=_claim)


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A guest's register that nobody but this host may hold (design §4, W8)."""

    driver: WitnessDriver
    url: str
    uuid: str
    me: Identity
    register: Register | None
    incarnation: str

    @property
    def is_free(self) -> bool:
        return self.register is None or self.register.kind is Kind.NONE

    def swap(self, kind: Kind, holder: Identity | None) -> Register:
        """Raises NotHolder where somebody else was faster."""
        known = kept.knowledge(self.uuid).known
        newest = max((r.generation for r in (self.register, known) if r is not None), default=0)
        new = Register(newest + 1, kind, holder)
        if self.driver.swap(self.uuid, self.register, new, TIMEOUT_S) is not Swap.WON:
            raise NotHolder(uuid=self.uuid, holder="somebody else meanwhile", me=self.me)
        return new

    def keep(self, new: Register, opened: int) -> None:
        """What this host reports from now on, should the store go back in time."""
        mine = kept.knowledge(self.uuid)
        now = Knowledge(self.incarnation, new, max(opened, mine.opened), mine.peer)
        kept.accept(self.uuid, self.url, now)


def is_ours(held: Held, opened: int, fenced: str, *, lost: bool) -> bool:
    """Whether nobody but this host can have the guest.

    An earlier boot of it that was the only holder, and had opened, left nobody else a copy. A pair
    whose session is ``lost`` may be swapped out of as by any new process of its primary (W2, W4).
    ``fenced`` is a host of which the operator knows that it has no copy.
    """
    register, me = held.register, held.me
    if register is None or register.kind is Kind.NONE or register.holder is None:
        return True
    if fenced:
        return rewound.parties(register) <= {me.host, fenced}
    if register.kind is Kind.PAIR:
        return lost and register.holder == me
    died = register.holder.host == me.host and opened >= register.generation
    return register.holder == me or died


def _distrust(uuid: str, reading: Reading) -> str:
    """Why what the store says may be older than what it once said (W9); empty when it is not."""
    known = kept.knowledge(uuid).known
    row = reading.register.generation if reading.register else 0
    if known is not None and row < known.generation:
        return f"its row is of generation {row}, {known.generation} was known"
    return kept.distrust(uuid, reading.incarnation)


@contextmanager
def _held(url: str, uuid: str, fenced: str = "", *, lost: bool = False) -> Iterator[Held]:
    """The register, which is this host's to change. Raises NotHolder, WitnessRewound."""
    me = Identity(socket.gethostname(), rundir.identity(uuid))
    driver = open_witness(url, force=False, entry=entry_point(NAMESPACE, driver_name(url)))
    try:
        reading = driver.read(uuid, TIMEOUT_S)
        register = reading.register
        why = _distrust(uuid, reading)
        if why and not fenced:
            raise WitnessRewound(store=url, why=why)
        held = Held(driver, url, uuid, me, register, reading.incarnation)
        if not is_ours(held, reading.opened, fenced, lost=lost):
            named = register and " and ".join(
                str(x) for x in (register.holder, register.backup) if x
            )
            raise NotHolder(uuid=uuid, holder=named, me=me)
        yield held
    finally:
        driver.close()


def _release(args: argparse.Namespace) -> int:
    """Only where the guest is no more."""
    if XenDriver().domain_of(args.uuid) is not None:
        raise StillHere(uuid=args.uuid)
    with _held(args.url, args.uuid) as held:
        if held.is_free:
            print("nobody holds it")
            return 0
        none = held.swap(Kind.NONE, None)
        held.keep(none, 0)
    print(f"{args.uuid}: released, generation {none.generation}")
    return 0


def _claim(args: argparse.Namespace) -> int:
    """Only where the guest is; what was won and written down is opened afterwards (W2, W12)."""
    guest = XenDriver().find(args.uuid)
    if guest.name.endswith(MIGRATED):
        raise MigratedAway(name=guest.name)
    if any(_has_session(role, guest.uuid) for role in rundir.ROLES):
        raise SessionRuns(uuid=guest.uuid)
    with _held(args.url, guest.uuid, args.fenced, lost=True) as held:
        if args.fenced:  # what that host may still say of a former life of the store is void
            rewound.excuse(args.url, guest.uuid, frozenset({held.me.host, args.fenced}))
        mine = held.swap(Kind.HOLDER, held.me)
        held.keep(mine, 0)
        held.driver.record_opened(guest.uuid, mine.generation, TIMEOUT_S, won=mine)
        held.keep(mine, mine.generation)
    print(f"{guest.uuid}: claimed, generation {mine.generation}")
    for vif in guest.vifs:
        record = records.read(vif.mac)
        if record is not None and record.guest == guest.uuid:
            records.open_vif(vif.mac, guest.domid, vif.devid)
            opened = dataclasses.replace(record, state=records.VifState.OPEN, session="", before="")
            records.keep(opened)
            print(f"{vif.name}: open")
    _let_go(guest)
    return 0


def _has_session(role: str, uuid: str) -> bool:
    return uuid in rundir.sessions(role) or rundir.is_running(role, uuid)


def _let_go(guest: Guest) -> None:
    """What a session left that nobody here knows any more: the claim has voided it."""
    vifs = {vif.name for vif in guest.vifs}
    for left in find_leftovers():
        of_it = left.domid == guest.domid or left.vif in vifs
        if of_it and left.guest in ("", guest.uuid):
            remove(left, release=True)
            print(f"{left.ifb or left.vif}: removed, what it held is let out")
    if guest.domid in Savers.seen():
        return  # suspended and tracked by whoever saves it now
    domain = XenDriver().control(guest.domid, watch=False)
    try:
        domain.stop_tracking()
        if domain.resume():
            print(f"{guest.name}: was suspended, goes on")
    finally:
        domain.close()


def _init(args: argparse.Namespace) -> int:
    store = admin.initialise(args.url)
    how = "initialised" if store.created else "initialised before"
    print(f"{args.url}: {how}, incarnation {store.incarnation}")
    return 0


def _show(args: argparse.Namespace) -> int:
    reading = admin.show(args.url, args.uuid)
    register = reading.register.as_dict() if reading.register else None
    shown = {"register": register, "opened": reading.opened, "incarnation": reading.incarnation}
    print(json.dumps(shown, indent=2))
    return 0


def _incarnate(args: argparse.Namespace) -> int:
    print(json.dumps(dataclasses.asdict(admin.new_incarnation(args.url)), indent=2))
    return 0
