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
try:
    xc.xc().shadow_control({domid}, 0)
    print("yes")
except xc.Error as e:
    print("no", e)
"""


def tracks_dirty_pages(host: Host, name: str) -> bool:
    """Whether Xen still keeps a domain in log-dirty mode; afterwards it does not.

    Nothing reads that mode: switching it off is refused where it is off.
    """
    domid = host.shell.text(f"xl domid {name}").strip()
    said = host.shell.run("python3 -", stdin=_TRACKS.format(domid=domid).encode()).stdout.decode()
    assert said.startswith("yes") or "Invalid argument" in said, said
    return said.startswith("yes")
