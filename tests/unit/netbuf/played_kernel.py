"""A kernel of files, in place of ``Devices`` and ``Channel``, which a shell script can change too.

A device is a directory: ``index``, ``kind``, ``root`` (its qdisc), ``alias``, ``up``, and
``ingress`` where it has such a qdisc, with a filter a line: classifier, protocol, the device
redirected to.
"""

import errno
import struct
from pathlib import Path
from typing import Self

from remus_ha.netbuf import messages
from remus_ha.netbuf.devices import Link
from remus_ha.netbuf.filters import ETH_P_ALL, Redirect
from remus_ha.netbuf.rtnl import Batch, Reply, RequestRefused, attribute, attributes

NOWHERE = 0
_HEADER = struct.Struct("=IHHII")
_NO_FRAMES = attribute(messages.TCA_STATS_QUEUE, bytes(20))
EMPTY_PLUG = (
    bytes(messages.TCMSG.size)
    + attribute(messages.TCA_KIND, b"plug\0")
    + attribute(messages.TCA_STATS2, _NO_FRAMES)
)


class Kernel:
    """Both; ``told`` is what plugs were told, by their device's name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: dict[str, list[tuple[int, int]]] = {}
        self._indexes = 0
        root.mkdir()

    # --- a test's

    def add(self, name: str, kind: str, **files: str) -> Path:
        directory = self.root / name
        directory.mkdir()
        (directory / "kind").write_text(kind)
        for file, text in files.items():
            (directory / file).write_text(text)
        return directory

    def picture(self) -> dict[str, str]:
        """All of it, but for numbers."""
        files = (f for f in self.root.rglob("*") if f.is_file() and f.name != "index")
        return {str(f.relative_to(self.root)): f.read_text() for f in files}

    # --- Devices

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def links(self) -> tuple[Link, ...]:
        return tuple(self._link(directory) for directory in sorted(self.root.iterdir()))

    def find(self, name: str) -> Link | None:
        return next((link for link in self.links() if link.name == name), None)

    def root_kind(self, link: Link) -> str | None:
        return self._read(link, "root")

    def ingress_kind(self, link: Link) -> str | None:
        if self._read(link, "clsact") is not None:
            return "clsact"
        return None if self._read(link, "ingress") is None else "ingress"

    def redirects(self, link: Link) -> tuple[Redirect, ...]:
        lines = (self._read(link, "ingress") or "").splitlines()  # clsact lists them elsewhere
        return tuple(self._filter(*line.split()) for line in lines)

    def leading_to(self, link: Link) -> tuple[Link, ...]:
        leads = (o for o in self.links() if any(r.target == link.index for r in self.redirects(o)))
        return tuple(leads)

    def set_alias(self, link: Link, alias: str) -> None:
        assert len(alias) < 256
        self._write(link, "alias", alias)

    def bring_up(self, link: Link) -> None:
        self._write(link, "up", "")

    def bring_down(self, link: Link) -> None:
        self._remove(link, "up")

    def delete_ingress(self, link: Link) -> None:
        self._remove(link, "ingress")

    # --- Channel

    def transact(self, batch: Batch, on_reply: Reply | None = None) -> None:
        octets = memoryview(batch.octets)
        for index in range(batch.count):
            length, kind, *_ = _HEADER.unpack_from(octets)
            self._obey(index, kind, octets[_HEADER.size : length])
            if kind == messages.RTM_GETQDISC and on_reply is not None:
                on_reply(index, memoryview(EMPTY_PLUG))
            octets = octets[length:]

    def _obey(self, index: int, kind: int, payload: memoryview) -> None:
        _, ifindex, _, parent, _ = messages.TCMSG.unpack_from(payload)
        link = next((link for link in self.links() if link.index == ifindex), None)
        if link is None:
            raise RequestRefused(errno.ENODEV, index)
        if kind == messages.RTM_SETLINK:
            self._remove(link, "alias")
        elif parent == messages.TC_H_INGRESS:
            assert kind == messages.RTM_DELQDISC
            self._remove(link, "ingress")
            self._remove(link, "clsact")
        elif self._read(link, "root") != "plug":
            raise RequestRefused(errno.EINVAL, index)
        elif kind == messages.RTM_GETQDISC:
            pass  # answered by the caller
        elif kind == messages.RTM_DELQDISC:
            self._remove(link, "root")
        else:
            start, _ = attributes(payload, messages.TCMSG.size)[messages.TCA_OPTIONS]
            self.told.setdefault(link.name, []).append(struct.unpack_from("=iI", payload, start))

    def close(self) -> None:
        pass

    # --- files

    def _link(self, directory: Path) -> Link:
        index = directory / "index"
        if not index.exists():
            self._indexes += 1
            index.write_text(str(self._indexes))
        alias = directory / "alias"
        return Link(
            name=directory.name,
            index=int(index.read_text()),
            kind=(directory / "kind").read_text().strip(),
            alias=alias.read_text() if alias.exists() else None,
            in_flight=0,
        )

    def _filter(self, kind: str, protocol: str, device: str) -> Redirect:
        link = self.find(device)
        everything = kind == "matchall" and int(protocol, 0) == ETH_P_ALL
        return Redirect(kind, 10, int(protocol, 0), link.index if link else NOWHERE, everything)

    def _read(self, link: Link, file: str) -> str | None:
        try:
            return (self.root / link.name / file).read_text().strip()
        except FileNotFoundError:
            return None

    def _write(self, link: Link, file: str, text: str) -> None:
        (self.root / link.name / file).write_text(text)

    def _remove(self, link: Link, file: str) -> None:
        (self.root / link.name / file).unlink(missing_ok=True)
