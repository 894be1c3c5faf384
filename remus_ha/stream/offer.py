"""One line of text by which a side says where it listens and with which certificate.

Everything that the other side needs is in the one line, because the channel that starts the
receiver (ssh, or any command) may be used up by it::

    remus-ha/1 port=4711 data_port=4712 cert=<base64 of DER>
"""

import re
from dataclasses import dataclass

from remus_ha.stream.credentials import Credentials, decode_certificate, encode_certificate
from remus_ha.stream.errors import NotAnOffer

VERSION = 1
MAX_LINE = 8192

_LINE = re.compile(
    r"remus-ha/(?P<version>\d{1,5}) port=(?P<port>\d{1,5}) data_port=(?P<data_port>\d{1,5})"
    r" cert=(?P<cert>[A-Za-z0-9+/=]+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Offer:
    """Where one side listens (port 0: nowhere), and its certificate in DER."""

    port: int
    data_port: int
    certificate: bytes


def offer_line(own: Credentials, port: int = 0, data_port: int = 0) -> str:
    """The line, with its line feed."""
    cert = encode_certificate(own.certificate)
    return f"remus-ha/{VERSION} port={port} data_port={data_port} cert={cert}\n"


def parse_line(line: str | bytes) -> Offer:
    """The inverse of ``offer_line``. Raises NotAnOffer for anything else."""
    text = line.decode("ascii", "replace") if isinstance(line, bytes) else line
    if len(text) > MAX_LINE:
        raise NotAnOffer(detail=f"a line of {len(text)} characters")
    match = _LINE.fullmatch(text.rstrip("\r\n"))
    if match is None:
        raise NotAnOffer(detail=f"it said {_excerpt(text)}")
    if int(match["version"]) != VERSION:
        raise NotAnOffer(detail=f"it speaks version {match['version']}, this host {VERSION}")
    return Offer(_port(match["port"]), _port(match["data_port"]), decode_certificate(match["cert"]))


def _port(digits: str) -> int:
    port = int(digits)
    if port > 65535:
        raise NotAnOffer(detail=f"{port} is no port")
    return port


def _excerpt(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return repr(first[:80]) if first else "nothing"
