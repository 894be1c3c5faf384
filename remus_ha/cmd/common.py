"""What several commands share: finding a guest's session."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from remus_ha import rundir
from remus_ha.control_socket import NotRunning, ask
from remus_ha.exceptions import RemusError


class NotProtected(RemusError):
    code = "PROTECT-007"
    cause = "'{name}' is not protected from this host"
    remedy = "Look at 'remus-ha status' here and on the other host."


class OrderRefused(RemusError):
    """The error of the guest's process, carried over: its code, cause and remedy."""

    code = "PROTECT-027"
    cause = "the guest's process refuses: {code}: {cause}"
    remedy = "{remedy}"


def order(path: Path, uuid: str, request: dict[str, Any]) -> Any:
    """What a per-guest process answers. Raises NotRunning, OrderRefused."""
    answer = ask(path, uuid, request)
    if "error" in answer:
        raise OrderRefused(**answer["error"])
    return answer


def uuid_of(text: str) -> str:
    """A UUID as everything here writes it, for argparse."""
    try:
        return str(UUID(text))
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"'{text}' is no UUID") from e


def session_uuid(role: str, name: str) -> str:
    """The guest of that name or UUID in this host's sessions. Raises NotProtected."""
    for uuid in rundir.sessions(role):
        if name in (uuid, session_name(role, uuid)):
            return uuid
    raise NotProtected(name=name)


def session_name(role: str, uuid: str) -> str:
    fields: Any = rundir.read_json(rundir.directory(role, uuid) / "session.json") or {}
    return str(fields.get("name") or fields.get("request", {}).get("guest_name", uuid))


def wait_end(
    role: str, uuid: str, seconds: float, look_s: float, each: Callable[[], Any] = lambda: None
) -> tuple[str, bool]:
    """The state that a guest's process is in, and whether it has ended; after ``seconds`` at most.

    ``each`` is done before every look. It may raise NotRunning.
    """
    path = rundir.control_socket(role, uuid)
    deadline = time.monotonic() + seconds
    state = "silent"
    while time.monotonic() < deadline:
        try:
            each()
            state = ask(path, uuid, {"command": "status"})["state"]
        except NotRunning:
            # Silence alone says nothing: a process that ended on purpose has written its result.
            result: Any = rundir.read_json(rundir.directory(role, uuid) / "result.json")
            if result and not rundir.is_running(role, uuid):
                return str(result["state"]), True
        time.sleep(look_s)
    return state, False
