"""What happens in the demo, in order: hosts, guest, clients, protection, power cut, the rest.

Nothing is judged here: ``Story.run`` returns what was seen, whatever that was.
"""

import json
import shlex
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from remus_ha.lab.cluster import Lab
from remus_ha.lab.demo import figures
from remus_ha.lab.demo.clocks import HostClock
from remus_ha.lab.demo.errors import ProtectionEnded, RemoteEnded
from remus_ha.lab.demo.figures import Checkpoint, Client, DiskSeen, Observed
from remus_ha.lab.demo.journal import Entry, Failover, failover, parse
from remus_ha.lab.demo.remote import Dialogue, Follower
from remus_ha.lab.demo.timeline import Timeline
from remus_ha.lab.disks import DiskControl
from remus_ha.lab.errors import LabError, TimedOut
from remus_ha.lab.ledger import LedgerClient
from remus_ha.lab.plan import GuestPlan
from remus_ha.lab.xlconfig import GuestSpec, plain_disks

GUEST = "web"
PRIMARY, BACKUP = "a", "b"
_LOOK_S = 1.0
_TELL_EVERY = 5
_FAILOVER_S = 60.0
_DISK_MIB = 16
_DISK_KIB_S = 256


@dataclass(frozen=True, slots=True)
class Script:
    """How long what is shown, and how the guest is protected."""

    unprotected_s: float = 8.0
    protected_s: float = 20.0
    afterwards_s: float = 10.0
    interval_ms: int = 200
    detect_ms: int = 2000
    rate_per_s: float = 25.0


