"""Nodes of xenstore for whoever only reads and removes a few."""

from typing import Any, Self

from remus_ha.hypervisor import errors
from remus_ha.hypervisor.xen import paths


class Xenstore:
    """One connection, closed at the end of a ``with`` block. Raises CommandFailed."""

    def __init__(self, xs: Any, error: type[Exception]) -> None:
        """``xs``: a connection of ``xen.lowlevel.xs``, ``error`` what that raises."""
        self._xs, self._error = xs, error

    @classmethod
    def open(cls) -> "Xenstore":
        """Raises ToolMissing, UnknownVersion, CommandFailed."""
        paths.add_bindings(paths.running_version())
        from xen.lowlevel import xs  # noqa: PLC0415  (needs dom0)

        try:
            return cls(xs.xs(), xs.Error)
        except xs.Error as e:
            raise errors.CommandFailed(command="xenstore-read", detail=e) from e

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._xs.close()

    def read(self, path: str) -> str:
        """A node's value; empty where there is no such node."""
        try:
            value: bytes | None = self._xs.read("", path)
        except self._error as e:
            raise errors.CommandFailed(command=f"xenstore-read {path}", detail=e) from e
        return (value or b"").decode(errors="replace")

    def remove(self, path: str) -> None:
        """Fine where there is no such node."""
        try:
            self._xs.rm("", path)
        except self._error as e:
            raise errors.CommandFailed(command=f"xenstore-rm {path}", detail=e) from e
