"""The backup's per-guest process: epochs in, commit, and the decision to become the guest.

One thread, one loop. Octets of the stream go from the socket into the restore's pipe by splice;
an epoch's mark stops them exactly at its end, which only the commit puts there.
"""

import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from remus_ha import rundir, shares
from remus_ha.attention import Attention
from remus_ha.caretaker import CareLink
from remus_ha.control_socket import ControlSocket
from remus_ha.core import backup
from remus_ha.core.backup import Action, Event, Facts, State
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.core.states import BACKUP
from remus_ha.core.table import Machine
from remus_ha.deciding import ACCEPT_STORE, Decider
from remus_ha.disk import target
from remus_ha.disk.lineage import NEVER, Lineage, in_session, of_replica, of_win, record
from remus_ha.exceptions import RemusError
from remus_ha.guest_vifs import GuestVifs
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.errors import RestoreFailed
from remus_ha.hypervisor.libvirt import managed
from remus_ha.hypervisor.libvirt.errand import Errand
from remus_ha.hypervisor.libvirt.words import GIVE_BACK
from remus_ha.hypervisor.xen.driver import XenDriver
from remus_ha.journal import Journal
from remus_ha.kept import Kept
from remus_ha.killpoint import KillPoint
from remus_ha.loop import READ, WRITE, Loop
from remus_ha.receive.commit import CommitJournal, Committer, Seal
from remus_ha.receive.incoming import Incoming
from remus_ha.receive.replica import Replica
from remus_ha.receive.reservation import Reservation
from remus_ha.receive.stores import Hashed, Stores, Told
from remus_ha.stream.control import ControlChannel
from remus_ha.stream.errors import PeerClosed, ProtocolError
from remus_ha.stream.frames import (
    DISK_VERIFY,
    FAIL_OVER,
    Ack,
    CloseDisks,
    DiskHashed,
    DisksClosed,
    Epoch,
    Error,
    Frame,
    HashDisk,
    Heartbeat,
    HeartbeatReply,
    Hello,
    Phase,
    Promote,
    Role,
    Stop,
    Welcome,
)
from remus_ha.stream.mover import Inflow, Wait
from remus_ha.stream.sealed import Stream
from remus_ha.stream.xenstream import LIBXC_CHECKPOINT, preamble
from remus_ha.witness.asker import Asker
from remus_ha.witness.base import WitnessDriver
from remus_ha.witness.none import is_none

BUDGET = 4 << 20
PROBLEM = 1000  # characters of a reason that are told
# The backup asks a little later than the primary: where both live, the guest need not move.
PATIENCE = 1.25


