"""The ``plug`` driver: sch_plug on an ifb of each vif's own.

What a guest sends reaches dom0 as *ingress* of its vif, and ingress cannot queue. So a filter that
matches every frame of every ethertype redirects ingress to an ifb, and the ifb's root is a plug.
What the plug lets out comes back as received on the vif, so bridge or Open vSwitch see it as ever.
The plug lives in the kernel: output stays held when this process dies.

The hooks of the epoch loop send requests that ``setup`` has put together, with one system call
for all vifs, and return when the kernel has acknowledged each of them.
"""

import contextlib
from collections.abc import Sequence

from remus_ha.netbuf import ports as own
from remus_ha.netbuf import scripted
from remus_ha.netbuf.base import NetbufDriver, VifRef, VifStats
from remus_ha.netbuf.completion import CompletionTap
from remus_ha.netbuf.devices import SLOW_IMPORT, Devices
from remus_ha.netbuf.errors import LimitOutOfRange
from remus_ha.netbuf.kernel import load_modules
from remus_ha.netbuf.lease import Lease
from remus_ha.netbuf.messages import (
    Action,
    Queue,
    change_plug,
    find_queue,
    get_root_qdisc,
    parse_qdisc,
    read_queue,
)
from remus_ha.netbuf.modes import Hook, Mode, after, holds
from remus_ha.netbuf.ports import Builder, Port
from remus_ha.netbuf.refusal import refusal
from remus_ha.netbuf.rtnl import Batch, Channel, Reply, RequestRefused
from remus_ha.netbuf.scripted import ScriptBuilder

DEFAULT_LIMIT_BYTES = 64 << 20
LOWEST_LIMIT_BYTES = 1 << 20  # one frame with segmentation offload may be half of that
HIGHEST_LIMIT_BYTES = (1 << 32) - 1


class Gauge:
    """Keeps the highest backlog per port, in octets, out of the kernel's answers."""

    def __init__(self, ports: int) -> None:
        self.highest = [0] * ports
        self._places: dict[int, int] = {}

    def __call__(self, index: int, payload: memoryview) -> None:
        place = self._places.get(len(payload))
        if place is None:
            place = self._places[len(payload)] = find_queue(payload)
        self.see(index, read_queue(payload, place))

    def see(self, index: int, queue: Queue) -> None:
        """Take note of a fill."""
        self.highest[index] = max(self.highest[index], queue.backlog_bytes)


