"""What a host gives to protections: memory for copies, and the link that the streams go over.

The limits are the configuration's, judged anew for each protection that is to begin; those that run
are left alone. ``remus_ha.shares`` says what is taken.
"""

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from remus_ha import conf
from remus_ha.exceptions import RemusError
from remus_ha.hypervisor.errors import NotEnoughMemory
from remus_ha.shares import Share

# What Xen itself takes for a domain beside its memory (page tables, vCPU structures).
OVERHEAD_KIB = 8 * 1024
_WAYS = {"primary": "out of it", "backup": "into it"}


class MemoryTaken(RemusError):
    code = "LIMIT-001"
    cause = (
        "{host} gives {limit_mib} MiB of memory to guests of other hosts; {taken}. The guest needs"
        " {needed_mib} MiB"
    )
    remedy = (
        "Choose another backup, end one of those protections ('remus-ha unprotect'), or raise"
        " memory_mib of [backup] in {path} on {host}."
    )


class MemoryKept(RemusError):
    code = "LIMIT-002"
    cause = (
        "{host} keeps {kept_mib} MiB of memory free; {free_mib} MiB are, and the guest needs"
        " {needed_mib} MiB"
    )
    remedy = (
        "Free memory there, choose another backup, or lower keep_free_mib of [backup] in {path} on"
        " {host}."
    )


class LinkTaken(RemusError):
    code = "LIMIT-003"
    cause = (
        "the replication link of {host} carries {limit} Mbit/s {way}; {taken}. The protection wants"
        " {wanted} Mbit/s"
    )
    remedy = (
        "Give it less (--rate), end one of those protections ('remus-ha unprotect'), or raise"
        " link_mbit_s of [replication] in {path} on {host}, if the link carries more."
    )


class RateMissing(RemusError):
    code = "LIMIT-004"
    cause = (
        "the replication link of {host} is counted, and the protection has no rate; of {limit}"
        " Mbit/s {way} {left} are left"
    )
    remedy = (
        "Give it one (--rate), or one to all that are protected from this host: rate_mbit_s of"
        " [replication] in {path}."
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """One host's; ``memory_mib`` None: whatever is free, ``link_mbit_s`` 0: not counted."""

    memory_mib: int | None = None
    keep_free_mib: int = 0
    link_mbit_s: int = 0

    @classmethod
    def read(cls) -> Self:
        """Raises ConfigBroken."""
        return cls(
            conf.number("backup", "memory_mib"),
            conf.number("backup", "keep_free_mib") or 0,
            conf.number("replication", "link_mbit_s") or 0,
        )


def memory_obstacles(
    limits: Limits, wanted: Share, others: Sequence[Share], free_kib: int
) -> list[RemusError]:
    """``free_kib``: what no domain has, and none is about to get."""
    found: list[RemusError] = []
    here = {"host": socket.gethostname(), "path": conf.PATH}
    limit, taken = limits.memory_mib, memory_taken_mib(others)
    if limit is not None and wanted.memory_kib > (limit - taken) * 1024:
        told = f"{taken} MiB are taken" + memory_by(others)
        needed = _mib(wanted.memory_kib)
        found.append(MemoryTaken(**here, limit_mib=limit, taken=told, needed_mib=needed))
    free, needed = free_kib // 1024, _mib(wanted.memory_kib + OVERHEAD_KIB)
    if free < needed:
        found.append(NotEnoughMemory(free_mib=free, needed_mib=needed))
    elif free < needed + limits.keep_free_mib:
        kept = limits.keep_free_mib
        found.append(MemoryKept(**here, kept_mib=kept, free_mib=free, needed_mib=needed))
    return found


def link_obstacles(limits: Limits, wanted: Share, others: Sequence[Share]) -> list[RemusError]:
    """Of one direction: the shares are all of one role."""
    limit = limits.link_mbit_s
    if not limit:
        return []
    here = {"host": socket.gethostname(), "path": conf.PATH}
    taken, way = link_taken_mbit_s(limits, others), _WAYS[wanted.role]
    if not wanted.rate_mbit_s:
        return [RateMissing(**here, limit=limit, way=way, left=max(0, limit - taken))]
    if taken + wanted.rate_mbit_s <= limit:
        return []
    told = f"{taken} are taken" + rates_by(others)
    return [LinkTaken(**here, limit=limit, way=way, taken=told, wanted=wanted.rate_mbit_s)]


def memory_taken_mib(shares: Sequence[Share]) -> int:
    """Of the memory that is given to guests of other hosts."""
    return sum(_mib(share.memory_kib) for share in shares)


def link_taken_mbit_s(limits: Limits, shares: Sequence[Share]) -> int:
    """One that has no bound, begun before the link was counted, has all of the link."""
    return sum(share.rate_mbit_s or limits.link_mbit_s for share in shares)


def memory_by(shares: Sequence[Share]) -> str:
    """Which guest has how many MiB of it, in brackets."""
    return _by((share.name, _mib(share.memory_kib)) for share in shares)


def rates_by(shares: Sequence[Share]) -> str:
    """Which guest has how many Mbit/s of a link, in brackets."""
    return _by((share.name, share.rate_mbit_s or "no bound") for share in shares)


def _mib(kib: int) -> int:
    return -(-kib // 1024)


def _by(amounts: Iterable[tuple[str, object]]) -> str:
    told = ", ".join(f"{name} {amount}" for name, amount in amounts)
    return f" ({told})" if told else ""
