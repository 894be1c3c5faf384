"""``remus-lab``: real Xen hosts on this machine, and the accidents that may befall them."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import FrameType

from remus_ha.exceptions import RemusError
from remus_ha.lab.cluster import Lab
from remus_ha.lab.plan import link_of
from remus_ha.lab.qemu import Machine
from remus_ha.lab.release import RELEASES, VARIABLE, release_of
from remus_ha.lab.xlconfig import (
    KERNEL,
    LIBVIRT,
    STOCK_VIF_SCRIPT,
    XL,
    DiskSpec,
    GuestSpec,
    plain_disks,
)

_EXAMPLES = """examples:
  remus-lab up                          two Xen hosts, a and b, and the witness
  remus-lab guest create web            a guest on a
  remus-lab ssh a xl list               a command on a
  remus-lab cut a                       a loses its power
  remus-lab down                        nothing is left
"""

Verb = Callable[[Lab, argparse.Namespace], None]


def _up(lab: Lab, args: argparse.Namespace) -> None:
    release = release_of(args.release) if args.release else None
    lab.up(args.hosts, Machine(args.memory, args.dom0_memory, args.data_disk), release)


def _down(lab: Lab, args: argparse.Namespace) -> None:
    lab.down()


def _status(lab: Lab, args: argparse.Namespace) -> None:
    status = lab.status()
    if args.json:
        print(json.dumps(status.as_dict(), indent=2))
        return
    if not status.up:
        print("no lab is up")
        return
    print(f"release: {status.release}")
    for host in status.hosts:
        power = "no power" if host.pid is None else f"pid {host.pid}"
        print(f"host {host.name}: {power}{', hung' if host.hung else ''}")
        for name, link in host.links.items():
            rate = "" if link.rate_bit_s is None else f", {link.rate_bit_s} bit/s"
            print(f"  {name:6} {link.address:12} {'plugged' if link.plugged else 'pulled'}{rate}")
    print(f"witness: {status.witness or 'stopped'}")
    print(f"network namespace: {status.namespace}")


def _ssh(lab: Lab, args: argparse.Namespace) -> None:
    host = lab.host(args.host)
    host.require()
    options = ["-t"] if sys.stdin.isatty() and not args.command else []
    words = host.shell.argv(args.command, options=options)
    with lab.enter():
        os.execvp(words[0], words)  # noqa: S606 - ssh takes over this process


def _push(lab: Lab, args: argparse.Namespace) -> None:
    lab.push(args.hosts)


def _cut(lab: Lab, args: argparse.Namespace) -> None:
    lab.cut(args.host)


def _boot(lab: Lab, args: argparse.Namespace) -> None:
    lab.boot(args.host)


def _hang(lab: Lab, args: argparse.Namespace) -> None:
    lab.hang(args.host)


def _unhang(lab: Lab, args: argparse.Namespace) -> None:
    lab.unhang(args.host)


def _unplug(lab: Lab, args: argparse.Namespace) -> None:
    lab.unplug(args.host, link_of(args.link))


def _plug(lab: Lab, args: argparse.Namespace) -> None:
    lab.plug(args.host, link_of(args.link))


def _slow(lab: Lab, args: argparse.Namespace) -> None:
    rate = None if args.rate == "none" else args.rate
    lab.slow(args.host, link_of(args.link), rate)


def _load(lab: Lab, args: argparse.Namespace) -> None:
    lab.load(args.host, on=not args.stop)


def _witness(lab: Lab, args: argparse.Namespace) -> None:
    lab.hosts()
    {"start": lab.witness.start, "stop": lab.witness.stop, "wipe": lab.witness.wipe}[args.verb]()


def guest_spec(args: argparse.Namespace) -> GuestSpec:
    """What ``guest create`` asks for. BadValue."""
    return GuestSpec(
        name=args.name,
        memory_mib=args.memory,
        vcpus=args.vcpus,
        vifs=args.vifs,
        disks=plain_disks(args.disks, args.disk_mib),
        kernel=args.kernel,
        initrd=args.initrd,
        vif_script=STOCK_VIF_SCRIPT if args.stock_scripts else "",
        dirty_kib_s=args.dirty,
        dirty_mib=args.working_set,
        options=args.options,
        via=args.via,
    )


def _guest_create(lab: Lab, args: argparse.Namespace) -> None:
    spec = guest_spec(args)
    with lab.progress.step(f"create guest {spec.name} on {args.host}"):
        plan = lab.guests.create(spec, args.host, wait=not args.no_wait)
    for vif in range(plan.vifs):
        print(f"{plan.name} vif {vif}: {plan.ipv4(vif)} {plan.ipv6(vif)}")


def _guest_list(lab: Lab, args: argparse.Namespace) -> None:
    guests = lab.guests.list()
    if args.json:
        print(json.dumps([asdict(guest) for guest in guests], indent=2))
        return
    for guest in guests:
        place = f"on {guest.host} as domain {guest.domid}"
        print(f"{guest.name} {place}, {guest.memory_mib} MiB, {guest.state}, {guest.ipv4 or '-'}")


def _guest_destroy(lab: Lab, args: argparse.Namespace) -> None:
    lab.guests.destroy(args.name)


class _Parsers:
    """Adds verbs to a parser, each with its help, its examples and its function."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._group = parser.add_subparsers(metavar="VERB", required=True)

    def add(self, name: str, verb: Verb | None, text: str, example: str) -> argparse.ArgumentParser:
        parser = self._group.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if verb is not None:
            parser.set_defaults(run=verb)
        return parser

    def on_host(self, name: str, verb: Verb, text: str, example: str) -> argparse.ArgumentParser:
        parser = self.add(name, verb, text, example)
        parser.add_argument("host", metavar="HOST", help="a, b, ...")
        return parser

    def on_link(self, name: str, verb: Verb, text: str, example: str) -> argparse.ArgumentParser:
        parser = self.on_host(name, verb, text, example)
        parser.add_argument("link", metavar="LINK", help="repl, guest or mgmt")
        return parser


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="remus-lab",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = _Parsers(parser)
    _add_lab(verbs)
    _add_accidents(verbs)
    _add_guest(verbs)
    return parser


