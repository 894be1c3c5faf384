"""The one line each way over the channel that starts the receiver (ssh, or any command).

The primary's line says which guest is coming and with which certificate its control channel
will authenticate itself; the backup's line says where it listens and its own certificate, or
why it refuses. JSON, bounded, versioned; anything else is a typed error.
"""

import json
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from remus_ha.disk.spec import DiskSpec, valid
from remus_ha.exceptions import RemusError
from remus_ha.stream.modes import Tls

VERSION = 3
CHECKED = b'{"version":1,"checked":true}\n'  # the answer of one that only looked
_SESSION = re.compile("[0-9a-f]{32}")
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LIMIT = 1 << 20  # octets of a line: a domain's configuration is a few KiB


class HandshakeRubbish(RemusError):
    code = "RECV-001"
    cause = "the other side answered something that is not remus_ha: {detail}"
    remedy = (
        "Run the command by hand: 'ssh HOST remus-ha receive --version' must print one line; a"
        " login shell there must not print anything of its own."
    )


class HandshakeVersion(RemusError):
    code = "RECV-002"
    cause = "the other side speaks version {theirs} of the handshake, this one {ours}"
    remedy = "Install the same release of remus_ha on both hosts."


class ReceiverRefused(RemusError):
    """The backup's own error, carried over: its code, cause and remedy."""

    code = "RECV-003"
    cause = "the backup refuses: {code}: {cause}"
    remedy = "{remedy}"


@dataclass(frozen=True, slots=True)
class VifSpec:
    """One vif of the guest, as the backup must bring it up."""

    devid: int
    mac: str
    bridge: str
    script: str


@dataclass(frozen=True, slots=True)
class Request:
    """What the primary sends. ``config`` is libxl's domain configuration, domid left out."""

    session: str  # 32 hexadecimal digits
    guest_uuid: str
    guest_name: str
    memory_kib: int
    vcpus: int
    kind: str
    config: dict[str, Any]
    vifs: tuple[VifSpec, ...]
    primary_host: str
    primary_nonce: str
    xen_version: str
    witness: str  # URL; empty: none (forced)
    witness_life: str  # the incarnation that the primary has seen; empty: none (forced)
    detect_ms: int
    certificate: str  # base64 of DER
    wall_clock_s: float
    disks: tuple[DiskSpec, ...]
    disk_key: str  # remus_ha.disk.tls; empty without disks
    forced: bool  # -F: the operator takes what is dangerous
    tls: str  # of the memory stream
    minded: bool  # whether xl stays as the copy's monitor after a failover
    libvirt: dict[str, Any]  # of a guest of libvirt's what that knows; empty: it is none
    rate_mbit_s: int  # of the memory stream; 0: no bound
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Reply:
    """What the backup answers once it listens."""

    address: str
    control_port: int
    data_port: int
    certificate: str
    backup_host: str
    backup_nonce: str
    wall_clock_s: float
    warnings: tuple[str, ...] = field(default_factory=tuple)
    disk_ports: tuple[int, ...] = ()  # one per disk of the request
    tls: bool = False  # whether the memory stream is to be encrypted
    version: int = VERSION


def to_line(message: Request | Reply) -> bytes:
    """One line with its newline."""
    return json.dumps(asdict(message), separators=(",", ":")).encode() + b"\n"


def refusal(*errors: RemusError) -> bytes:
    """The line of a backup that cannot take the guest, with every reason that it has found."""
    told = [error.as_dict() for error in errors]
    return json.dumps({"version": VERSION, "error": told[0], "errors": told}).encode() + b"\n"


def parse_refusals(line: bytes) -> list[RemusError]:
    """All reasons of a refusal. Raises HandshakeRubbish."""
    message = _object(line)
    errors = message.get("errors", [message.get("error")])
    if not isinstance(errors, list):
        raise HandshakeRubbish(detail="errors that are no list")
    return [_refused(error) for error in errors]


def _refused(error: Any) -> RemusError:
    try:
        return ReceiverRefused(**{k: str(error[k]) for k in ("code", "cause", "remedy")})
    except (TypeError, KeyError) as e:
        raise HandshakeRubbish(detail="an error without its fields") from e


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}


def _type_name(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else str(getattr(annotation, "__name__", ""))


def _check_types(message: Any) -> None:
    """JSON has the fields' names right; their types are checked here. Raises TypeError."""
    for field_ in fields(message):
        wanted = _TYPES.get(_type_name(field_.type))
        value = getattr(message, field_.name)
        strange = isinstance(value, bool) and wanted != (bool,)  # to Python it is an integer
        if wanted and (strange or not isinstance(value, wanted)):
            raise TypeError(f"{field_.name} is {value!r}")
        if _type_name(field_.type).startswith("dict") and not isinstance(value, dict):
            raise TypeError(f"{field_.name} is no object")


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > LIMIT:
        raise HandshakeRubbish(detail=f"a line of more than {LIMIT} octets")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as e:
        shown = line[:80].decode(errors="replace").strip() or "nothing"
        raise HandshakeRubbish(detail=shown) from e
    if not isinstance(message, dict) or "version" not in message:
        raise HandshakeRubbish(detail="JSON without a version")
    if message["version"] != VERSION:
        raise HandshakeVersion(theirs=message["version"], ours=VERSION)
    return message


def parse_request(line: bytes) -> Request:
    """Raises HandshakeRubbish, HandshakeVersion."""
    message = _object(line)
    try:
        message["vifs"] = tuple(VifSpec(**vif) for vif in message["vifs"])
        message["disks"] = tuple(DiskSpec(**disk) for disk in message["disks"])
        request = Request(**message)
        _check_types(request)
        for part in (*request.vifs, *request.disks):
            _check_types(part)
        if not all(valid(disk) for disk in request.disks):
            raise TypeError("a disk that cannot be")
        if not _SESSION.fullmatch(request.session) or not _UUID.fullmatch(request.guest_uuid):
            raise TypeError("a session or UUID of the wrong form")
        if min(request.memory_kib, request.rate_mbit_s) < 0:
            raise TypeError("memory or a rate below nothing")
        if request.tls not in {mode.value for mode in Tls}:
            raise TypeError(f"tls is {request.tls!r}")
        return request
    except (TypeError, KeyError) as e:
        raise HandshakeRubbish(detail=f"a request without its fields ({e})") from e


def parse_reply(line: bytes) -> Reply:
    """Raises HandshakeRubbish, HandshakeVersion, ReceiverRefused."""
    message = _object(line)
    if "error" in message:
        raise _refused(message["error"])
    try:
        if not isinstance(message["warnings"], list):
            raise TypeError("warnings are no list")
        message["warnings"] = tuple(str(w) for w in message["warnings"])
        message["disk_ports"] = tuple(int(port) for port in message["disk_ports"])
        reply = Reply(**message)
        _check_types(reply)
        return reply
    except (TypeError, KeyError, ValueError, OverflowError) as e:
        raise HandshakeRubbish(detail=f"a reply without its fields ({e})") from e
