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


# A dump of all domains to Xen's own log; prints the numbers of those in log-dirty mode.
LOG_DIRTY = (
    "xl debug-keys q; xl dmesg | awk '/pressed/ {n = 0} /General information for domain/ {d = $NF}"
    " /paging assistance:.* log_dirty/ {found[n++] = d + 0}"
    " END {for (i = 0; i < n; i++) print found[i]}'"
)


def tracks_dirty_pages(host: Host, name: str) -> bool:
    """Whether Xen keeps a domain in log-dirty mode."""
    domid = host.shell.text(f"xl domid {name}").strip()
    return domid in host.shell.text(LOG_DIRTY).split()
