"""Domains that stand in a story's way: built on a host, never run."""

from collections.abc import Iterator
from contextlib import contextmanager

from remus_ha.lab.host import Host

_PAUSED = """
name = "{name}"
type = "{kind}"
kernel = "/lab/vmlinux"
ramdisk = "/lab/guest.img"
memory = {memory}
{more}
"""


@contextmanager
def paused_domain(
    host: Host, name: str, *, kind: str = "pvh", memory: int = 80, more: str = ""
) -> Iterator[None]:
    """A domain that has been built and never runs."""
    text = _PAUSED.format(name=name, kind=kind, memory=memory, more=more)
    host.shell.run(f"cat >/tmp/{name}.cfg && xl create -p -q /tmp/{name}.cfg", stdin=text.encode())
    try:
        yield
    finally:
        host.shell.run(f"xl destroy {name}")


def free_mib(host: Host) -> int:
    """Memory that no domain has."""
    lines = host.shell.text("xl info").splitlines()
    return int(next(line for line in lines if "free_memory" in line).split(":")[1])


_TRACKS = """
import sys
sys.path.append("/usr/lib/xen-4.17/lib/python")
from xen.lowlevel import xc
off, enable_logdirty = 0, 2
handle = xc.xc()
try:
    handle.shadow_control({domid}, enable_logdirty)
    handle.shadow_control({domid}, off)
    print("no")
except xc.Error as e:
    print("yes", e)
"""


def tracks_dirty_pages(host: Host, name: str) -> bool:
    """Whether Xen keeps a domain in log-dirty mode.

    Nothing reads that mode, but switching it on is refused where it is on.
    """
    domid = host.shell.text(f"xl domid {name}").strip()
    said = host.shell.run("python3 -", stdin=_TRACKS.format(domid=domid).encode()).stdout.decode()
    assert said.startswith("no") or "Invalid argument" in said, said
    return said.startswith("yes")
