"""The options of ``protect`` and ``check``, and what they ask for."""

import argparse
import os

from remus_ha import conf
from remus_ha.checkpoint.wish import DRIVERS, Wish
from remus_ha.disk.ack import Ack
from remus_ha.loading import entry_point
from remus_ha.stream.modes import Tls
from remus_ha.witness.load import driver_name

ACCEPTED = {
    "-u --no-compression": "nothing is compressed",
    "--timer": "epochs begin by the clock in any case",
}
UNBUFFERED = "remus_ha.netbuf.unbuffered:Unbuffered"


def add_wish_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("domain", metavar="DOMAIN", help="name, id or UUID of a running guest")
    p.add_argument("host", metavar="HOST", help="the backup host (with -s '': a command)")
    p.add_argument(
        "-i",
        "--interval",
        type=_milliseconds,
        default=200,
        metavar="MS",
        help="start to start of two checkpoints (default 200; 0: as often as possible)",
    )
    p.add_argument(
        "--detect",
        type=_milliseconds,
        default=1000,
        metavar="MS",
        help="how long the other side may be silent before the witness is asked (default 1000)",
    )
    p.add_argument("--witness", metavar="URL", help="who decides which copy lives (etcd://…)")
    p.add_argument(
        "-s",
        "--ssh",
        default="ssh",
        metavar="COMMAND",
        help="instead of ssh; an empty string runs HOST itself as a command",
    )
    p.add_argument(
        "-p",
        "--port",
        type=_port,
        default=0,
        help="the backup listens here for control and on the next port for the memory stream"
        " (default: any)",
    )
    p.add_argument(
        "-e",
        "--no-monitor",
        action="store_true",
        help="after a failover xl does not stay with the guest: nobody does its reboots then",
    )
    p.add_argument("-F", "--force", action="store_true", help="allow unsafe options")
    p.add_argument(
        "-N",
        "--netbufscript",
        type=_script,
        metavar="SCRIPT",
        help="let this script set up the buffers, called as by 'xl remus' (unsafe if it does not"
        " redirect every frame)",
    )
    p.add_argument("-n", "--no-net", action="store_true", help="don't buffer output (unsafe)")
    p.add_argument("-d", "--no-disk", action="store_true", help="don't replicate disks (unsafe)")
    p.add_argument(
        "--disk-driver",
        choices=DRIVERS,
        default="",
        help="tapdisk: a write of the guest waits for its own host alone, and the backup gets it"
        " before its epoch is acknowledged; qemu: it waits until the backup has it (default:"
        " tapdisk, if it takes all of the guest's disks). Disks that 'remus-ha tapdisk --attach'"
        " serves need neither",
    )
    p.add_argument(
        "--disk-map",
        type=_mapping,
        action="append",
        default=[],
        metavar="HERE=THERE",
        help="where an image, or a directory of images, lies on the backup (may be repeated)",
    )
    p.add_argument(
        "--disk-overwrite",
        action="store_true",
        help="overwrite images on the backup that are not known to be this guest's",
    )
    p.add_argument(
        "--disk-ack",
        choices=[ack.value for ack in Ack],
        default=Ack.RECEIVED.value,
        help="durable: an acknowledged epoch outlives a power cut of the backup as well"
        " (default received)",
    )
    p.add_argument(
        "--disk-rate",
        type=_rate,
        default=0,
        metavar="MIB_S",
        help="bound the synchronisation of each disk (default 0: no bound)",
    )
    p.add_argument(
        "--rate",
        type=_megabits,
        metavar="MBIT_S",
        help="bound the memory stream, and take as much of both hosts' replication links, if they"
        " are counted (default: rate_mbit_s of the configuration; 0: no bound)",
    )
    p.add_argument(
        "--tls",
        choices=[mode.value for mode in Tls],
        default=Tls.REQUIRED.value,
        help="encrypt the memory stream; disks and control always are (default required;"
        " opportunistic: not if the backup cannot start what decrypts; disabled is unsafe)",
    )
    p.add_argument(
        "-b",
        "--blackhole",
        "--no-backup",
        action="store_true",
        help="checkpoint into nothing (unsafe)",
    )
    for name, text in ACCEPTED.items():
        p.add_argument(*name.split(), action="store_true", help=f"accepted: {text}")


def wish_of(args: argparse.Namespace) -> Wish:
    """What the arguments ask for. Raises ConfigBroken, DriverMissing."""
    witness = args.witness or conf.text("witness", "url")
    rate = conf.number("replication", "rate_mbit_s") if args.rate is None else args.rate
    buffer = not args.no_net
    return Wish(
        domain=args.domain,
        host=args.host,
        interval_ms=args.interval,
        detect_ms=max(50, args.detect),
        ssh=args.ssh,
        force=args.force,
        buffer_net=buffer,
        replicate_disks=not args.no_disk,
        blackhole=args.blackhole,
        tls=args.tls,
        port=args.port,
        minded=not args.no_monitor,
        witness=witness,
        witness_entry=entry_point("remus_ha.witness", driver_name(witness)) if witness else "",
        netbuf_entry=entry_point("remus_ha.netbuf", "plug") if buffer else UNBUFFERED,
        netbuf_script=(args.netbufscript or "") if buffer else "",
        disk_entry=entry_point("remus_ha.disk", args.disk_driver) if args.disk_driver else "",
        disk_map=tuple(args.disk_map),
        disk_overwrite=args.disk_overwrite,
        disk_ack=args.disk_ack,
        disk_rate=args.disk_rate << 20,
        rate_mbit_s=rate or 0,
    )


def remarks(args: argparse.Namespace) -> list[str]:
    """What the operator should know of options that change nothing."""
    told = {name.split()[-1]: text for name, text in ACCEPTED.items()}
    given = [name for name in told if getattr(args, name.strip("-").replace("-", "_"))]
    found = [f"{name}: {told[name]}" for name in given]
    if args.netbufscript and args.no_net:
        found.append("--netbufscript: with -n nothing is buffered")
    return found


def _script(text: str) -> str:
    """Whoever runs it does so elsewhere."""
    return os.path.abspath(text)


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65534:
        raise argparse.ArgumentTypeError("a port from 1 to 65534")
    return value


def _milliseconds(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 3_600_000:
        raise argparse.ArgumentTypeError("a number of milliseconds from 0 to 3600000")
    return value


def _mapping(text: str) -> tuple[str, str]:
    here, _, there = text.partition("=")
    if not here.startswith("/") or not there.startswith("/"):
        raise argparse.ArgumentTypeError("two absolute paths, as in /images=/srv/replicas")
    return here, there


def _megabits(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 10_000_000:
        raise argparse.ArgumentTypeError("a number of Mbit/s from 0 to 10000000")
    return value


def _rate(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError("a number of MiB/s from 0 to 1000000")
    return value
