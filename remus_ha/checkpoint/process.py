"""The primary's per-guest process: it wires the epoch loop to the table that decides.

Everything happens in one thread and one loop. The straight-line part is ``_stream``: connect,
copy, epochs until something is wrong. All else is events into the table and its actions.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.attention import Attention
from remus_ha.caretaker import CareLink
from remus_ha.checkpoint.blackhole import Blackhole
from remus_ha.checkpoint.disks import Disks
from remus_ha.checkpoint.epochs import Epochs, Sample, Timing, Trouble
from remus_ha.checkpoint.figures import Figures
from remus_ha.checkpoint.moving import FailoverPaused, FailoverState, FailoverUnknown
from remus_ha.checkpoint.outflow import Outflow
from remus_ha.checkpoint.peer import Peer, Where
from remus_ha.checkpoint.quiesced import paused_by_us, quiesced
from remus_ha.checkpoint.session import Session, restarts
from remus_ha.checkpoint.steady import SteadyDevices
from remus_ha.checkpoint.verifying import Verifying, VerifyState, VerifyUnknown
from remus_ha.control_socket import ControlSocket
from remus_ha.core import primary
from remus_ha.core.pacing import Pace
from remus_ha.core.primary import Action, Event, Facts, State
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.core.states import PRIMARY, Protection
from remus_ha.core.table import Machine
from remus_ha.core.witness import Ledger
from remus_ha.deciding import ACCEPT_STORE, Decider
from remus_ha.disk.base import DiskDriver, Mirrored, Stores
from remus_ha.disk.lineage import Lineage, generation_of, in_session, record
from remus_ha.disk.store.recover import forget
from remus_ha.exceptions import RemusError
from remus_ha.guest_vifs import GuestVifs
from remus_ha.hotplug import records
from remus_ha.hypervisor.base import Life, MemoryStream
from remus_ha.hypervisor.libvirt import presence
from remus_ha.hypervisor.libvirt.errand import Errand
from remus_ha.hypervisor.libvirt.words import GIVE_BACK, HAND_OVER, WATCHED
from remus_ha.hypervisor.xen import xlconfig
from remus_ha.hypervisor.xen.domain import XenDomain
from remus_ha.hypervisor.xen.driver import XenDriver
from remus_ha.hypervisor.xen.monitor import is_minded, relieve
from remus_ha.hypervisor.xen.savers import Savers
from remus_ha.journal import Journal
from remus_ha.kept import Kept
from remus_ha.killpoint import KillPoint
from remus_ha.loading import load
from remus_ha.loop import Loop
from remus_ha.netbuf.base import NetbufDriver
from remus_ha.netbuf.modes import Mode
from remus_ha.stream.credentials import Credentials
from remus_ha.stream.frames import (
    DISK_VERIFY,
    FAIL_OVER,
    DiskHashed,
    Hello,
    Phase,
    Role,
    StopReason,
)
from remus_ha.stream.sealed import Relay
from remus_ha.witness.asker import Asker
from remus_ha.witness.base import WitnessDriver
from remus_ha.witness.none import is_none

_ENDED = (Life.POWEROFF, Life.REBOOT, Life.CRASHED, Life.GONE)
_STOP_REASONS = {
    Event.UNPROTECT: StopReason.UNPROTECT,
    Event.GUEST_SHUTDOWN: StopReason.SHUTDOWN,
    Event.GUEST_REBOOT: StopReason.REBOOT,
    Event.GUEST_CRASHED: StopReason.CRASH,
    Event.GUEST_GONE: StopReason.DESTROYED,
}
_FINAL = (*primary.ENDS, State.ALONE)
_COPY_S = 10.0
STILL_S = 60.0  # the backup may take this long to build the copy's domain before it reads of it
LATE_SUSPEND_S = 15.0
INTENT_S = 10.0
_INTENT = (State.RETURNING, State.RETURNED, State.REBOOTING, State.REBOOTED, State.ENDING)
TAKE_BACK_S = 30.0  # the backup may take this long to become the guest in a planned failover
SAVER_S = 0.2  # how long a started save helper may take to show its arguments
HELD = "held"  # a Trouble's reason when the table itself ended the session


class Primary:
    """One protected guest's process. ``run`` returns when nothing is left to do."""

    def __init__(
        self,
        *,
        session: Session,
        credentials: Credentials | None,
        relay: Relay | None,
        buffer: NetbufDriver,
        witness: WitnessDriver,
        asker: Asker,
        kept: Kept,
        link: CareLink,
        killpoint: KillPoint,
        resumes: bool,
    ) -> None:
        """``relay`` encrypts the stream; ``resumes``: an earlier process had won its claim."""
        self._session, self._credentials, self._buffer = session, credentials, buffer
        self._relay = relay
        self._link, self._killpoint, self._resumes = link, killpoint, resumes
        self.journal = Journal(f"primary {session.name}")
        self._loop = Loop()
        self._xen = XenDriver()
        self._domain: XenDomain = self._xen.control(session.domid)
        self._vifs = GuestVifs(session.config, session.uuid, session.session)
        self._figures = Figures()
        self._epochs: Epochs | None = None
        self._outflow: Outflow | None = None
        self._savers: Savers | None = None
        self._stream_wanted = False
        self._late_suspend = False
        self._late_until = 0.0
        self._intent_since = time.monotonic()
        self._restarted = False
        self._in_charge = False  # of what the guest's end calls for, whoever minds it
        self._minded = False
        self._to_create = rundir.STATE / f"{session.uuid}.cfg"
        if not resumes:
            self._to_create.unlink(missing_ok=True)
        self._clear_at = 0.0
        self._reason = StopReason.ABORTED
        self._yielded_at = 0.0
        self._detect_s = session.detect_ms / 1e3
        self._peer = self._new_peer()
        self._disks = Disks(
            self._loop,
            self._new_disk_driver if session.disks else None,
            lost=lambda e: self._on_trouble(Trouble(str(e))),
            log=self.journal,
        )
        self._verifying = Verifying(
            session.name, session.disks, hash_there=self._peer.hash_disk, log=self.journal
        )
        me = Identity(session.host, session.nonce)
        peer = Identity(session.peer_host, session.peer_nonce)
        self._decider: Decider[State, Event, Facts, Action] = Decider(
            loop=self._loop,
            machine=Machine(primary.TABLE, State.NEW),
            events=Event,
            facts=self._facts,
            deeds=self._deeds(),
            asker=asker,
            uuid=session.uuid,
            ledger=self._ledger(kept, me, peer, witness),
            keep=lambda ledger: kept.keep(ledger, witness.memory),
            keep_opened=kept.keep_opened,
            log=self.journal,
        )
        self._server = ControlSocket(
            self._loop, rundir.control_socket("primary", session.uuid), self._answer
        )

    def _ledger(self, kept: Kept, me: Identity, peer: Identity, witness: WitnessDriver) -> Ledger:
        """What an earlier process of this session knew; a pretended witness is told as well."""
        ledger = kept.ledger(me, peer, same_session=self._resumes)
        if is_none(self._session.witness) and ledger.session:
            register = Register(ledger.session, Kind.HOLDER, me)
            witness.swap(self._session.uuid, None, register, 1.0)
        return ledger

    def _new_peer(self) -> Peer | Blackhole:
        if self._session.blackhole:
            return Blackhole(self._loop, self._on_ack)
        return Peer(
            loop=self._loop,
            session=bytes.fromhex(self._session.session),
            detect_s=self._detect_s,
            on_ack=self._on_ack,
            on_trouble=self._on_trouble,
            on_disks_closed=self._on_disks_closed,
            on_disk_hashed=self._on_disk_hashed,
        )

    def _new_disk_driver(self) -> DiskDriver:
        s = self._session
        driver: DiskDriver = load(s.disk_entry)(
            domid=s.domid,
            disks=[
                Mirrored(d.vdev, d.node, d.size, d.port, d.path, d.uri, d.base) for d in s.disks
            ],
            stores=Stores(
                s.peer_address,
                rundir.directory("primary", s.uuid) / "tls",
                s.disk_rate,
                s.detect_ms,
            ),
            close_there=self._close_there,
            quiesce=lambda: quiesced(s.uuid, lambda: self._xen.control(s.domid, watch=False)),
            log=self.journal,
        )
        return driver

    def _close_there(self, n: int) -> None:
        self._peer.close_disks(n)
        self._verifying.closing_there(n)

    def _deeds(self) -> dict[str, Callable[[], None]]:
        return {
            "start_stream": self._want_stream,
            "release_one": self._release_one,
            "hold": self._hold,
            "cut": self._peer.close,
            "open_output": self._open_output,
            "tell_stop": self._tell_stop,
            "tell_promote": self._tell_promote,
            "final_epoch": self._end_with_next,
            "pause_guest": self._domain.pause,
            "resume_guest": self._resume_guest,
            "restart_guest": self._restart_guest,
            "destroy_guest": self._destroy_guest,
            "clean": self._clean,
        }

    def _facts(self) -> Facts:
        return Facts(
            buffered=self._epochs is not None and self._epochs.marked >= 0,
            restart_on_crash=restarts(self._session.on_crash),
        )

    # --- the life of the process

    def run(self) -> State:
        """Until the guest is alone, gone or handed back. Returns the state it ended in."""
        self._loop.watch(self._domain.fileno(), self._on_domain)
        self._loop.watch(self._link.fileno(), self._on_link)
        tick_s = min(0.25, self._detect_s / 8)
        self._attention = Attention(tick_s)
        self._loop.every(tick_s, self._tick)
        for weakness in self._buffer.weaknesses:
            self.journal(weakness)
        if self._resumes:
            self._disks.clear()
        self._decider.feed(Event.RESTART if self._resumes else Event.START)
        self._on_domain(0)
        while not self._is_over():
            if self._stream_wanted:
                self._stream_wanted = False
                self._stream()
            else:
                self._loop.until(lambda: self._stream_wanted or self._is_over())
        return self._finish()

    def _is_over(self) -> bool:
        """Nothing is left to do, and the guest is not about to suspend with nobody there."""
        over = self._decider.state in _FINAL
        done = not self._late_suspend or time.monotonic() > self._late_until
        return over and done and self._disks.is_free

    def _finish(self) -> State:
        state = self._decider.state
        if state in (State.ALONE, State.BROKEN, State.REFUSED):
            self._clean()
        if self._session.libvirt:
            self._tell_libvirt()
        rundir.write_json(
            rundir.directory("primary", self._session.uuid) / "result.json", self.status()
        )
        self._peer.close()
        self._server.close()
        rundir.forget("primary", self._session.uuid)
        self._decider.close()
        self._domain.close()
        self._link.quit()
        self.journal(f"ends as {state.value}")
        return state

    def _tell_libvirt(self) -> None:
        """Its guest is its own again, or the other host's."""
        lost = self._decider.state is State.DESTROYED
        words = [HAND_OVER if lost else GIVE_BACK, self._session.uuid]
        if not lost and not self._in_charge and not self._resumes:
            words.append(WATCHED)
        errand = Errand(self._loop, words, self.journal)
        self._loop.until(lambda: not errand.busy)

    def _tick(self) -> None:
        self._link.beat()
        self._peer.excuse(self._attention.late_s())
        self._look_for_a_pause()
        if self._decider.state is State.YIELDED and self._is_late():
            self._decider.feed(Event.TAKE_BACK)
        epochs = self._epochs
        if epochs is None:
            self._beat_while_ending()
            return
        self._peer.beat(epochs.marked, self._phase())
        if self._outflow is not None:
            self._outflow.look()
        if self._peer.silent_s() > self._detect_s:
            epochs.fail(Trouble(f"nothing heard of the backup for {self._peer.silent_s():.2f} s"))
        elif epochs.outstanding() is not None and self._unacknowledged_s() > self._detect_s:
            epochs.fail(Trouble(f"no acknowledgement of epoch {epochs.marked}"))

    def _look_for_a_pause(self) -> None:
        """Behind an operator's pause a failover would wait, and happen some day by surprise."""
        if self._decider.state is not State.YIELDING or self._domain.life() is not Life.PAUSED:
            return
        if self._epochs is not None and self._epochs.call_off():
            self.journal("the guest was paused: it is not moved")
            self._decider.feed(Event.CALLED_OFF)

    def _is_late(self) -> bool:
        """Whether the backup has had its time to become the guest."""
        return time.monotonic() > self._yielded_at + TAKE_BACK_S

    def _beat_while_ending(self) -> None:
        """The backup need not doubt while an intent is on its way to the register (W7).

        A guest that is to go on here is not held back for ever: after a while the backup may ask.
        """
        state = self._decider.state
        if state not in _INTENT:
            self._intent_since = time.monotonic()
        elif state is State.ENDING or time.monotonic() < self._intent_since + INTENT_S:
            self._peer.beat(0, Phase.RUNNING)

    def _unacknowledged_s(self) -> float:
        """How long an epoch has been without acknowledgement or progress on its way."""
        moved_at = self._outflow.moved_at if self._outflow else 0.0
        since = max(
            moved_at, self._disks.moved_at, self._epochs.sample.resumed if self._epochs else 0.0
        )
        return time.monotonic() - since

    def _phase(self) -> Phase:
        if self._decider.state is State.SYNCING:
            return Phase.SYNCING
        epochs = self._epochs
        return Phase.WAITING if epochs and epochs.outstanding() is not None else Phase.RUNNING

    # --- the session

    def _stream(self) -> None:
        """Connect, copy, epochs; ends with the guest running and the event that ended it."""
        event: Event | None = Event.DOUBT
        try:
            self._connect()
            self._run_epochs()
        except Trouble as e:
            self.journal(f"the session ends: {e.reason}")
            event = None if e.reason == HELD else self._event_of(e.life)
        except RemusError as e:
            self.journal(f"the session ends: {e}")
            life = self._domain.life()
            event = self._event_of(life if life in _ENDED else None)
        finally:
            self._abort()
        if event is not None:
            self._note_reason(event)
            self._decider.feed(event)
        self._on_domain(0)  # what it did meanwhile may have been overheard

    def _connect(self) -> None:
        if self._credentials is None:
            raise Trouble("a restarted process has no session to go on with")
        s = self._session
        known = self._decider.ledger.session
        for disk in s.disks:
            path = Path(disk.path)
            now = in_session(generation_of(path, s.uuid, disk.vdev), known)
            if not disk.uri:
                forget(path)  # if it was a replica before
            record(path, Lineage(s.uuid, disk.vdev, now))
        hello = Hello(
            session=bytes.fromhex(s.session),
            role=Role.PRIMARY,
            version=s.product_version,
            features=(f"xen={self._xen.version}", f"generation={known}"),
            name=s.name,
            uuid=s.uuid,
            host=s.host,
            nonce=s.nonce,
        )
        if self._relay is not None:
            self._relay.wait_ready(self._link.beat)
        where = Where(s.peer_address, s.control_port, s.data_port, s.peer_certificate)
        self._peer.connect(where, self._credentials, hello, self._relay)
        if self._decider.state is not State.SYNCING:
            raise Trouble(HELD)

    def _run_epochs(self) -> None:
        if self._peer.data is None:
            raise Trouble("no data connection")
        self._outflow = Outflow(self._loop, self._peer.data, self._session.rate_mbit_s)
        stream = self._xen.save(self._session.domid, self._outflow.write_end, self.journal)
        self._outflow.close_write_end()
        self._watch_savers()
        steady = self._watch_devices()
        try:
            self._disks.begin()
            self._epochs = self._new_epochs(stream, self._outflow)
            self._loop.watch(stream.fileno(), self._epochs.on_stream)
            self._epochs.run()
        finally:
            # First of all: the rest may take a while.
            self._disks.free()
            steady.close()
            if self._domain.resume() and self._epochs is not None:
                self._epochs.asking = False
            self._loop.forget(stream.fileno())
            # The pipe's reader has to go on or go away for the helper to end.
            self._outflow.close()
            stream.close()

    def _new_epochs(self, stream: MemoryStream, outflow: Outflow) -> Epochs:
        epochs = Epochs(
            loop=self._loop,
            domain=self._domain,
            stream=stream,
            outflow=outflow,
            buffer=self._buffer,
            disks=self._disks,
            pace=Pace(self._session.interval_ms * 1_000_000),
            timing=Timing(
                suspend_s=max(5.0, 5 * self._detect_s),
                copy_s=_COPY_S,
                close_s=self._detect_s,
                still_s=STILL_S,
            ),
            mark=self._peer.mark,
            killpoint=self._killpoint,
        )
        epochs.may_go_on = self._may_suspend
        epochs.finished = self._on_finished
        epochs.suspended = self._verifying.suspended
        epochs.before_first_suspend = self._take_charge
        return epochs

    def _on_finished(self, sample: Sample) -> None:
        self._figures.add(sample)
        self._verifying.acknowledged()

    def _take_charge(self) -> None:
        """From the first suspend on xl minds the guest no more, and its vifs are ours to open."""
        self._vifs.shut()
        self._in_charge = relieve(self._session.name, lambda: self._domain.life() in _ENDED)

    def _may_run(self) -> bool:
        kept = (State.YIELDING, State.YIELDED, State.BEATEN, State.DESTROYED)
        return self._decider.state not in kept

    def _abort(self) -> None:
        """The session is over: the guest runs, its output as the plugs have it. Idempotent."""
        asking = self._epochs is not None and self._epochs.asking
        self._epochs = None
        self._verifying.end("the session is over")
        withdrawn = self._domain.withdraw_suspend()
        self._domain.stop_tracking()
        if self._domain.life() is Life.SUSPENDED:
            self._domain.resume()
        elif asking and not withdrawn:
            # It has taken the request and gives itself up any moment: ``_on_domain`` resumes it,
            # and this process does not end before.
            self._late_suspend = True
            self._late_until = time.monotonic() + LATE_SUSPEND_S
            self._loop.after(LATE_SUSPEND_S, lambda: None)

    def _on_ack(self, n: int) -> None:
        epochs = self._epochs
        if epochs is None:
            return
        if not epochs.acknowledge(n):
            self._figures.stale_acks += 1
        elif n == 0:
            self._decider.feed(Event.FIRST_ACK)
        else:
            self._decider.feed(Event.ACK, outstanding=True, final=n == epochs.last)

    def _on_disks_closed(self, n: int) -> None:
        self._disks.on_closed(n)

    def _on_disk_hashed(self, answer: DiskHashed) -> None:
        self._verifying.answered(answer)

    def _on_trouble(self, trouble: Trouble) -> None:
        if self._epochs is not None:
            self._epochs.fail(trouble)

    def _on_domain(self, _events: int) -> None:
        self._domain.drain()
        if self._restarted:
            return  # this domain has had its day
        life = self._domain.life()
        if life is Life.SUSPENDED:
            self._on_suspended()
        if life not in _ENDED:
            return
        self._late_suspend = False
        if self._epochs is not None:
            self._epochs.fail(Trouble(f"the guest ended: {life.value}", life))
        else:
            event = self._event_of(life)
            self._note_reason(event)
            self._decider.feed(event)

    def _on_suspended(self) -> None:
        """A suspend that no epoch of ours asked for, or asked for in a session that is over."""
        if self._epochs is None and self._may_run():
            self._domain.resume()
            self._late_suspend = False
        elif self._epochs is not None and not self._epochs.expects_suspend:
            # Somebody else saves this guest, and its helper clears the same dirty bitmap.
            self._epochs.fail(Trouble("the guest was suspended by somebody else"))

    def _event_of(self, life: Life | None) -> Event:
        """What the guest's end means, by its own on_poweroff, on_reboot and on_crash."""
        s = self._session
        if life is Life.GONE:
            # An earlier process of this session may have been about to start it again.
            return Event.GUEST_REBOOT if self._to_create.exists() else Event.GUEST_GONE
        if life not in _ENDED:
            return Event.DOUBT
        if not self._in_charge and self._has_a_manager():
            self._minded = True
            return Event.GUEST_GONE  # that does with it what it always does
        if life is Life.CRASHED:
            return Event.GUEST_CRASHED
        again = s.on_poweroff if life is Life.POWEROFF else s.on_reboot
        return Event.GUEST_REBOOT if restarts(again) else Event.GUEST_SHUTDOWN

    def _has_a_manager(self) -> bool:
        """Whether somebody else hears of the guest's end, as long as it was never suspended."""
        return presence.runs() if self._session.libvirt else is_minded(self._session.name)

    def _on_link(self, _events: int) -> None:
        """Only end of file comes this way."""
        self.journal("the guardian is gone: another one takes its place")
        self._loop.forget(self._link.fileno())
        self._link.lost()
        self._loop.watch(self._link.fileno(), self._on_link)

    def _note_reason(self, event: Event) -> None:
        self._reason = _STOP_REASONS.get(event, self._reason)

    # --- actions of the table

    def _want_stream(self) -> None:
        self._stream_wanted = True

    def _watch_savers(self) -> None:
        """Notice at once when another save of this guest begins (``xl migrate``, ``xl save``).

        Our own helper has been started before: what is opened from now on is not ours.
        """
        if self._savers is None:
            self._savers = Savers(self._xen.version)
            self._loop.watch(self._savers.fileno(), self._on_saver)

    def _watch_devices(self) -> SteadyDevices:
        """What is plugged in meanwhile must not be protected in appearance only (G6)."""
        s = self._session
        return SteadyDevices(
            self._loop,
            self._xen.watch_devices(s.domid, s.all_disks, [vif.mac for vif in s.vifs]),
            life=self._domain.life,
            changed=lambda error: self._on_trouble(Trouble(str(error))),
        )

    def _on_saver(self, _events: int) -> None:
        """The binary is opened before the process can be told by its arguments: look twice."""
        if self._savers is not None:
            self._savers.drain()
            self._clear_at = time.monotonic() + SAVER_S
            self._loop.after(SAVER_S / 2, self._look_for_savers)
            self._loop.after(SAVER_S, lambda: self._look_for_savers(last=True))

    def _look_for_savers(self, *, last: bool = False) -> None:
        """A save that has ended already may have been this guest's, and have spoilt its bitmap."""
        if self._savers is None or self._epochs is None:
            return
        domains = self._savers.seen()
        if self._session.domid in domains or (last and not domains):
            self._epochs.fail(Trouble("somebody else has begun to save or migrate this guest"))

    def _may_suspend(self) -> bool:
        """Whether the next epoch may begin: it is a pair, and nobody else may be saving."""
        epochs = self._epochs
        if epochs is None or time.monotonic() < self._clear_at or not self._disks.synced:
            return False
        return epochs.marked < 0 or self._decider.state in (State.PROTECTED, State.YIELDING)

    def _release_one(self) -> None:
        if self._epochs is not None:
            self._epochs.release()

    def _hold(self) -> None:
        if self._epochs is not None:
            self._epochs.fail(Trouble(HELD))
        else:
            self._stream_wanted = False
            self._abort()

    def _open_output(self) -> None:
        if self._buffer.mode is not Mode.ABSENT:
            self._buffer.pass_through()

    def _tell_stop(self) -> None:
        self._peer.tell_stop(self._reason)

    def _tell_promote(self) -> None:
        self._yielded_at = time.monotonic()
        if self._epochs is not None:
            self._peer.tell_promote(self._epochs.acked)

    def _end_with_next(self) -> None:
        if self._epochs is not None:
            self._epochs.end_with_next()

    def _resume_guest(self) -> None:
        self._domain.resume()
        if not paused_by_us(self._session.uuid):  # for instants, and whoever did lets it go on
            self._domain.unpause()

    def _restart_guest(self) -> None:
        """The reboot that the guest asked for: its new vifs come up shut, and are opened next."""
        s, kept = self._session, self._to_create
        self._restarted = True
        try:
            text = xlconfig.render(self._vifs.substituted())
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(text)
            self._domain.destroy()
            self._link.beat()
            self._buffer.teardown(release=False)
            self._vifs.shut()
            there = self._xen.domain_of(s.uuid)  # created by a process that died since
            domid = there[0] if there else self._xen.create(text, s.name, minded=not s.libvirt)
        except (RemusError, OSError) as e:
            remedy = f"; its configuration is in {kept}" if kept.exists() else ""
            self.journal(f"the guest could not be started again: {e}{remedy}")
            self._decider.feed(Event.RESTART_FAILED)
            return
        self._link.beat()
        self.journal(f"{s.name} was started again as domain {domid}")
        for complaint in self._vifs.open(domid):
            self.journal(complaint)
        kept.unlink(missing_ok=True)

    def _destroy_guest(self) -> None:
        """Its last output may leave only where it ended by itself and nobody else can live."""
        if self._decider.state is State.STOPPED:
            self._buffer.teardown(release=True)
            if self._minded or self._preserved():
                return
        self._domain.destroy()

    def _preserved(self) -> bool:
        """Whether the guest's configuration wants the dead domain kept for a look."""
        s, life = self._session, self._domain.life()
        wanted = {Life.POWEROFF: s.on_poweroff, Life.REBOOT: s.on_reboot, Life.CRASHED: s.on_crash}
        return wanted.get(life, "destroy") == "preserve"

    def _clean(self) -> None:
        mine = self._decider.state is not State.DESTROYED
        release = mine and self._domain.life() is not Life.GONE
        self._buffer.teardown(release=release)
        self._domain.stop_tracking()
        if mine:
            ours = any(v.script == str(records.SCRIPT) for v in self._session.vifs)
            self._vifs.leave(our_script=self._restarted or ours)

    # --- the local socket

    def _answer(self, request: dict[str, Any]) -> Any:
        command = request.get("command")
        if command == "status":
            return self.status(int(request.get("after", 0)))
        if command == "samples":
            return self._figures.raw(int(request.get("after", -1)))
        if command == "verify":
            self._begin_verifying(int(request.get("rate", 0)))
            return {"accepted": True}
        if command == "verification":
            return self._verifying.asked()
        if command == "end-verification":
            self._verifying.end("its operator has ended it")
            return self._verifying.status()
        if command == "unprotect":
            self._reason = StopReason.UNPROTECT
            self._decider.feed(Event.UNPROTECT)
            return {"accepted": True}
        if command == "failover":
            self._begin_failover(dry_run=bool(request.get("dry_run")))
            return {"accepted": True}
        if command == "fenced":
            self.journal(f"the operator says that {self._session.peer_host} is fenced")
            self._decider.feed(Event.OPERATOR_FENCED)
            return {"accepted": True}
        if command == ACCEPT_STORE:
            return {"accepted": self._decider.accept_store(str(request["incarnation"]))}
        raise ValueError(f"no command {command!r}")

    def _begin_failover(self, *, dry_run: bool) -> None:
        """Raises FailoverState, FailoverUnknown, FailoverPaused."""
        s, state = self._session, self._protection()
        if state is not Protection.PROTECTED:
            raise FailoverState(name=s.name, state=state.value)
        if FAIL_OVER not in self._peer.features:
            raise FailoverUnknown(host=s.peer_host)
        if self._domain.life() is Life.PAUSED:
            raise FailoverPaused(name=s.name)
        if not dry_run:
            self.journal(f"the operator moves {s.name} to {s.peer_host}")
            self._decider.feed(Event.FAIL_OVER)

    def _begin_verifying(self, rate: int) -> None:
        """Raises VerifyState and what ``Verifying.begin`` raises."""
        state = self._protection()
        if state is not Protection.PROTECTED:
            raise VerifyState(name=self._session.name, state=state.value)
        if self._session.disks and DISK_VERIFY not in self._peer.features:
            raise VerifyUnknown(host=self._session.peer_host)
        self._verifying.begin(rate)

    def _protection(self) -> Protection:
        """What the operator can count on: a pair with nobody is none."""
        known = PRIMARY[self._decider.state]
        if known is Protection.PROTECTED and self._session.blackhole:
            return Protection.DEGRADED
        return known

    def status(self, after: int = 0) -> dict[str, Any]:
        """What ``remus-ha status --json`` shows of this guest."""
        s, state = self._session, self._decider.state
        known = self._decider.ledger.known
        return {
            "role": "primary",
            "name": s.name,
            "uuid": s.uuid,
            "domid": s.domid,
            "peer": s.peer_host,
            "state": self._protection().value,
            "detail": state.value,
            "generation": known.generation if known else 0,
            "holder": str(known.holder) if known and known.holder else "",
            "epoch": self._epochs.marked if self._epochs else -1,
            "acked": self._epochs.acked if self._epochs else -1,
            "interval_ms": s.interval_ms,
            "rate_mbit_s": s.rate_mbit_s,
            "detect_ms": s.detect_ms,
            "round_trip_ms": round(1e3 * self._peer.round_trip_s, 3),
            "stream": self._peer.data.how if self._peer.data else "",
            "sent_octets": self._outflow.moved if self._outflow else 0,
            "figures": self._figures.summary(),
            "vifs": self._vif_stats(),
            "disks": self._disks.status(),
            "verification": self._verifying.status(),
            "pid": os.getpid(),
            "events": self.journal.after(after),
        }

    def _vif_stats(self) -> list[dict[str, Any]]:
        try:
            stats = self._buffer.stats()
        except RemusError:
            return []  # a vif that is just going away; the next look tells
        return [
            {
                "vif": v.vif,
                "backlog_octets": v.backlog_bytes,
                "backlog_frames": v.backlog_packets,
                "drops": v.drops,
                "highest_octets": v.highest_bytes,
                "limit_octets": v.limit_bytes,
            }
            for v in stats
        ]
