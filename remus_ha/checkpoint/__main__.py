"""Start the primary's per-guest process: ``python -m remus_ha.checkpoint UUID``.

The guardian is its only caller; see ``remus_ha.checkpoint.process`` for what it does.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from remus_ha import rundir, shares
from remus_ha.caretaker import CareLink, start_detached
from remus_ha.checkpoint.process import Primary
from remus_ha.checkpoint.session import Session, SessionMissing
from remus_ha.exceptions import RemusError
from remus_ha.kept import Kept, claimed
from remus_ha.killpoint import KillPoint
from remus_ha.loading import load
from remus_ha.netbuf.base import NetbufDriver, VifRef
from remus_ha.stream.credentials import Credentials, decode_certificate, load_key
from remus_ha.stream.sealed import Relay
from remus_ha.witness.asker import Asker
from remus_ha.witness.load import open_witness
from remus_ha.witness.none import is_none

WITNESS_S = 2.0


def buffer_of(session: Session, *, adopt: bool, held: bool) -> NetbufDriver:
    """The guest's output buffer, in place: passing (new session) or holding (after a crash)."""
    cls = load(session.netbuf_entry)
    options: dict[str, Any] = {"guest": session.uuid, "session": session.session}
    if session.netbuf_script:
        options |= {"script": session.netbuf_script, "partial": session.netbuf_partial}
    buffer: NetbufDriver = cls(**options)
    vifs = [VifRef(v.name, v.mac, v.devid, session.domid) for v in session.vifs]
    buffer.setup(vifs, adopt=adopt, held=held)
    if adopt and not held:
        buffer.pass_through()  # an adopted plug holds until it is told otherwise
    return buffer


def credentials_of(session: Session) -> Credentials | None:
    """This session's key, read once and removed; None for a process that was started again."""
    path = rundir.directory("primary", session.uuid) / "key"
    try:
        return load_key(path)
    except FileNotFoundError:
        return None


def relay_of(session: Session, own: Credentials | None) -> Relay | None:
    """What encrypts the stream; None where it is not to be, or none follows. Raises RelayGone."""
    if own is None or not session.tls:
        return None
    return Relay(own, decode_certificate(session.peer_certificate))


def link_of(fd: int, uuid: str) -> CareLink:
    def replace(theirs: int, _holds: bool) -> None:
        adopt = f"{os.getpid()},{theirs}"
        command = [sys.executable, "-m", "remus_ha.checkpoint.guardian", uuid, "--adopt", adopt]
        start_detached(command, [theirs], 2)

    return CareLink(fd, replace)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="remus-ha-checkpoint", description=__doc__)
    parser.add_argument("uuid")
    parser.add_argument("--link", type=int, required=True)
    parser.add_argument("--held", default="")
    parser.add_argument("--restart", action="store_true")
    args = parser.parse_args(argv)
    link = link_of(args.link, args.uuid)
    lock = rundir.Lock("primary", args.uuid)
    if not lock.take():
        print(f"another process protects {args.uuid}", file=sys.stderr)
        link.quit()
        return 1
    shares.hold("primary", args.uuid)
    try:
        process = prepare(args.uuid, link, restart=args.restart)
    except SessionMissing:
        link.quit()  # cleaned up by the process before: nothing to take up
        return 1
    except RemusError as e:
        print(e, file=sys.stderr)
        if not args.restart:
            result = {"state": "error", "error": e.as_dict()}
            directory = rundir.directory("primary", args.uuid)
            rundir.write_json(directory / "result.json", result)
            (directory / "session.json").unlink(missing_ok=True)
            shares.give_back("primary", args.uuid)
            link.quit()
        return 1
    process.run()
    return 0


def prepare(uuid: str, link: CareLink, *, restart: bool) -> Primary:
    """The process with everything it needs in place. Raises RemusError; then nothing is left."""
    session = Session.load(uuid)
    kept = Kept("primary", uuid, store=session.witness, durable=not is_none(session.witness))
    if not restart:
        kept.begin()
    witness = open_witness(
        session.witness, force=True, entry=session.witness_entry or None, memory=kept.memory()
    )
    killpoint = KillPoint() if restart else KillPoint.from_environment(os.environ)
    # A session that had not won its claim has changed nothing: it begins anew, output untouched.
    resumes = restart and claimed("primary", uuid)
    buffer = buffer_of(session, adopt=restart, held=resumes)
    try:
        credentials = credentials_of(session)
        return Primary(
            session=session,
            credentials=credentials,
            relay=relay_of(session, credentials),
            buffer=buffer,
            witness=witness,
            asker=Asker(witness, WITNESS_S),
            kept=kept,
            link=link,
            killpoint=killpoint,
            resumes=resumes,
        )
    except RemusError:
        if not restart:
            buffer.teardown(release=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
