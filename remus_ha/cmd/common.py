"""What several commands share: finding a guest's session."""

from typing import Any

from remus_ha import rundir
from remus_ha.exceptions import RemusError


class NotProtected(RemusError):
    code = "PROTECT-007"
    cause = "'{name}' is not protected from this host"
    remedy = "Look at 'remus-ha status' here and on the other host."


def session_uuid(role: str, name: str) -> str:
    """The guest of that name or UUID in this host's sessions. Raises NotProtected."""
    for uuid in rundir.sessions(role):
        if name in (uuid, session_name(role, uuid)):
            return uuid
    raise NotProtected(name=name)


def session_name(role: str, uuid: str) -> str:
    fields: Any = rundir.read_json(rundir.directory(role, uuid) / "session.json") or {}
    return str(fields.get("name") or fields.get("request", {}).get("guest_name", uuid))
