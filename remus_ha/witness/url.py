"""Witness URLs: ``etcd://HOST[:PORT][,HOST[:PORT]...][/PREFIX]`` and ``etcd+https://...``.

The latter takes ``?ca=FILE&cert=FILE&key=FILE``. Without ``ca`` the system's certificate
authorities are used; ``cert`` and ``key`` go together.
"""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from remus_ha.witness.errors import WitnessUrlInvalid

DEFAULT_PORT = 2379
DEFAULT_PREFIX = "/remus"
# Python's own urlsplit takes no list of hosts of which one is in brackets, from 3.13 on.
_URL = re.compile(
    r"(?P<scheme>etcd(?:\+https)?)://(?P<hosts>[^/?]*)(?P<path>[^?]*)\??(?P<query>.*)"
)
_ENDPOINT = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>\d+))?"
)
_PREFIX = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
_TLS_OPTIONS = frozenset({"ca", "cert", "key"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One member of the store."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM form; empty means not given."""

    ca: str = ""
    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class EtcdUrl:
    """Where an etcd is and which part of its key space is ours (``prefix`` has no last slash)."""

    endpoints: tuple[Endpoint, ...]
    prefix: str = DEFAULT_PREFIX
    tls: Tls | None = None

    def __str__(self) -> str:
        """What an operator recognises; without file names."""
        scheme = "etcd+https" if self.tls else "etcd"
        return f"{scheme}://{','.join(map(str, self.endpoints))}{self.prefix}"


def parse_etcd_url(url: str) -> EtcdUrl:
    """Raises WitnessUrlInvalid."""
    try:
        parts = _URL.fullmatch(url)
        if parts is None:
            raise ValueError("it must start with etcd:// or etcd+https://")
        return EtcdUrl(
            endpoints=tuple(_endpoint(text) for text in parts["hosts"].split(",")),
            prefix=_prefix(parts["path"]),
            tls=_tls(parts["scheme"], parts["query"]),
        )
    except ValueError as e:
        raise WitnessUrlInvalid(url=url, why=str(e)) from e


def _endpoint(text: str) -> Endpoint:
    match = _ENDPOINT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not HOST:PORT")
    port = int(match["port"] or DEFAULT_PORT)
    if not 0 < port < 65536:
        raise ValueError(f"{port} is not a port")
    return Endpoint(match["v6"] or match["name"], port)


def _prefix(path: str) -> str:
    prefix = path.rstrip("/") or DEFAULT_PREFIX
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{path!r} is not a key prefix")
    return prefix


def _tls(scheme: str, query: str) -> Tls | None:
    options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    if scheme == "etcd":
        if options:
            raise ValueError("options are for etcd+https:// only")
        return None
    unknown = options.keys() - _TLS_OPTIONS
    if unknown:
        raise ValueError(f"unknown option {', '.join(sorted(unknown))}")
    if ("cert" in options) != ("key" in options):
        raise ValueError("cert and key go together")
    return Tls(**options)
