"""``remus-ha witness``: prepare a witness store and look into it."""

import argparse
import dataclasses
import json
import socket
from dataclasses import replace
from typing import Any

from remus_ha import rundir
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.exceptions import RemusError
from remus_ha.hotplug import records
from remus_ha.hypervisor.xen.driver import XenDriver
from remus_ha.loading import entry_point
from remus_ha.witness import admin
from remus_ha.witness.base import Swap
from remus_ha.witness.load import NAMESPACE, driver_name, open_witness

TIMEOUT_S = 5.0


class StillHere(RemusError):
    code = "PROTECT-011"
    cause = "guest {uuid} is on this host: its claim cannot be given up"
    remedy = "Migrate or destroy it first; 'remus-ha unprotect' ends a protection."


class NotHolder(RemusError):
    code = "PROTECT-012"
    cause = "the register of {uuid} names {holder}, not {me}"
    remedy = "Run this on the host that it names, in the boot that it names."


def add_parser(commands: Any) -> None:
    p = commands.add_parser("witness", help="prepare or look into a witness", description=__doc__)
    verbs = p.add_subparsers(metavar="VERB", required=True)
    init = verbs.add_parser("init", help="give an empty store its incarnation; again: no change")
    init.add_argument("url", metavar="URL")
    init.set_defaults(run=_init)
    show = verbs.add_parser("show", help="show the register of a guest")
    show.add_argument("url", metavar="URL")
    show.add_argument("uuid", metavar="UUID")
    show.set_defaults(run=_show)
    incarnate = verbs.add_parser(
        "incarnate", help="after restoring the store from a backup: refuse all older swaps"
    )
    incarnate.add_argument("url", metavar="URL")
    incarnate.set_defaults(run=_incarnate)

    release = verbs.add_parser(
        "release", help="give up this host's claim to a guest that has left it on purpose"
    )
    release.add_argument("url", metavar="URL")
    release.add_argument("uuid", metavar="UUID")
    release.set_defaults(run=_release)
    claim = verbs.add_parser(
        "claim", help="a guest has come here on purpose: claim it, open vifs that were left shut"
    )
    claim.add_argument("url", metavar="URL")
    claim.add_argument("uuid", metavar="UUID")
    claim.set_defaults(run=_claim)


def _release(args: argparse.Namespace) -> int:
    """Only the holder changes its value (design §4, W8), and only where the guest is no more."""
    if XenDriver().domain_of(args.uuid) is not None:
        raise StillHere(uuid=args.uuid)
    me = Identity(socket.gethostname(), rundir.identity(args.uuid))
    driver = open_witness(
        args.url, force=False, entry=entry_point(NAMESPACE, driver_name(args.url))
    )
    try:
        register = driver.read(args.uuid, TIMEOUT_S).register
        if register is None or register.kind is Kind.NONE:
            print("nobody holds it")
            return 0
        if register.kind is not Kind.HOLDER or register.holder != me:
            raise NotHolder(uuid=args.uuid, holder=register.holder, me=me)
        none = Register(register.generation + 1, Kind.NONE, None)
        if driver.swap(args.uuid, register, none, TIMEOUT_S) is not Swap.WON:
            raise NotHolder(uuid=args.uuid, holder="somebody else meanwhile", me=me)
    finally:
        driver.close()
    print(f"{args.uuid}: released, generation {none.generation}")
    return 0


def _claim(args: argparse.Namespace) -> int:
    """Out of nobody's or this host's own hands only (W8); what it won is opened afterwards (W2)."""
    xen = XenDriver()
    guest = xen.find(args.uuid)
    me = Identity(socket.gethostname(), rundir.identity(guest.uuid))
    driver = open_witness(
        args.url, force=False, entry=entry_point(NAMESPACE, driver_name(args.url))
    )
    try:
        register = driver.read(guest.uuid, TIMEOUT_S).register
        free = register is None or register.kind is Kind.NONE
        if register is not None and not free:
            if register.kind is not Kind.HOLDER or register.holder != me:
                raise NotHolder(uuid=guest.uuid, holder=register.holder, me=me)
        mine = Register(register.generation + 1 if register else 1, Kind.HOLDER, me)
        if driver.swap(guest.uuid, register, mine, TIMEOUT_S) is not Swap.WON:
            raise NotHolder(uuid=guest.uuid, holder="somebody else meanwhile", me=me)
        driver.record_opened(guest.uuid, mine.generation, TIMEOUT_S, won=mine)
    finally:
        driver.close()
    print(f"{guest.uuid}: claimed, generation {mine.generation}")
    for vif in guest.vifs:
        record = records.read(vif.mac)
        if record is not None and record.guest == guest.uuid:
            records.open_vif(vif.mac, guest.domid, vif.devid)
            records.keep(replace(record, state=records.VifState.OPEN, session="", before=""))
            print(f"{vif.name}: open")
    return 0


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
