"""What a host must not keep after a story."""

from dataclasses import dataclass

from remus_ha.lab.host import Host

# Sections of lines, each after a line with its name. No interpreter: it costs seconds there.
_PROBE = """
# Whoever has said that it ends may be about to.
for pid in $(pgrep -f 'remus_ha[.](checkpoint|receive)'); do
    timeout 30 tail --pid=$pid -s 0.05 -f /dev/null
done
echo :links; ls /sys/class/net
echo :qdiscs; tc qdisc
echo :domains; xl list | tail -n +3
echo :files; find /run/remus-ha/primary /run/remus-ha/backup -type f -o -type s -o -type p
echo :processes; ps -eo pid=,args=
"""


@dataclass(frozen=True, slots=True)
class HostState:
    """What a host has now."""

    links: list[str]
    qdiscs: list[str]
    domains: list[str]
    files: list[str]
    processes: list[str]

    def leftovers(self) -> list[str]:
        """Everything of ours; empty on a clean host."""
        found = [f"link {name}" for name in self.links if name.startswith("rh")]
        kinds = ("qdisc plug", "qdisc ingress")
        found += [q for q in self.qdiscs if q.startswith(kinds)]
        strange = ("--incoming", "(null)")
        found += [f"domain {line}" for line in self.domains if any(s in line for s in strange)]
        found += [f"file {f}" for f in self.files if not f.endswith("/result.json")]
        return found + [f"process {line}" for line in self.processes if self._ours(line)]

    def _ours(self, process: str) -> bool:
        """A restoring xl that has a domain stays as its monitor, as after ``xl create``."""
        if "xl migrate-receive" in process:
            return not self.domains
        names = ("remus_ha.", "/remus-ha ", "libxl-save-helper", "nbdkit")
        return any(name in process for name in names)


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
