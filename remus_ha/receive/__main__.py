"""Start the backup's per-guest process: ``python -m remus_ha.receive UUID``.

The keeper is its only caller; see ``remus_ha.receive.process`` for what it does.
"""

import argparse
import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from remus_ha import rundir, shares
from remus_ha.caretaker import CareLink, parse_held, start_detached
from remus_ha.exceptions import RemusError
from remus_ha.hypervisor.libvirt import presence
from remus_ha.hypervisor.libvirt.errors import Absent
from remus_ha.kept import Kept
from remus_ha.killpoint import KillPoint
from remus_ha.receive.incoming import Incoming, IncomingMissing
from remus_ha.receive.process import Backup
from remus_ha.receive.request import Reply, Request, refusal, to_line
from remus_ha.stream.control import ControlChannel, accept_control
from remus_ha.stream.credentials import (
    Credentials,
    PinnedContext,
    create,
    decode_certificate,
    encode_certificate,
    server_context,
)
from remus_ha.stream.data import accept_data
from remus_ha.stream.errors import HandshakeFailed, RelayGone, Unreachable
from remus_ha.stream.modes import Tls
from remus_ha.stream.sealed import Relay, Stream
from remus_ha.stream.tcp import listen
from remus_ha.waiting import readable
from remus_ha.witness.asker import Asker
from remus_ha.witness.load import open_witness
from remus_ha.witness.none import is_none

WITNESS_S = 2.0
ARRIVAL_S = 60.0
SLICE_S = 2.0
HANDSHAKE_S = 5.0


def link_of(args: argparse.Namespace) -> CareLink:
    def replace(theirs: int, holds: bool) -> None:
        held = parse_held(args.held) if holds else ()
        adopt = f"{os.getpid()},{theirs},{args.restore}"
        command = [sys.executable, "-m", "remus_ha.receive.keeper", args.uuid, "--adopt", adopt]
        start_detached([*command, "--held", ",".join(map(str, held))], [theirs, *held], 2)

    return CareLink(args.link, replace)


def await_primary(
    incoming: Incoming, link: CareLink, reply: Callable[[bytes], None], disk_ports: list[int]
) -> tuple[ControlChannel, Callable[[bytes], Stream]]:
    """Listen, say so in one line, wait for the primary. Raises RemusError."""
    own = create()
    context = server_context(own, decode_certificate(incoming.request.certificate))
    control = listen(incoming.address, incoming.control_port)
    # What passes a firewall is known before: a port and the next one.
    data = listen(incoming.address, incoming.control_port + 1 if incoming.control_port else 0)
    relay = relay_of(incoming.request, own, data, link)
    line = to_line(
        Reply(
            address=incoming.address,
            control_port=control.getsockname()[1],
            data_port=data.getsockname()[1],
            certificate=encode_certificate(own.certificate),
            backup_host=incoming.host,
            backup_nonce=incoming.nonce,
            wall_clock_s=time.time(),
            warnings=warnings_of(incoming),
            disk_ports=tuple(disk_ports),
            tls=relay is not None,
        )
    )
    reply(line)
    channel = await_channel(control, context, link)
    session = bytes.fromhex(incoming.request.session)
    if relay is not None:
        return channel, lambda key: relay.accept(session, key, ARRIVAL_S / 6)
    return channel, lambda key: Stream(accept_data(data, session, key, ARRIVAL_S / 6))


def warnings_of(incoming: Incoming) -> tuple[str, ...]:
    """What the operator should know before anything happens."""
    request = incoming.request
    if not request.libvirt or presence.runs():
        return ()
    absent = Absent(host=incoming.host, name=request.guest_name)
    return (f"{absent}\n  {absent.advice}",)


def relay_of(
    request: Request, own: Credentials, data: socket.socket, link: CareLink
) -> Relay | None:
    """What decrypts the stream; None where it comes in the clear. Raises RelayGone."""
    if request.tls == Tls.DISABLED.value:
        return None
    try:
        relay = Relay(own, decode_certificate(request.certificate), data)
        relay.wait_ready(link.beat)
        return relay
    except RelayGone:
        if request.tls == Tls.REQUIRED.value:
            raise
        return None


def await_channel(
    listener: socket.socket, context: PinnedContext, link: CareLink
) -> ControlChannel:
    """The primary's control connection; strangers are turned away. Raises RemusError."""
    end = time.monotonic() + ARRIVAL_S
    while True:
        link.beat()
        if not readable(listener, SLICE_S):
            if time.monotonic() >= end:
                raise Unreachable(address="the primary", detail="it did not connect in time")
            continue
        try:
            return accept_control(listener, context, HANDSHAKE_S)
        except HandshakeFailed:
            if time.monotonic() >= end:
                raise


def say(path: Path) -> Callable[[bytes], None]:
    """Write into the FIFO that the front end reads the answer from."""

    def write(line: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # ENXIO: nobody waits for it
        try:
            os.write(fd, line)
        finally:
            os.close(fd)

    return write


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="remus-ha-receive", description=__doc__)
    parser.add_argument("uuid")
    parser.add_argument("--restore", type=int, required=True)
    parser.add_argument("--link", type=int, required=True)
    parser.add_argument("--held", default="")
    parser.add_argument("--restart", action="store_true")
    args = parser.parse_args(argv)
    link = link_of(args)
    lock = rundir.Lock("backup", args.uuid)
    if not lock.take():
        print(f"another process receives {args.uuid}", file=sys.stderr)
        link.quit()
        return 1
    shares.hold("backup", args.uuid)
    try:
        incoming = Incoming.load(args.uuid)
    except IncomingMissing:
        link.quit()  # cleaned up by the process before: nothing to take up
        return 1
    except RemusError as e:
        print(e, file=sys.stderr)
        return 1  # its keeper keeps holding
    reply = say(incoming.directory() / "reply.fifo")
    backup: Backup | None = None
    try:
        backup = prepare(incoming, link, args)
        if args.restart:
            backup.take_over()
        else:
            ports = backup.start_stores()
            backup.receive(*await_primary(incoming, link, reply, ports))
    except RemusError as e:
        print(e, file=sys.stderr)
        if args.restart:
            return 1
        with contextlib.suppress(OSError):  # it has had its answer, or does not wait any more
            reply(refusal(e))
        if backup is not None:
            backup.give_up()
        link.quit()
        return 1
    return 0


def prepare(incoming: Incoming, link: CareLink, args: argparse.Namespace) -> Backup:
    """The process with everything it needs. Raises RemusError."""
    store = incoming.request.witness
    kept = Kept("backup", args.uuid, store=store, durable=not is_none(store))
    if not args.restart:
        kept.begin()
    driver = open_witness(store, force=True, memory=kept.memory())
    return Backup(
        incoming=incoming,
        restore_pid=args.restore,
        held=parse_held(args.held),
        driver=driver,
        asker=Asker(driver, WITNESS_S),
        kept=kept,
        link=link,
        killpoint=KillPoint() if args.restart else KillPoint.from_environment(os.environ),
    )


if __name__ == "__main__":
    sys.exit(main())
