"""What a host must not keep after a story."""

import json
from dataclasses import dataclass

from remus_ha.lab.host import Host

_PROBE = r"""
import json, os, pathlib, subprocess
def out(*words):
    return subprocess.run(words, capture_output=True, text=True).stdout
def arguments(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
run = pathlib.Path("/run/remus-ha")
files = [str(p) for role in ("primary", "backup") for p in (run / role).glob("*/*")]
print(json.dumps({
    "links": [l["ifname"] for l in json.loads(out("ip", "-j", "link"))],
    "qdiscs": [f"{q['kind']} on {q['dev']}" for q in json.loads(out("tc", "-j", "qdisc"))],
    "domains": [line.split()[0] for line in out("xl", "list").splitlines()[2:]],
    "files": files,
    "processes": {p: arguments(p) for p in os.listdir("/proc") if p.isdigit()},
}))
"""


@dataclass(frozen=True, slots=True)
class HostState:
    """What a host has now."""

    links: list[str]
    qdiscs: list[str]
    domains: list[str]
    files: list[str]
    processes: dict[str, str]

    def leftovers(self) -> list[str]:
        """Everything of ours; empty on a clean host."""
        found = [f"link {name}" for name in self.links if name.startswith("rh")]
        found += [f"qdisc {q}" for q in self.qdiscs if q.startswith(("plug", "ingress"))]
        strange = ("--incoming", "(null)")
        found += [f"domain {name}" for name in self.domains if any(s in name for s in strange)]
        found += [f"file {f}" for f in self.files if not f.endswith("/result.json")]
        return found + [f"process {pid}: {a}" for pid, a in self.processes.items() if self._ours(a)]

    def _ours(self, arguments: str) -> bool:
        """A restoring xl that has a domain stays as its monitor, as after ``xl create``."""
        if "migrate-receive" in arguments:
            return not self.domains
        return any(name in arguments for name in ("remus_ha.", "remus-ha ", "libxl-save-helper"))


def state_of(host: Host) -> HostState:
    """Look at a running host."""
    done = host.shell.run("exec python3 -", stdin=_PROBE.encode(), timeout_s=60)
    return HostState(**json.loads(done.stdout))


def forget_results(host: Host) -> None:
    """Remove what a finished protection tells about itself, and its logs."""
    host.shell.run("rm -rf /run/remus-ha/primary /run/remus-ha/backup /var/log/remus-ha/*.log")
