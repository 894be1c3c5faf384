"""The guest's program as a process of this machine, in network and process namespaces of its own.

Its shutdown and reboot end only the process namespace that it is the first process of.
"""

import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

from remus_ha.lab.network import Network
from remus_ha.lab.plan import GuestPlan
from remus_ha.lab.process import wait_readable


class NativeGuest:
    """One vif, ``eth0``, in the bridge of the guests' link."""

    def __init__(self, network: Network, program: Path) -> None:
        self.plan = GuestPlan("native", 50)
        self._network = network
        self._program = program
        self._namespace = Network(f"{network.name}-g")

    def __enter__(self) -> "NativeGuest":
        name = self._namespace.name
        _run("ip", "netns", "add", name)
        _run(
            *f"ip -n {self._network.name} link add g0 type veth".split(),
            *f"peer name eth0 netns {name}".split(),
        )
        _run(*f"ip -n {self._network.name} link set g0 master guest up".split())
        for words in (
            "link set lo up",
            f"link set eth0 address {self.plan.mac()} up",
            f"addr add {self.plan.ipv4()}/24 brd + dev eth0",
            f"addr add {self.plan.ipv6()}/64 dev eth0 nodad",
        ):
            _run("ip", "-n", name, *words.split())
        unshare = [shutil.which("unshare") or "unshare", "--pid", "--fork", "--kill-child"]
        with self._namespace.enter():
            self.child = subprocess.Popen(
                [*unshare, self._program, "name=native", "number=50", "chatter=100"],
                stdout=subprocess.PIPE,
            )
        assert self.child.stdout is not None
        assert wait_readable(self.child.stdout.fileno(), time.monotonic() + 20)
        assert self.child.stdout.readline() == b"ledger: native is up\n"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.child.kill()
        self.child.wait()
        assert self.child.stdout is not None
        self.child.stdout.close()
        self._namespace.remove()


def _run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=20)