def _add_lab(verbs: _Parsers) -> None:
    up = verbs.add("up", _up, "start the hosts and the witness", "remus-lab up --hosts 3")
    up.add_argument("--hosts", type=int, default=2, metavar="N", help="how many (2)")
    up.add_argument("--release", choices=RELEASES, help=f"of Debian ({VARIABLE}, else bookworm)")
    size = Machine()
    up.add_argument("--memory", type=int, default=size.memory_mib, metavar="MIB", help="per host")
    up.add_argument("--dom0-memory", type=int, default=size.dom0_mib, metavar="MIB", help="of it")
    up.add_argument("--data-disk", type=int, default=size.data_mib, metavar="MIB", help="for /srv")
    verbs.add("down", _down, "stop and remove everything", "remus-lab down")
    status = verbs.add("status", _status, "show hosts, links, witness", "remus-lab status --json")
    status.add_argument("--json", action="store_true", help="for programs")
    ssh = verbs.on_host("ssh", _ssh, "a shell or a command on a host", "remus-lab ssh a xl list")
    ssh.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD")
    push = verbs.add("push", _push, "install this checkout on hosts", "remus-lab push")
    push.add_argument("hosts", nargs="*", metavar="HOST", help="default: all running ones")


def _add_accidents(verbs: _Parsers) -> None:
    verbs.on_host("cut", _cut, "take a host's power away", "remus-lab cut a")
    verbs.on_host("boot", _boot, "power a cut host on; only /srv is as it was", "remus-lab boot a")
    verbs.on_host("hang", _hang, "freeze a host", "remus-lab hang a")
    verbs.on_host("unhang", _unhang, "let a frozen host go on", "remus-lab unhang a")
    verbs.on_link("unplug", _unplug, "pull a cable", "remus-lab unplug a repl")
    verbs.on_link("plug", _plug, "put a cable back", "remus-lab plug a repl")
    slow = verbs.on_link("slow", _slow, "slow a cable down", "remus-lab slow a repl 10mbit")
    slow.add_argument("rate", metavar="RATE", help="as tc writes it (10mbit), or none")
    load = verbs.on_host("load", _load, "keep a dom0 busy", "remus-lab load a --stop")
    load.add_argument("--stop", action="store_true", help="let it idle again")
    witness = verbs.add("witness", _witness, "stop, start or wipe etcd", "remus-lab witness stop")
    witness.add_argument("verb", choices=["start", "stop", "wipe"])


def _add_guest(verbs: _Parsers) -> None:
    guest = _Parsers(verbs.add("guest", None, "guests", "remus-lab guest list"))
    create = guest.add(
        "create", _guest_create, "create a guest", "remus-lab guest create web --vifs 2"
    )
    create.add_argument("name", metavar="NAME")
    spec = GuestSpec("guest")
    for option, kind, default, text in (
        ("--host", str, "a", "where"),
        ("--memory", int, spec.memory_mib, "MiB; 0 what its programs need"),
        ("--vcpus", int, spec.vcpus, "virtual processors"),
        ("--vifs", int, spec.vifs, "network cards"),
        ("--disks", int, 0, "disks, and the program that writes to them"),
        ("--disk-mib", int, DiskSpec("xvda").size_mib, "size of each disk"),
        ("--kernel", str, KERNEL, "a file here or on the host"),
        ("--initrd", str, "", "a file here or on the host"),
        ("--dirty", int, spec.dirty_kib_s, "KiB of memory dirtied a second"),
        ("--working-set", int, spec.dirty_mib, "MiB dirtied in turn"),
        ("--options", str, "", "more words for the guest's kernel command line"),
    ):
        create.add_argument(
            option, type=kind, default=default, metavar=kind.__name__.upper(), help=text
        )
    create.add_argument("--via", choices=(XL, LIBVIRT), default=XL, help="who manages it (xl)")
    create.add_argument("--stock-scripts", action="store_true", help="Xen's own vif script")
    create.add_argument("--no-wait", action="store_true", help="do not wait for its hello")
    listing = guest.add("list", _guest_list, "list guests", "remus-lab guest list --json")
    listing.add_argument("--json", action="store_true", help="for programs")
    destroy = guest.add("destroy", _guest_destroy, "end a guest", "remus-lab guest destroy web")
    destroy.add_argument("name", metavar="NAME")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: 0 done, 1 a typed error (on standard error), 130 interrupted."""
    args = build_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        args.run(Lab(), args)
    except RemusError as error:
        print(f"{error}\n  -> {error.advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was begun has been undone", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