class Story:
    """One run in ``lab``, which is down before and is left up."""

    def __init__(self, lab: Lab, timeline: Timeline, script: Script) -> None:
        self._lab, self._script = lab, script
        self._timeline = timeline
        self._clocks: dict[str, HostClock] = {}
        self._clients: list[tuple[str, LedgerClient]] = []
        self._entries: list[Entry] = []
        self._news = threading.Condition()
        self._epochs: list[Checkpoint] = []
        self._disk: DiskControl
        self._told: list[tuple[int, str]] = []

    def run(self) -> Observed:
        """Raises the lab's and the product's errors when it does not come to the cut."""
        with ExitStack() as stack:
            self._prepare(stack)
            unprotected = self._compare_with()
            samples = self._protect(stack)
            protected = self._watch_protected(samples)
            clock_error_ms = self._clocks[BACKUP].measure().error_s * 1e3
            self._look(samples)
            cut_s = self._cut()
            fate = self._watch_failover(cut_s)
            self._watch_afterwards(fate is not None)
            disk = self._judge_disk()
            return Observed(
                began_s=self._timeline.began_s,
                clients=self._stop_clients(),
                unprotected_s=unprotected,
                protected_s=protected,
                cut_s=cut_s,
                ended_s=time.monotonic(),
                failover=fate,
                checkpoints=tuple(self._epochs),
                committed=self._committed(),
                home=self._home(),
                clock_error_ms=clock_error_ms,
                disk=disk,
            )

    # -- until the guest is protected

    def _prepare(self, stack: ExitStack) -> None:
        self._say("two Xen hosts, a and b, and a witness (etcd), from nothing")
        self._lab.up()
        self._lab.push()
        for name in (PRIMARY, BACKUP):
            clock = stack.enter_context(closing(HostClock(self._lab.host(name))))
            self._clocks[name] = clock
        with self._lab.progress.step(f"create guest {GUEST} on {PRIMARY}"):
            spec = GuestSpec(GUEST, vifs=2, disks=plain_disks(1, _DISK_MIB))
            plan = self._lab.guests.create(spec, PRIMARY)
        self._disk = self._lab.guests.disks(GUEST)
        self._disk.start(_DISK_KIB_S)
        self._say(f"the guest writes to its disk, {_DISK_KIB_S} KiB/s")
        self._start_clients(plan, stack)

    def _start_clients(self, plan: GuestPlan, stack: ExitStack) -> None:
        for label, proto, address in (
            ("TCP over IPv4", "tcp", plan.ipv4(0)),
            ("TCP over IPv6", "tcp", plan.ipv6(1)),
            ("UDP over IPv4", "udp", plan.ipv4(0)),
        ):
            client = LedgerClient(
                self._lab.enter,
                address,
                proto,
                name=f"demo{len(self._clients)}",
                rate_per_s=self._script.rate_per_s,
            )
            stack.enter_context(client)
            self._clients.append((label, client))
            self._tell_client(label, f"asks {address}, {self._script.rate_per_s:g} times a second")

    def _compare_with(self) -> tuple[float, float]:
        """The clients' latency without protection; the interval of it."""
        start_s = time.monotonic() + 1.0
        time.sleep(1.0 + self._script.unprotected_s)
        end_s = time.monotonic()
        self._tell_latency("unprotected", start_s, end_s)
        return start_s, end_s

    def _protect(self, stack: ExitStack) -> Dialogue:
        """Returns the conversation with the primary's process about its epochs."""
        uuid = self._uuid()
        for host, role in ((PRIMARY, "primary"), (BACKUP, "backup")):
            log = f"/var/log/remus-ha/{role}-{uuid}.log"
            command = f"exec tail -q -n +1 -F {log}"
            take = self._taker(host)
            stack.enter_context(closing(Follower(self._lab.host(host), command, take)))
        witness = self._lab.witness.url.replace("http:", "etcd:")
        self._remus(PRIMARY, "witness", "init", witness)
        timing = ("-i", str(self._script.interval_ms), "--detect", str(self._script.detect_ms))
        self._remus(PRIMARY, "protect", "--detach", *timing, "--witness", witness, GUEST, BACKUP)
        socket = f"/run/remus-ha/primary/{uuid}/control.sock"
        samples = Dialogue(self._lab.host(PRIMARY), f"exec socat - UNIX-CONNECT:{socket}")
        stack.enter_context(closing(samples))
        return samples

    def _uuid(self) -> str:
        path = f"xenstore-read /local/domain/$(xl domid {GUEST})/vm"
        return self._lab.host(PRIMARY).shell.text(path).strip().removeprefix("/vm/")

    def _remus(self, host: str, *words: str) -> str:
        command = ["remus-ha", *words]
        self._timeline.say(f"host {host}", f"$ {shlex.join(command)}")
        return self._lab.ssh(host, command, timeout_s=120).stdout.decode()

    def _taker(self, host: str) -> Callable[[str], None]:
        def take(line: str) -> None:
            entry = parse(line)
            if entry is None:
                return
            happened_s = self._clocks[host].offset.of_wall(entry.host_s)
            self._timeline.say(f"host {host}", entry.text, happened_s)
            with self._news:
                self._entries.append(entry)
                self._news.notify_all()

        return take

    # -- protected

    def _watch_protected(self, samples: Dialogue) -> tuple[float, float]:
        start_s = time.monotonic()
        for count in range(1, 1 + round(self._script.protected_s / _LOOK_S)):
            time.sleep(max(0.0, start_s + count * _LOOK_S - time.monotonic()))
            self._look(samples)
            self._save(f"line {count}")
            if count % _TELL_EVERY == 0:
                self._tell_epochs()
        end_s = time.monotonic() - 1.0
        self._tell_latency("protected", start_s, end_s)
        return start_s, end_s

    def _save(self, text: str) -> None:
        """A client has a line saved on the guest's disk, and is told so."""
        self._told.append((self._disk.save(text), text))

    def _look(self, samples: Dialogue) -> None:
        """Take the epochs that have been finished since the last look. ProtectionEnded."""
        after = self._epochs[-1].n if self._epochs else 0
        try:
            answer = json.loads(samples.ask(json.dumps({"command": "samples", "after": after})))
        except RemoteEnded as error:
            with self._news:
                last = self._entries[-1].text if self._entries else "none"
            raise ProtectionEnded(last=last) from error
        self._epochs += [self._checkpoint(sample) for sample in answer]

    def _checkpoint(self, sample: dict[str, Any]) -> Checkpoint:
        here = self._clocks[PRIMARY].offset.of_monotonic
        return Checkpoint(
            n=sample["n"],
            requested_s=here(sample["requested"]),
            suspended_s=here(sample["suspended"]),
            resumed_s=here(sample["resumed"]),
            acked_s=here(sample["acked"]),
            octets=sample["octets"],
        )

    def _tell_epochs(self) -> None:
        pause = figures.spread([c.pause_ms for c in self._epochs])
        if pause is not None:
            rate = figures.rate_per_s(self._epochs)
            self._say(
                f"epoch {self._epochs[-1].n}: {rate:.1f} checkpoints/s, "
                f"pause {pause.median:.0f} ms (95 %: {pause.p95:.0f} ms)"
            )

    # -- the cut and what follows

    def _cut(self) -> float:
        host = self._lab.host(PRIMARY)
        cut_s = time.monotonic()
        host.cut()
        self._timeline.say("lab", f"POWER CUT of host {PRIMARY}", cut_s)
        return cut_s

    def _watch_failover(self, cut_s: float) -> Failover | None:
        deadline = cut_s + _FAILOVER_S
        with self._news:
            fate = self._news.wait_for(lambda: failover(self._entries), deadline - time.monotonic())
        for label, client in self._clients:
            try:
                client.wait_answer(cut_s, max(0.0, deadline - time.monotonic()))
            except TimedOut as error:
                self._tell_client(label, f"no answer any more: {error}")
        self._tell_first_answers(cut_s)
        return fate.moved(self._clocks[BACKUP].offset.wall_s) if fate else None

    def _tell_first_answers(self, cut_s: float) -> None:
        firsts = []
        for client in self._seen_by_clients():
            last_s, first_s = figures.silence([client], cut_s, time.monotonic())
            if first_s in client.answered_s:
                firsts.append((first_s, client.label, first_s - last_s))
        for first_s, label, silent_s in sorted(firsts):
            self._tell_client(label, f"answers again after {silent_s * 1e3:.0f} ms", first_s)

    def _watch_afterwards(self, alive: bool) -> None:
        if not alive:
            return
        start_s = time.monotonic()
        time.sleep(self._script.afterwards_s)
        self._tell_latency(f"on host {BACKUP}", start_s, time.monotonic())

    def _judge_disk(self) -> DiskSeen:
        """What the guest itself finds on its disk, and whether the saved lines are there."""
        found: list[str | None] = []
        verdict = None
        try:
            self._disk.stop()
            verdict = self._disk.verify()
            found += [self._disk.saved(number) for number, _ in self._told]
        except LabError as error:
            self._tell_client("disk", f"no answer: {error}")
        found += [None] * (len(self._told) - len(found))
        return DiskSeen(tuple(text for _, text in self._told), tuple(found), verdict)

    def _stop_clients(self) -> tuple[Client, ...]:
        for label, client in self._clients:
            verdict = client.stop()
            state = "whole" if verdict.connections_survived else "BROKEN"
            self._tell_client(label, f"{verdict.answers} of {verdict.sent} answered, {state}")
        return self._seen_by_clients()

    def _committed(self) -> int:
        known: list[dict[str, Any]] = json.loads(self._remus(BACKUP, "status", "--json"))
        return max((int(one.get("committed", -1)) for one in known), default=-1)

    def _home(self) -> str | None:
        found = [guest.host for guest in self._lab.guests.list() if guest.name == GUEST]
        return found[0] if found else None

    # -- lines

    def _say(self, text: str) -> None:
        self._timeline.say("demo", text)

    def _tell_client(self, label: str, text: str, at_s: float | None = None) -> None:
        self._timeline.say("client", f"{label}: {text}", at_s)

    def _tell_latency(self, when: str, start_s: float, end_s: float) -> None:
        clients = self._seen_by_clients()
        latency = figures.latency_ms(clients, (start_s, end_s))
        if latency is not None:
            self._timeline.say(
                "client",
                f"{when}: answers take {latency.median:.1f} ms (95 %: {latency.p95:.1f} ms)",
            )

    def _seen_by_clients(self) -> tuple[Client, ...]:
        return tuple(
            Client(label, tuple(client.history()), client.report())
            for label, client in self._clients
        )
