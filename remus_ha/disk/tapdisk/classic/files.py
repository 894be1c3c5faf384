"""What lies in a daemon's directory: all of it is named by the address, as the FIFOs are."""

from dataclasses import dataclass
from pathlib import Path

from remus_ha.disk.tapdisk.fifo import control_path


@dataclass(frozen=True, slots=True)
class Files:
    """Of one disk's daemon. ``address`` is ``HOST:PORT`` as the disk's name has it."""

    directory: Path
    address: str

    @property
    def nbd(self) -> Path:
        """Where the disk is served, unless the operator named another place."""
        return self._named("nbd")

    @property
    def relay(self) -> Path:
        """Where the kernel's nbd driver gets the disk."""
        return self._named("relay")

    @property
    def relay_pid(self) -> Path:
        """Of whoever serves there."""
        return self._named("relay-pid")

    @property
    def orders(self) -> Path:
        return self._named("orders")

    @property
    def setup(self) -> Path:
        return self._named("json")

    @property
    def log(self) -> Path:
        return self._named("log")

    @property
    def lock(self) -> Path:
        """Held by the daemon while it lives."""
        return self._named("lock")

    def _named(self, kind: str) -> Path:
        base = control_path(self.address, self.directory)
        return base.with_name(f"{base.name}.{kind}")