class Backup:
    """One guest's receiver. ``run`` returns when the copy is the guest, or gone."""

    def __init__(
        self,
        *,
        incoming: Incoming,
        restore_pid: int,
        held: tuple[int, ...],
        driver: WitnessDriver,
        asker: Asker,
        kept: Kept,
        link: CareLink,
        killpoint: KillPoint,
    ) -> None:
        self._killpoint = killpoint
        self._incoming, self._request = incoming, incoming.request
        self._driver, self._kept, self._link = driver, kept, link
        self._restore_fd = held[0] if held else None
        self.journal = Journal(f"backup {self._request.guest_name}")
        self._loop = Loop()
        self._xen = XenDriver()
        self._session = bytes.fromhex(self._request.session)
        self._commits = CommitJournal(incoming.directory() / "epochs")
        seal = Seal(held[1], held[2]) if held else None
        self._committer = Committer(self._commits, held[0] if held else -1, seal)
        told = Told(
            closed=self._on_disks_closed,
            prepared=lambda: self._try_commit(0),
            committed=self._on_committed,
            finished=self._let_go,
            severed=self._on_severed,
            gone=self._on_store_gone,
            failed=self._on_store_failed,
            hashed=self._on_hashed,
            waiting=self._warn,
        )
        self._stores = Stores(
            self._loop,
            self._request.guest_uuid,
            incoming.directory(),
            self._request.disks,
            told,
            session=self._request.session,
        )
        self._unusable = False
        self._replica = Replica(
            loop=self._loop,
            xen=self._xen,
            uuid=self._request.guest_uuid,
            name=self._request.guest_name,
            restore_pid=restore_pid,
            ended=self._on_restore_end,
            slow=self._warn,
        )
        self._vifs = GuestVifs(
            self._request.config, self._request.guest_uuid, self._request.session
        )
        self._reservation = Reservation(
            self._loop,
            self._xen,
            self._request.guest_uuid,
            self._request.memory_kib,
            self._on_memory,
        )
        self._broken: RemusError | None = None
        self._channel: ControlChannel | None = None
        self._data: Stream | None = None
        self._inflow: Inflow | None = None
        self._mark: Epoch | None = None
        self._heard_at = time.monotonic()
        self._detect_s = PATIENCE * self._request.detect_ms / 1e3
        self._tick_s = min(0.25, self._detect_s / 8)
        self._promotion = incoming.directory() / "promoted"
        self._promoted = False
        self._win_noted = True  # there is none yet
        self._noting: threading.Thread | None = None
        self._errand: Errand | None = None
        self._asker = asker
        self._decider = self._new_decider(State.RECEIVING, generation=0)
        self._server = ControlSocket(
            self._loop,
            rundir.control_socket("backup", self._request.guest_uuid),
            self._answer,
        )

    def _new_decider(
        self, initial: State, *, generation: int
    ) -> Decider[State, Event, Facts, Action]:
        """``generation``: the primary's session; 0: as an earlier process of ours kept it."""
        primary = Identity(self._request.primary_host, self._request.primary_nonce)
        me = Identity(self._incoming.host, self._incoming.nonce)
        ledger = self._kept.ledger(me, primary, same_session=not generation)
        if generation:
            # What has not been here before has seen no store: the primary's counts (W9).
            life = ledger.incarnation or self._request.witness_life or None
            ledger = replace(ledger, session=generation, incarnation=life)
            self._kept.keep(ledger, self._driver.memory)
            # It asks the store in doubt only, and that may have forgotten this session by then.
            self._kept.keep_known(Register(generation, Kind.HOLDER, primary), primary)
        self._assume_pair(ledger.session, primary, me)
        return Decider(
            loop=self._loop,
            machine=Machine(backup.TABLE, initial),
            events=Event,
            facts=self._facts,
            deeds=self._deeds(),
            asker=self._asker,
            uuid=self._request.guest_uuid,
            ledger=ledger,
            keep=lambda ledger: self._kept.keep(ledger, self._driver.memory),
            keep_opened=self._kept.keep_opened,
            log=self.journal,
        )

    def _assume_pair(self, generation: int, primary: Identity, me: Identity) -> None:
        """Without a witness (forced) nobody tells that there is a pair: pretend it."""
        if is_none(self._request.witness):
            self._pretend(Register(generation + 1, Kind.PAIR, primary, me))

    def _believe_stop(self) -> None:
        """Without a witness the primary's word is all there is of an intent (W7)."""
        if is_none(self._request.witness):
            self._pretend(Register(self._decider.ledger.session + 2, Kind.NONE, None))

    def _pretend(self, register: Register) -> None:
        self._driver.swap(self._request.guest_uuid, None, register, 1.0)

    def _deeds(self) -> dict[str, Callable[[], None]]:
        return {
            "ack": self._ack,
            "stop_acks": self._stop_acks,
            "cut": self._cut,
            "drop_open": self._stop_acks,
            "end_of_file": self._end_of_file,
            "pause_guest": self._replica.pause,
            "resume_guest": self._replica.unpause,
            "open_output": self._open_output,
            "announce": self._announce,
            "tell_broken": self._tell_broken,
            "destroy_copy": self._destroy_copy,
            "clean": self._clean,
        }

    def _facts(self) -> Facts:
        restored = self._restored()
        return Facts(
            committed=self._commits.committed >= 0,
            restored=restored,
            broken=self._unusable or (not restored and not self._replica.restoring()),
        )

    def _restored(self) -> bool:
        """Whether the copy lives as a domain of its own (its vifs are shut until opened)."""
        if self._replica.restoring() or self._unusable:
            return False
        return self._replica.life() in (Life.RUNNING, Life.PAUSED)

    # --- the life of the process

    def take_over(self) -> State:
        """A new receiver in place of a dead one: the stream is lost, the copy is not."""
        self._promoted = self._promotion.exists()
        if self._promoted:
            self._replica.watch()
        else:
            self._take_up_disks()
        self._decider = self._new_decider(State.RETURNED, generation=0)
        self._decider.feed(Event.RESTART)
        return self._run()

    def _take_up_disks(self) -> None:
        """Whatever the dead process had begun to commit is settled before anything is decided."""
        self._committer.settle()
        # Without its holders the restore ran on by itself, and opened the disks as they were then.
        self._unusable = bool(self._stores) and self._restore_fd is None
        self._stores.take_up(self._commits.committed)

    def start_stores(self) -> list[int]:
        """The epoch stores of the guest's disks; the port of each. Raises RemusError."""
        request = self._request
        if not request.disks:
            return []
        return self._stores.start(
            self._incoming.address,
            request.disk_key,
            known=lambda spec: target.may_overwrite(spec, request.guest_uuid),
            taken=lambda spec: target.claim(spec, request.guest_uuid),
        )

    def _note_images(self, age: Callable[[int], int]) -> None:
        """How new the images here are from now on; ``age`` is told how new the guest's own is.

        Raises LineageUnwritable.
        """
        for spec in self._request.disks:
            now = age(in_session(spec.generation, self._decider.ledger.session))
            record(Path(spec.path), Lineage(self._request.guest_uuid, spec.vdev, now))

    def receive(self, channel: ControlChannel, accept_data: Callable[[bytes], Stream]) -> State:
        """A new session on an authenticated channel. ``accept_data(key)`` waits for the stream."""
        self._channel = channel
        hello = self._await_hello(channel)
        generation = _generation(hello)
        self._decider = self._new_decider(State.RECEIVING, generation=generation)
        try:
            self._note_images(lambda _owns: NEVER)
            self._welcome(channel, accept_data)
            self._start_copy()
        except (RemusError, OSError) as e:
            self.journal(f"the session cannot start: {e}")
            self._decider.feed(Event.DOUBT)
        return self._run()

    def give_up(self) -> None:
        """The session never began: leave nothing behind."""
        self.journal("ends as stopped: the session never began")
        self._replica.destroy()
        self._stores.end()
        self._clean()
        self._server.close()
        rundir.forget("backup", self._request.guest_uuid)
        self._asker.close()

    def _run(self) -> State:
        self._loop.watch(self._link.fileno(), self._on_link)
        self._attention = Attention(self._tick_s)
        self._loop.every(self._tick_s, self._tick)
        self._loop.until(self._is_done)
        state = self._decider.state
        if state is State.ALIVE:
            self._reservation.give_back()
        self._stores.end()
        self._close_data()
        rundir.write_json(self._incoming.directory() / "result.json", self.status())
        rundir.forget("backup", self._request.guest_uuid)
        self._server.close()
        self._decider.close()
        self._link.quit()
        self.journal(f"ends as {state.value}")
        return state

    def _is_done(self) -> bool:
        told = self._errand is None or not self._errand.busy
        at_work = self._vifs.announcing or not self._win_noted or not told
        return self._decider.state in backup.ENDS and not at_work

    def _tick(self) -> None:
        self._link.beat()
        self._heard_at = min(time.monotonic(), self._heard_at + self._attention.late_s())
        if self._decider.state not in backup.RECEIVES:
            return
        # Without the patience: a store that stands still may hold the guest's writes up.
        self._stores.look(self._tick_s, self._request.detect_ms / 1e3)
        silent_s = time.monotonic() - self._heard_at
        if silent_s > self._detect_s:
            self._doubt(f"nothing heard of the primary for {silent_s:.2f} s")

    def _doubt(self, reason: str) -> None:
        if self._decider.state in backup.RECEIVES:
            self.journal(f"in doubt: {reason}")
        self._decider.feed(Event.DOUBT)

    def _warn(self, late: RemusError) -> None:
        self.journal(f"{late}. {late.advice}")

    def _on_link(self, _events: int) -> None:
        """Only end of file comes this way."""
        self.journal("the keeper is gone: another one takes its place")
        self._loop.forget(self._link.fileno())
        self._link.lost()
        self._loop.watch(self._link.fileno(), self._on_link)

    # --- setting up

    def _await_hello(self, channel: ControlChannel) -> Hello:
        frames: list[Frame] = []
        self._loop.watch(channel.fileno(), lambda _events: frames.extend(channel.pump()))
        self._loop.until(lambda: bool(frames), time.monotonic() + 10.0)
        self._loop.forget(channel.fileno())
        if not frames:
            raise PeerClosed(detail="no hello")
        hello = frames[0]
        if not isinstance(hello, Hello) or hello.session != self._session:
            raise ProtocolError(detail="a frame where this session's Hello was due")
        if hello.uuid != self._request.guest_uuid:
            raise ProtocolError(detail="another guest's UUID")
        return hello

    def _welcome(self, channel: ControlChannel, accept_data: Callable[[bytes], Stream]) -> None:
        key = secrets.token_bytes(32)
        channel.send(
            Welcome(
                session=self._session,
                role=Role.BACKUP,
                version="",
                features=(f"xen={self._xen.version}", DISK_VERIFY, FAIL_OVER),
                host=self._incoming.host,
                nonce=self._incoming.nonce,
                data_key=key,
            )
        )
        self._data = accept_data(key)

    def _start_copy(self) -> None:
        if self._data is None or self._restore_fd is None:
            raise PeerClosed(detail="no data connection")
        self._vifs.shut()
        self._reservation.begin()
        config = self._vifs.substituted()
        os.set_blocking(self._restore_fd, True)
        os.write(self._restore_fd, preamble(json.dumps(config).encode()))
        os.set_blocking(self._restore_fd, False)
        self._inflow = Inflow(self._data.sock, self._restore_fd)
        self._heard_at = time.monotonic()
        self._watch_control()
        self._loop.watch(self._data.sock.fileno(), self._on_data)

    def _on_memory(self, error: RemusError | str) -> None:
        if not error:
            self.journal(f"{self._request.memory_kib} KiB are set apart for the copy")
            shares.note_claim(self._request.guest_uuid)
        elif isinstance(error, str):
            self.journal(f"no memory could be set apart for the copy: {error}")
        else:
            self.journal(f"no room for the copy: {error}")
            self._broken = error
            self._decider.feed(Event.RESTORE_FAILED)

    # --- epochs in

    def _on_data(self, _events: int) -> None:
        inflow = self._inflow
        if inflow is None or self._data is None or self._restore_fd is None:
            return
        before = inflow.moved
        try:
            wait = inflow.pump(BUDGET)
            if wait is Wait.LIMIT and inflow.tail != LIBXC_CHECKPOINT:
                raise ProtocolError(detail="an epoch without its CHECKPOINT record")
        except RemusError as e:
            self._forget_data()
            self._doubt(str(e))
            return
        if inflow.moved != before:
            self._heard_at = time.monotonic()
        self._wait_for(wait)
        if wait is Wait.LIMIT:
            self._try_commit(0)

    def _wait_for(self, wait: Wait) -> None:
        if self._data is None or self._restore_fd is None:
            return
        if wait is Wait.SINK:
            self._loop.forget(self._data.sock.fileno())
            self._loop.watch(self._restore_fd, self._on_data, WRITE)
        elif wait is Wait.END:
            self._forget_data()
            self._doubt("the data connection ended")
        elif wait is Wait.LIMIT:
            self._forget_data()
        else:
            self._loop.forget(self._restore_fd)
            self._loop.watch(self._data.sock.fileno(), self._on_data, READ)

    def _forget_data(self) -> None:
        if self._data is not None:
            self._loop.forget(self._data.sock.fileno())
        if self._restore_fd is not None:
            self._loop.forget(self._restore_fd)

    def _on_mark(self, mark: Epoch) -> None:
        if self._inflow is None or mark.n != self._commits.committed + 1:
            raise ProtocolError(detail=f"epoch {mark.n} after {self._commits.committed}")
        if self._inflow.limit is not None:
            raise ProtocolError(detail=f"epoch {mark.n} twice")
        self._mark = mark
        self._inflow.limit = mark.offset
        self._on_data(0)

    def _try_commit(self, _events: int) -> None:
        """All of the marked epoch but its end is in the restore's pipe: make it real."""
        mark, inflow = self._mark, self._inflow
        if mark is None or inflow is None or self._restore_fd is None or inflow.tail is None:
            return
        if self._decider.state not in backup.RECEIVES or not self._stores.prepared(mark.n):
            return
        self._killpoint.at("seal")
        try:
            done = self._committer.seal(mark.n)
        except BrokenPipeError:
            self._decider.feed(Event.RESTORE_FAILED)
            return
        if not done:
            self._loop.watch(self._restore_fd, self._try_commit, WRITE)
            return
        self._loop.forget(self._restore_fd)
        self._mark = None
        self._killpoint.at("disks")
        self._stores.commit(mark.n)

    def _on_committed(self, n: int) -> None:
        """Epoch ``n`` is real, on every disk as well."""
        self._committer.finish(n)
        if self._decider.state not in backup.RECEIVES:
            return  # in doubt meanwhile: it counts, but is not acknowledged any more
        if self._inflow is not None:
            self._inflow.limit = None
        if n == 0:
            self._reservation.end()  # all of the guest's memory is there
            shares.note_claim(self._request.guest_uuid)
            # Not here: the image's file system may be busy with all of the first copy.
            self._noting = threading.Thread(target=self._note, args=(of_replica,), daemon=True)
            self._noting.start()
        self._decider.feed(Event.COMMITTED)
        self._wait_for(Wait.SOURCE)

    def _on_disks_closed(self, n: int) -> None:
        if self._channel is not None and self._decider.state in backup.RECEIVES:
            self._channel.send(DisksClosed(self._session, n))
            self._watch_control()

    def _on_hashed(self, found: Hashed) -> None:
        if self._channel is not None and self._decider.state in backup.RECEIVES:
            problem = found.problem[:PROBLEM]
            self._channel.send(
                DiskHashed(self._session, found.n, found.vdev, found.digests, problem)
            )
            self._watch_control()

    def _on_severed(self, error: RemusError) -> None:
        """A disk gets no more of the primary's writes: no epoch can be closed any more."""
        if self._channel is None or self._decider.state not in backup.RECEIVES:
            return
        self.journal(str(error))
        self._channel.send(Error(self._session, error.code, error.cause.format(**error.facts)))
        self._watch_control()

    def _on_store_gone(self, error: RemusError) -> None:
        """Should the guest have to go on here, its journal is taken up.

        The primary ends the session if it lives. If it does not, this is the only copy.
        """
        if self._decider.state in backup.RECEIVES:
            self._on_severed(error)
        else:
            self.journal(f"{error}; its journal will be taken up")

    def _on_store_failed(self, error: RemusError) -> None:
        self.journal(str(error))
        self._broken = error
        if self._decider.state not in backup.ENDS:
            self._decider.feed(Event.RESTORE_FAILED)

    def _ack(self) -> None:
        self._killpoint.at("ack")
        if self._channel is not None:
            self._channel.send(Ack(self._session, self._commits.committed))
            self._watch_control()

    def _stop_acks(self) -> None:
        self._mark = None
        self._forget_data()

    # --- control channel

    def _watch_control(self) -> None:
        channel = self._channel
        if channel is not None:
            events = READ | WRITE if channel.wants_write else READ
            self._loop.watch(channel.fileno(), self._on_control, events)

    def _on_control(self, _events: int) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            while True:
                for frame in channel.pump():
                    self._take(frame)
                if self._channel is None or not channel.ready:
                    break
        except RemusError as e:
            self._loop.forget(channel.fileno())
            self._doubt(str(e))
            return
        self._watch_control()

    def _take(self, frame: Frame) -> None:
        if frame.session != self._session:
            return
        self._heard_at = time.monotonic()
        match frame:
            case Epoch() as mark:
                if self._decider.state in backup.RECEIVES:
                    self._on_mark(mark)
            case CloseDisks(n=n):
                if self._decider.state in backup.RECEIVES:
                    self._killpoint.at("close")
                    self._stores.close(n)
            case HashDisk(n=n, vdev=vdev, offset=offset, length=length, grain=grain):
                if self._decider.state in backup.RECEIVES:
                    self._stores.hash(vdev, n, offset=offset, length=length, grain=grain)
            case Heartbeat(sent_ns=sent_ns):
                self._answer_beat(sent_ns)
            case Stop(reason=reason):
                self.journal(f"the primary says stop: {reason.name.lower()}")
                self._believe_stop()
                self._decider.feed(Event.TOLD_STOP)
            case Promote(n=n):
                self._on_promote(n)
            case Error(error_code=code, text=text):
                self._doubt(f"the primary gives up: {code} {text}")

    def _on_promote(self, n: int) -> None:
        """Raises ProtocolError where it is not the committed epoch that is to live."""
        if n != self._commits.committed:
            raise ProtocolError(detail=f"to promote epoch {n}, not {self._commits.committed}")
        self.journal(f"the primary moves the guest here, epoch {n} being the last")
        self._decider.feed(Event.TOLD_PROMOTE)

    def _answer_beat(self, sent_ns: int) -> None:
        if self._channel is not None and self._decider.state in backup.RECEIVES:
            n = max(0, self._commits.committed)
            self._channel.send(HeartbeatReply(self._session, n, Phase.RECEIVING, sent_ns))

    # --- the copy

    def _on_restore_end(self) -> None:
        alive = self._promoted and self._restored()
        obstacle = self._vifs.obstacle() if alive else "the restoring process ended"
        self.journal("the copy is restored" if not obstacle else f"restore failed: {obstacle}")
        self._decider.feed(Event.RESTORE_FAILED if obstacle else Event.RESTORED)

    def _end_of_file(self) -> None:
        """The images are brought up to the committed epoch and closed; then ``_let_go``."""
        if self._promoted:  # by a process before: the copy has the images, nobody else opens them
            self._let_go()
            return
        self._committer.settle()
        self._stores.finish(self._commits.committed)

    def _let_go(self) -> None:
        """Both holders of the restore's pipe let go: it restores, behind shut vifs."""
        if self._decider.state in backup.ENDS:
            return
        self._promotion.touch()
        self._promoted = True
        self._link.let_go()
        if self._restore_fd is not None:
            self._loop.forget(self._restore_fd)
            os.close(self._restore_fd)
            self._restore_fd = None
        self._replica.watch()

    def _open_output(self) -> None:
        self._killpoint.at("open")
        domid = self._replica.domid()
        if domid is None:
            self.journal("the copy has vanished: nothing to open")
            return
        for complaint in self._vifs.open(domid):
            self.journal(complaint)
        self.journal("the guest's output is open here")

    def _note_win(self) -> None:
        """Behind the opening and the first announcement, which need not wait for a disk: until then

        the images look as old as the primary's, and only the register tells which host's is the
        guest's.
        """
        self._win_noted = True
        if self._noting is not None:
            self._noting.join()
        ledger = self._decider.ledger
        win = ledger.known.generation if ledger.known else ledger.session
        self._note(lambda owns: of_win(owns, win))

    def _note(self, age: Callable[[int], int]) -> None:
        """What cannot be noted stays older than it is, and overwrites nothing."""
        try:
            self._note_images(age)
        except RemusError as e:
            self.journal(str(e))

    def _announce(self) -> None:
        self._killpoint.at("announce")
        domid = self._replica.domid()
        if domid is not None:
            self._vifs.announce(self._loop, domid)
            self._win_noted = False
            self._loop.after(0.0, self._note_win)  # timers keep their order
            self._loop.after(0.0, self._tell_libvirt)

    def _tell_libvirt(self) -> None:
        """The copy is a domain that libvirt has not started."""
        request = self._request
        if not request.libvirt:
            return
        disks = request.config.get("disks", [])
        images = {disk["vdev"]: disk["pdev_path"] for disk in disks if disk.get("pdev_path")}
        try:
            managed.keep(managed.parse(request.libvirt, request.guest_name), images)
        except (RemusError, OSError) as e:
            self.journal(str(e))
            return
        self._errand = Errand(self._loop, [GIVE_BACK, request.guest_uuid], self.journal)

    def _cut(self) -> None:
        self._stores.cut()
        self._close_data()
        channel, self._channel = self._channel, None
        if channel is not None:
            self._loop.forget(channel.fileno())
            channel.close()

    def _close_data(self) -> None:
        self._forget_data()
        data, self._data = self._data, None
        if data is not None:
            data.close()

    def _tell_broken(self) -> None:
        if self._channel is not None:
            log = rundir.restore_log(self._request.guest_uuid)
            e = self._broken or RestoreFailed(detail=f"its log there is {log}")
            self._channel.send(Error(self._session, e.code, e.cause.format(**e.facts)))

    def _destroy_copy(self) -> None:
        self._replica.destroy()
        self._stores.end()

    def _clean(self) -> None:
        self._vifs.drop()

    # --- the local socket

    def _answer(self, request: dict[str, Any]) -> Any:
        if request.get("command") == "status":
            return self.status(int(request.get("after", 0)))
        if request.get("command") == "fenced":
            self.journal(f"the operator says that {self._request.primary_host} is fenced")
            self._decider.feed(Event.OPERATOR_FENCED)
            return {"accepted": True}
        if request.get("command") == ACCEPT_STORE:
            return {"accepted": self._decider.accept_store(str(request["incarnation"]))}
        raise ValueError(f"no command {request.get('command')!r}")

    def status(self, after: int = 0) -> dict[str, Any]:
        """What ``remus-ha status --json`` shows of this copy."""
        known = self._decider.ledger.known
        state = self._decider.state
        return {
            "role": "backup",
            "name": self._request.guest_name,
            "uuid": self._request.guest_uuid,
            "peer": self._request.primary_host,
            "state": BACKUP[state].value,
            "detail": state.value,
            "generation": known.generation if known else self._decider.ledger.session,
            "committed": self._commits.committed,
            "memory_kib": self._request.memory_kib,
            "rate_mbit_s": self._request.rate_mbit_s,
            "disks": self._stores.status(),
            "pid": os.getpid(),
            "events": self.journal.after(after),
        }


def _generation(hello: Hello) -> int:
    """The generation that the primary's session began with."""
    for feature in hello.features:
        key, _, value = feature.partition("=")
        if key == "generation" and value.isdigit():
            return int(value)
    raise ProtocolError(detail="a Hello without a generation")