class PlugDriver(NetbufDriver):
    """Buffers of one guest's vifs; ``guest`` and ``session`` are written on the devices.

    With ``script`` that one makes them and takes them down; ``partial``: also where it does not
    redirect every frame, which ``weaknesses`` tells then.
    """

    imports = (SLOW_IMPORT,)

    def __init__(
        self,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        *,
        guest: str = "",
        session: str = "",
        script: str = "",
        partial: bool = False,
    ) -> None:
        if not LOWEST_LIMIT_BYTES <= limit_bytes <= HIGHEST_LIMIT_BYTES:
            raise LimitOutOfRange(
                limit_bytes=limit_bytes, lowest=LOWEST_LIMIT_BYTES, highest=HIGHEST_LIMIT_BYTES
            )
        self._limit_bytes = limit_bytes
        self._guest = guest
        self._session = session
        self._script, self._partial = script, partial
        self._weaknesses: tuple[str, ...] = ()
        self._mode = Mode.ABSENT
        self._channel = Channel()
        self._taps: list[CompletionTap] = []
        self._use((), ())

    @property
    def mode(self) -> Mode:
        return self._mode

    @property
    def weaknesses(self) -> tuple[str, ...]:
        return self._weaknesses

    def setup(self, vifs: Sequence[VifRef], *, adopt: bool = False, held: bool = False) -> None:
        held = held or adopt
        mode = after(self._mode, Hook.SETUP_HELD if held else Hook.SETUP_PASSING)
        load_modules(own_ifbs=not self._script)
        with Devices() as devices, contextlib.ExitStack() as undo:
            undo.callback(self._forget)
            builder = self._builder(devices, undo)
            found = {vif: self._find_or_make(builder, vif, adopt) for vif in vifs}
            there = {vif: port for vif, port in found.items() if port is not None}
            self._use(tuple(there), tuple(there.values()))
            # A new plug buffers, an adopted one may do anything.
            self._tell(self._buffer if held else self._open)
            for port in self._ports:
                if port.source is not None:
                    self._taps.append(CompletionTap(port.source.name))
                builder.connect(port)
            undo.pop_all()
        self._weaknesses = tuple(builder.weaknesses)
        self._mode = mode

    def postsuspend(self) -> None:
        self._run(Hook.POSTSUSPEND, self._buffer)

    def preresume(self) -> None:
        self._mode = after(self._mode, Hook.PRERESUME)

    def commit(self) -> None:
        self._run(Hook.COMMIT, self._release, self._gauge)

    def hold(self) -> None:
        if holds(self._mode):
            return
        self._run(Hook.HOLD, self._buffer)

    def pass_through(self) -> None:
        self._run(Hook.PASS_THROUGH, self._open)

    def teardown(self, *, release: bool) -> None:
        mode = after(self._mode, Hook.TEARDOWN)
        if release and self._ports:
            self.pass_through()
        with Devices() as devices:
            (scripted if self._script else own).dismantle(
                devices, self._channel, self._ports, release=release
            )
        self._forget()
        self._mode = mode

    def stats(self) -> tuple[VifStats, ...]:
        queues: dict[int, Queue] = {}

        def keep(index: int, payload: memoryview) -> None:
            queues[index] = parse_qdisc(payload)[1]
            self._gauge.see(index, queues[index])

        self._tell(self._look, keep)
        return tuple(self._stats(n, vif, queues[n]) for n, vif in enumerate(self._vifs))

    def close(self) -> None:
        self._forget()
        self._channel.close()

    def _forget(self) -> None:
        for tap in self._taps:
            tap.close()
        self._taps.clear()
        self._use((), ())

    def _builder(self, devices: Devices, undo: contextlib.ExitStack) -> Builder | ScriptBuilder:
        if not self._script:
            return Builder(devices, self._channel, undo)
        return ScriptBuilder(devices, self._channel, undo, self._script, partial=self._partial)

    def _find_or_make(
        self, builder: Builder | ScriptBuilder, vif: VifRef, adopt: bool
    ) -> Port | None:
        lease = Lease(vif=vif.name, guest=self._guest, session=self._session)
        return builder.find_or_make(vif, lease, self._limit_bytes, adopt=adopt)

    def _use(self, vifs: Sequence[VifRef], ports: Sequence[Port]) -> None:
        """Prepare every request that the hooks send for these ports."""
        indexes = [port.ifb.index for port in ports]
        look = [get_root_qdisc(index) for index in indexes]
        release = [change_plug(index, Action.RELEASE_ONE) for index in indexes]
        self._vifs = tuple(vifs)
        self._ports = tuple(ports)
        self._gauge = Gauge(len(ports))
        self._look = Batch(look)
        self._buffer = Batch([change_plug(index, Action.BUFFER) for index in indexes])
        self._release = Batch(look + release)
        self._open = Batch([change_plug(index, Action.RELEASE_INDEFINITE) for index in indexes])

    def _run(self, hook: Hook, batch: Batch, on_reply: Reply | None = None) -> None:
        """One hook. Where it fails some plugs may have obeyed, and the mode says so."""
        mode = after(self._mode, hook)
        self._mode = Mode.DOUBTFUL
        self._tell(batch, on_reply)
        self._mode = mode

    def _tell(self, batch: Batch, on_reply: Reply | None = None) -> None:
        try:
            self._channel.transact(batch, on_reply)
        except RequestRefused as e:
            port = self._ports[e.index % len(self._ports)]
            raise refusal(e.code, port.ifb.name, "tell a plug") from e

    def _stats(self, index: int, vif: VifRef, queue: Queue) -> VifStats:
        return VifStats(
            vif=vif.name,
            backlog_bytes=queue.backlog_bytes,
            backlog_packets=queue.backlog_packets,
            drops=queue.drops,
            highest_bytes=self._gauge.highest[index],
            limit_bytes=self._limit_bytes,
        )
