"""A block device on a host, by device-mapper, which a story can let fail or hang."""

from typing import Self

from remus_ha.lab.host import Host

_LOOP, _BEHIND = "/dev/loop7", "/srv/behind.img"
_DMSETUP = "DM_DISABLE_UDEV=1 dmsetup"  # dom0 has no udev, which would make the device's name


class MappedDevice:
    """One of ``mib`` MiB, from entering on; the host has to be up on leaving. One per host."""

    def __init__(self, host: Host, name: str, mib: int) -> None:
        self._host, self._name, self._mib = host, name, mib
        self.path = f"/dev/mapper/{name}"

    def __enter__(self) -> Self:
        table = f"0 {self._mib << 11} linear {_LOOP} 0"
        self._host.shell.run(
            f"truncate -s {self._mib}M {_BEHIND} && losetup {_LOOP} {_BEHIND}"
            f" && echo {table} | {_DMSETUP} create {self._name}"
        )
        return self

    def __exit__(self, *_: object) -> None:
        # After a power cut only the file is there.
        undo = f"{_DMSETUP} remove --retry -f {self._name} && losetup -d {_LOOP}"
        self._host.shell.run(f"[ ! -e {self.path} ] || {{ {undo}; }} && rm {_BEHIND}")

    def fail(self) -> None:
        """Every request from now on ends in an error."""
        table = f"0 {self._mib << 11} error"
        self._host.shell.run(
            f"echo {table} | {_DMSETUP} reload {self._name} && {_DMSETUP} resume {self._name}"
        )

    def hang(self, *, frozen: bool) -> None:
        """Requests are kept until ``go_on``; ``frozen``: the file system on it stands still too."""
        how = "" if frozen else "--noflush --nolockfs"
        self._host.shell.run(f"{_DMSETUP} suspend {how} {self._name}")

    def go_on(self) -> None:
        self._host.shell.run(f"{_DMSETUP} resume {self._name}")
