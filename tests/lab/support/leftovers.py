"""What a host must not keep after a story."""

from dataclasses import dataclass

from remus_ha.lab.host import Host
from tests.lab.support.domains import LOG_DIRTY

# Sections of lines, each after a line with its name. No interpreter: it costs seconds there.
_PROBE = f"""
# Whoever has said that it ends may be about to.
for pid in $(pgrep -f 'remus_ha[.](checkpoint|receive)'); do
    timeout 30 tail --pid=$pid -s 0.05 -f /dev/null
done
echo :links; ls /sys/class/net
echo :qdiscs; tc qdisc
echo :domains; xl list | tail -n +3
echo :log_dirty; {LOG_DIRTY}
echo :vifs; xenstore-ls -f /local/domain/0/backend/vif | grep /mac
echo :records; grep -H ^state= /run/remus-ha/vif/* /var/lib/remus-ha/vif/*
echo :files; find /run/remus-ha/primary /run/remus-ha/backup -type f -o -type s -o -type p
echo :processes; ps -eo pid=,args=
"""


@dataclass(frozen=True, slots=True)
class HostState:
    """What a host has now: ``domains`` as xl lists them, ``log_dirty`` the domids in that mode.

    ``vifs`` are xenstore's lines of their MACs, ``records`` the lines of our vif records' states,
    those that count first.
    """

    links: list[str]
    qdiscs: list[str]
    domains: list[str]
    log_dirty: list[str]
    vifs: list[str]
    records: list[str]
    files: list[str]
    processes: list[str]

    def leftovers(self) -> list[str]:
        """Everything of ours; empty on a clean host."""
        found = [f"link {name}" for name in self.links if name.startswith("rh")]
        kinds = ("qdisc plug", "qdisc ingress")
        found += [q for q in self.qdiscs if q.startswith(kinds)]
        strange = ("--incoming", "(null)")
        found += [f"domain {line}" for line in self.domains if any(s in line for s in strange)]
        found += [f"domain that stands still {line}" for line in self.domains if _stands(line)]
        found += [f"log-dirty mode of domain {domid}" for domid in self.log_dirty]
        found += [f"shut vif {mac}" for mac in sorted(self._macs() & self._shut())]
        found += [f"file {f}" for f in self.files if not f.endswith("/result.json")]
        return found + [f"process {line}" for line in self.processes if self._ours(line)]

    def _macs(self) -> set[str]:
        """Of the domains that are here."""
        here = {line.split()[-5] for line in self.domains}
        rows = (line.split("/", 7) for line in self.vifs)
        return {row[7].split('"')[1] for row in rows if row[6] in here}

    def _shut(self) -> set[str]:
        """MACs whose record, the first one, says so."""
        states: dict[str, str] = {}
        for line in self.records:
            path, _, state = line.rpartition(":state=")
            states.setdefault(path.rpartition("/")[2], state)
        return {mac for mac, state in states.items() if state == "shut"}

    def _ours(self, process: str) -> bool:
        """A restoring xl that has a domain stays as its monitor, as after ``xl create``."""
        if "xl migrate-receive" in process:
            return not self.domains
        names = ("remus_ha.", "/remus-ha ", "libxl-save-helper", "nbdkit", "qemu-nbd")
        return any(name in process for name in names)


def _stands(line: str) -> bool:
    """Paused, suspended or crashed, as the last but one column of ``xl list`` says."""
    return bool(set("psc") & set(line.split()[-2]))


def parse(text: str) -> HostState:
    """What the probe printed."""
    sections: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith(":"):
            sections[line[1:]] = []
        else:
            sections[next(reversed(sections))].append(line.strip())
    return HostState(**sections)


def state_of(host: Host) -> HostState:
    """Look at a running host."""
    return parse(host.shell.run(_PROBE, check=False).stdout.decode())


def forget_results(host: Host) -> None:
    """Remove what a finished protection tells about itself, and its logs."""
    host.shell.run("rm -rf /run/remus-ha/primary /run/remus-ha/backup /var/log/remus-ha/*.log")
