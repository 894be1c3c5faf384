"""``remus-ha failover``: the guest goes on at its backup, on request, without losing an epoch."""

import argparse
from typing import Any

from remus_ha import rundir
from remus_ha.checkpoint.moving import FailoverPaused
from remus_ha.checkpoint.session import Session
from remus_ha.cmd.common import order, session_uuid, wait_end
from remus_ha.control_socket import ask
from remus_ha.core.register import Kind, Register
from remus_ha.core.states import Protection
from remus_ha.exceptions import RemusError
from remus_ha.witness.load import open_witness
from remus_ha.witness.none import is_none

END_S = 90.0
LOOK_S = 0.2
WITNESS_S = 5.0


class FailoverWitness(RemusError):
    code = "PROTECT-033"
    cause = "the register says {holder} of '{name}', not that both hosts are its pair"
    remedy = "Look at 'remus-ha status' on both hosts; nothing was changed."


class FailoverUnwitnessed(RemusError):
    code = "PROTECT-024"
    cause = "'{name}' is protected without a witness: both copies could believe that they live"
    remedy = "Protect it with --witness, or move it with 'xl migrate' after 'remus-ha unprotect'."


class FailoverFailed(RemusError):
    code = "PROTECT-025"
    cause = "'{name}' was not moved to '{host}': it is {state} here"
    remedy = (
        "Look at {log} and at the backup's log. Where it runs on here it is unprotected: protect"
        " it again."
    )


class StillFailingOver(RemusError):
    code = "PROTECT-026"
    cause = "'{name}' is still {state} after {seconds:.0f} s"
    remedy = "The witness has to answer first; look at 'remus-ha status' on both hosts."


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "failover",
        help="move a protected guest to its backup",
        description="Run on the primary. The guest ends its last epoch here and goes on at the"
        " backup; nothing that it did is lost. Should the backup be unable to, it goes on here.",
    )
    p.add_argument("domain", metavar="DOMAIN", help="name or UUID of a protected guest")
    p.add_argument("--dry-run", action="store_true", help="only say whether it could be moved")
    p.set_defaults(run=run)


def check_register(session: Session) -> None:
    """The guest shall not be stopped for a witness that does not answer. Raises RemusError."""
    if is_none(session.witness):
        raise FailoverUnwitnessed(name=session.name)
    witness = open_witness(session.witness, force=False, entry=session.witness_entry or None)
    try:
        witness.connect(WITNESS_S)
        register = witness.read(session.uuid, WITNESS_S).register
    finally:
        witness.close()
    if register is None or register.kind is not Kind.PAIR:
        raise FailoverWitness(name=session.name, holder=_words(register))


def _words(register: Register | None) -> str:
    return str(register.holder) if register and register.holder else "nothing"


def run(args: argparse.Namespace) -> int:
    uuid = session_uuid("primary", args.domain)
    session = Session.load(uuid)
    path = rundir.control_socket("primary", uuid)
    order(path, uuid, {"command": "failover", "dry_run": True})
    check_register(session)
    if args.dry_run:
        print(f"{session.name} can be moved to {session.peer_host}")
        return 0
    order(path, uuid, {"command": "failover"})

    def look() -> None:
        if ask(path, uuid, {"command": "status"})["state"] == Protection.PROTECTED.value:
            raise FailoverPaused(name=session.name)

    state, ended = wait_end("primary", uuid, END_S, LOOK_S, look)
    if not ended:
        raise StillFailingOver(name=session.name, state=state, seconds=END_S)
    if state != "failed_over":
        log = rundir.LOGS / f"primary-{uuid}.log"
        raise FailoverFailed(name=session.name, host=session.peer_host, state=state, log=log)
    print(f"{session.name} runs on {session.peer_host}, unprotected")
    return 0
