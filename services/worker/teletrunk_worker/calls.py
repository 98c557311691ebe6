"""All calls of this Worker: how they begin, from either side, and how they are found."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from teletrunk import causes
from teletrunk.background import BackgroundTasks
from teletrunk.destinations import text_of
from teletrunk.errors import Refusal
from teletrunk.service import Cause, Service
from teletrunk.telemetry import of_call
from teletrunk.v1 import call_pb2, manager_pb2
from teletrunk.v1 import session_store_pb2 as pb
from teletrunk.v1.trunk_pb2 import TRUNK_KIND_UNSPECIFIED

from teletrunk_worker.call import events as on
from teletrunk_worker.call import identity, machine
from teletrunk_worker.call.record import Recorder, caller_leg, telegram_name
from teletrunk_worker.call.runner import CallRunner
from teletrunk_worker.call.surroundings import Hosts, Manager, Storages, Surroundings
from teletrunk_worker.call.worker_ports import WorkerPorts
from teletrunk_worker.legs.ring import RingPair
from teletrunk_worker.legs.supervisor import HostPool
from teletrunk_worker.policy.admission import Admitted, Invite, Registered, Transfer
from teletrunk_worker.refused_calls import RefusedCalls
from teletrunk_worker.relay import codecs, srtp
from teletrunk_worker.relay.routes import binding_uri
from teletrunk_worker.server.port import SipPort
from teletrunk_worker.sip.auth import Credentials
from teletrunk_worker.sip.registrar import Binding
from teletrunk_worker.sip.transport.flow import address_of
from teletrunk_worker.trunks.book import Trunk

log = structlog.get_logger()

_HANG_UP_S = 4.0
_STARTING_S = 30.0  # the Manager's first word is due by then; later its silence is what is wrong


@dataclass(frozen=True)
class Rim:
    """What stands around the calls of a Worker."""

    worker_id: str
    edge: SipPort
    sip_hosts: HostPool
    telegram_hosts: Hosts[Any]
    manager: Manager
    storages: Storages
    refused_calls: RefusedCalls
    first_answer_s: float  # how long a PBX may take to say anything at all to an INVITE


class Calls:
    """The SIP port's gatekeeper, and the place where Telegram's calls arrive."""

    rim: Rim

    def __init__(self, service: Service, max_calls: int, *, allow_registration: bool = True) -> None:
        self._service = service
        self._born = time.monotonic()
        self._max_calls = max_calls
        self._allow_registration = allow_registration
        self._runners: dict[str, CallRunner] = {}
        self._tasks = BackgroundTasks()
        self._drain_began = False  # ordered while we were at work, and not before we started
        self._configured = False
        self._coming = 0  # calls from PBXs that are being routed
        self._empty = asyncio.Event()
        self._empty.set()
        self._news = asyncio.Event()  # the Manager's word has changed

    @property
    def _around(self) -> Surroundings:
        rim = self.rim
        return Surroundings(rim.sip_hosts, rim.telegram_hosts, rim.edge, rim.storages, self._tasks)

    def _recorder(self, *, from_sip: bool) -> Recorder:
        return Recorder(_new_call_id(), self.rim.worker_id, from_sip=from_sip)

    @property
    def count(self) -> int:
        return len(self._runners)

    def lines(self) -> list[manager_pb2.Line]:
        """What the calls that live occupy."""
        return [runner.line for runner in self._runners.values() if runner.line is not None]

    def configure(self, config: manager_pb2.WorkerConfig) -> None:
        """The Manager's word."""
        begins = self._configured and not self._service.drains_for(Cause.MANAGER)
        self._drain_began = config.draining and (begins or self._drain_began)
        self._configured = True
        if config.draining:
            self._service.drain(Cause.MANAGER)
        else:
            self._service.resume(Cause.MANAGER)
        self._news.set()

    async def drained(self) -> None:
        """Returns when the Manager has ordered a drain, has not taken it back, and the last call has ended."""
        while not (self._drain_began and self._empty.is_set()):
            self._news.clear()
            if self._drain_began:
                await self._empty.wait()
            else:
                await self._news.wait()

    async def ended(self, seconds: float) -> None:
        """Returns when the last call has ended, or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()

    async def close(self) -> None:
        """Hangs everything up and waits for it, a little."""
        for runner in self._runners.values():
            runner.put(on.HangUp(Refusal("worker-restarting")))
        await self._tasks.settle(_HANG_UP_S)

    # The SIP port's questions.

    async def register(self, credentials: Credentials, source_address: str) -> Registered:
        if (refusal := self._takes_no_registration()) is not None:
            self.registration_refused(credentials, source_address, refusal)
            raise refusal
        return await self.identify(credentials, source_address)

    async def identify(self, credentials: Credentials, source_address: str) -> Registered:
        answer = await self.rim.manager.register(credentials, source_address)
        return Registered(answer.trunk_id, answer.login, answer.password_revision)

    def _takes_no_registration(self) -> Refusal | None:
        if self._service.draining:
            return causes.NO_MORE_REGISTRATIONS.refusal()
        return None if self._allow_registration else Refusal("registration-type-not-allowed")

    def registration_refused(self, credentials: Credentials, source_address: str, refusal: Refusal) -> None:
        self.rim.manager.refused_registrations.note(credentials.username, source_address, refusal)

    async def admit(self, invite: Invite) -> Admitted:
        """Routes a call from a PBX and gives it a SIP host. Raises `Refusal`; a record tells of that, too."""
        recorder = self._recorder(from_sip=True)
        try:
            self._check_room(coming=1)
            rings = _rings()  # before a line is taken: without them there is no call
        except Refusal as refusal:
            self.rim.refused_calls.note(recorder.record, invite, refusal, was_asked=False)
            raise
        self._coming += 1
        self._empty.clear()
        # The Manager is asked to the end though the caller may have gone by then: a line that it gives is given back.
        beginning = self._tasks.run(self._begin(invite, recorder, rings))
        try:
            begun = await asyncio.shield(beginning)
            if isinstance(begun, Refusal):
                raise begun
            return Admitted(begun.call_id, await begun.placed)
        except asyncio.CancelledError:
            beginning.add_done_callback(_given_up)
            raise

    async def _begin(self, invite: Invite, recorder: Recorder, rings: RingPair) -> CallRunner | Refusal:
        """From here on the call owns itself: however it ends, a record gives its line back."""
        try:
            route = await self._route(recorder.record.call_id, invite)
        except BaseException as error:
            rings.close()
            self._coming -= 1
            self._look_whether_empty()
            if not isinstance(error, Refusal):
                raise
            self.rim.refused_calls.note(recorder.record, invite, error, was_asked=True)
            return error
        _describe(recorder, invite, route)
        destination = route.destination if route.HasField("destination") else None
        called = invite.called if destination is None else text_of(destination)
        ports = WorkerPorts(
            self._around,
            recorder,
            rings,
            route.session,
            called=called,
            offered=invite.offered,
            destination=destination,
        )
        runner = CallRunner(recorder.record.call_id, machine.from_sip(), ports, self.rim.manager, recorder)
        runner.line = _line(route)
        objection = self._objection(route, invite)
        runner.put(on.Refused(objection) if objection is not None else on.Admitted(route.longest_seconds))
        self._start(runner)
        self._coming -= 1  # its runner counts from here on
        return runner

    async def _route(self, call_id: str, invite: Invite) -> manager_pb2.RouteCallResponse:
        return await self.rim.manager.route_call(
            call_id,
            invite.credentials,
            invite.source_address,
            invite.called,
            registered=bool(invite.trunk_id) or self.rim.edge.registrar.knows(invite.credentials.username),
            trunk_id=invite.trunk_id,
        )

    def _objection(self, route: manager_pb2.RouteCallResponse, invite: Invite) -> Refusal | None:
        trunk = self.rim.edge.trunks.find(route.trunk_id)
        if (unfit := trunk.objection_to(invite.transport)) is not None:
            return unfit
        if not invite.trunk_id and not self.rim.edge.registrar.bindings(route.trunk_id):
            return Refusal("not-registered")
        if not route.session.storage_address:
            return Refusal("no-active-session")
        if (refusal := srtp.refusal_over(invite.transport, trunk.sound)) is not None or invite.offered is None:
            return refusal
        codecs_lack = codecs.refusal_of(invite.offered, Trunk.codecs_of(route.codecs))
        return codecs_lack or srtp.refusal_of(invite.srtp, trunk.sound)

    def transfer(self, transfer: Transfer) -> None:
        """Of a call that is up, to another number of its PBX. Raises `Refusal`."""
        runner = self._runners.get(transfer.call_id)
        if runner is None:
            raise Refusal("transfer-refused", "the call is not up")
        record = runner.recorder.record
        bindings = self.rim.edge.registrar.reachable(transfer.trunk_id)
        near = [binding for binding in bindings if binding.flow.peer[0] == transfer.peer_address]
        if not (binding := next(iter([*near, *bindings]), None)):
            raise Refusal("transfer-refused", "no PBX is registered")
        person = record.called if runner.from_sip else record.caller
        unnamed = identity.Caller.of(person, "", self.rim.edge.name(binding.flow))
        account = self.rim.edge.trunks.find(transfer.trunk_id).account
        caller, headers = runner.shown_to(transfer.leg) or (unnamed.from_header(account), unnamed.asserted())
        if transfer.referred_by:
            others = (header for header in headers if header[0] != "Referred-By")
            headers = (*others, ("Referred-By", transfer.referred_by))
        if transfer.replaces:
            headers = (*headers, ("Replaces", transfer.replaces))
        target = _target(runner.new_leg(), binding, transfer.number, caller, headers)
        if not runner.transfer(transfer.leg, target, transfer.subscription):
            raise Refusal("transfer-refused", "the call is not up, or is being transferred")
        runner.told(transfer.leg, f"REFER {transfer.number}{', attended' if transfer.replaces else ''}")

    # What people ask of calls, by way of the Manager.

    def live(self) -> list[manager_pb2.LiveCall]:
        return [runner.live for runner in self._runners.values()]

    def wish(self, wish: manager_pb2.CallWish) -> None:
        """Of a call that has ended meanwhile nothing is wanted."""
        runner = self._runners.get(wish.call_id)
        if runner is None:
            return
        log.info("wish", **of_call(runner.recorder.record), kind=wish.WhichOneof("kind"))
        if wish.WhichOneof("kind") == "digits":
            runner.put(on.KeysWanted(wish.digits))
        elif wish.WhichOneof("kind") == "hang_up":
            runner.recorder.step("manager", "worker", f"hang up, says {wish.hang_up}")
            runner.put(on.HangUp(Refusal("ended-by-operator")))

    def bound(self, trunk_id: str) -> None:
        """Its PBXs are others than before, or elsewhere."""
        for runner in self._runners.values():
            if runner.waits_for(trunk_id):
                runner.put(on.Rebound(runner.tiers()))

    def withdrawn(self, trunk_id: str) -> None:
        """The trunk is gone, or off. Calls that are up go on."""
        for runner in self._runners.values():
            if trunk_id in runner.meant:
                runner.withdraw(trunk_id)

    def turned_away(self, invite: Invite, refusal: Refusal) -> None:
        self.rim.refused_calls.note(self._recorder(from_sip=True).record, invite, refusal, was_asked=False)

    def told(self, call_id: str, leg: str, text: str, answer: str = "") -> None:
        if runner := self._runners.get(call_id):
            runner.told(leg, text, answer)

    def heard(self, call_id: str, leg: str) -> None:
        if runner := self._runners.get(call_id):
            runner.heard(leg)

    def refused(self, call_id: str, leg: str, status: int, phrase: str) -> None:
        if runner := self._runners.get(call_id):
            runner.refused_on_the_way(leg, status, phrase)

    # Telegram's calls.

    def on_incoming(self, incoming: pb.IncomingCall) -> None:
        """A call that a Storage has received for one of our sessions."""
        session = self.rim.storages.sessions.get(incoming.session_id)
        if session is None:
            return
        if why := self.not_ready():  # another Worker may have room: it is not taken from that one only to be refused
            log.info("a call from Telegram is left to others", session=incoming.session_id, why=why)
            return
        recorder = self._recorder(from_sip=False)
        record = recorder.record
        record.account_id, record.storage_id = session.account_id, session.storage_id
        record.caller, record.called = telegram_name(incoming.caller), session.account
        ports = WorkerPorts(self._around, recorder, _rings(), session, caller_id=incoming.caller.user_id)
        state = machine.from_telegram(self.rim.first_answer_s)
        runner = CallRunner(record.call_id, state, ports, self.rim.manager, recorder)
        self._tasks.run(self._route_incoming(runner, incoming))

    async def _route_incoming(self, runner: CallRunner, incoming: pb.IncomingCall) -> None:
        """Every Worker that watches the session hears of the call; the one that the Storage gives it to routes it."""
        if not await runner.take(incoming.phone_call_id):
            return
        runner.put(on.Taken())
        self._start(runner)
        try:
            self._check_room()
            route = await self.rim.manager.route_incoming(runner.call_id, incoming.session_id, incoming.caller)
        except Refusal as refusal:
            runner.put(on.Refused(refusal))
            return
        runner.recorder.routed(route.proof, route.account_id)
        runner.meant = meant = frozenset(trunk.trunk_id for tier in route.tiers for trunk in tier.targets)
        if len(meant) == 1:  # whatever becomes of the call: of several, the first that is rung
            [runner.recorder.record.trunk_id] = meant
        for step in route.steps:
            runner.recorder.add_step(step)
        runner.line = _line(route)
        for why in self._not_rung(route):
            runner.recorder.step("worker", "worker", why)
        numbers = itertools.count(1)
        runner.tiers = lambda: self._targets(route, incoming.caller, numbers)
        runner.put(on.Routed(runner.tiers(), route.longest_seconds))

    def _not_rung(self, route: manager_pb2.RouteIncomingResponse) -> Iterator[str]:
        """Of the trunks that the call is meant for, those that have no binding, and why."""
        for trunk in (trunk for tier in route.tiers for trunk in tier.targets):
            if not self.rim.edge.registrar.reachable(trunk.trunk_id):
                reaches_out = self.rim.edge.trunks.find(trunk.trunk_id).options.kind != TRUNK_KIND_UNSPECIFIED
                why = "its PBX is not reached from here" if reaches_out else "no PBX is registered with it here"
                yield f"{trunk.login} is not rung: {why}"

    def _targets(
        self, route: manager_pb2.RouteIncomingResponse, peer: call_pb2.Peer, numbers: Iterator[int]
    ) -> tuple[tuple[on.Target, ...], ...]:
        """The tiers as bindings that are live now. A trunk that is not registered has none.

        An older Manager has one caller ID and name for all.
        """
        told = identity.headers_of(peer)
        tiers = []
        for tier in route.tiers:
            targets = []
            for trunk in tier.targets:
                number_and_name = trunk.caller_id or route.caller_id, trunk.caller_name or route.caller_name
                account = self.rim.edge.trunks.find(trunk.trunk_id).account
                for binding in self.rim.edge.registrar.reachable(trunk.trunk_id):
                    caller = identity.Caller.of(*number_and_name, self.rim.edge.name(binding.flow))
                    shown = caller.from_header(account), (*caller.asserted(), *told)
                    targets.append(_target(f"t{next(numbers)}", binding, trunk.number_on_pbx, *shown))
            tiers.append(tuple(targets))
        return tuple(tiers)

    def not_ready(self) -> str:
        """Why no call would be taken now; empty when it would."""
        try:
            self._check_room(coming=1)
        except Refusal as refusal:
            return refusal.phrase
        return ""

    def _check_room(self, coming: int = 0) -> None:
        """`coming` are calls that are not counted yet. Raises `Refusal`."""
        if self._service.draining:
            raise causes.NO_MORE_CALLS.refusal()
        if not self._configured and time.monotonic() - self._born < _STARTING_S:
            raise Refusal("worker-restarting")
        if len(self._runners) + self._coming + coming > self._max_calls or not self.rim.sip_hosts.room:
            raise Refusal("worker-full")

    def _start(self, runner: CallRunner) -> None:
        self.rim.telegram_hosts.expect()
        self._runners[runner.call_id] = runner
        self._empty.clear()
        self._tasks.run(self._run(runner))
        runner.say_begun()
        self.rim.manager.note(runner.recorder.record)

    async def _run(self, runner: CallRunner) -> None:
        try:
            await runner.run()
        except Exception:
            log.exception("call failed", **of_call(runner.recorder.record))
        finally:
            self._runners.pop(runner.call_id, None)
            self._look_whether_empty()

    def _look_whether_empty(self) -> None:
        if not self._runners and not self._coming:
            self._empty.set()


def _given_up(beginning: asyncio.Task[CallRunner | Refusal]) -> None:
    """The caller has gone: a call that has begun for it ends."""
    if beginning.cancelled() or beginning.exception() is not None:
        return
    if isinstance(begun := beginning.result(), CallRunner):
        begun.put(on.SipEnded(machine.CALLER_LEG, 487, "Request Terminated"))


def _describe(recorder: Recorder, invite: Invite, route: manager_pb2.RouteCallResponse) -> None:
    record = recorder.record
    recorder.routed(route.proof, route.account_id)
    record.trunk_id, record.storage_id = route.trunk_id, route.session.storage_id
    record.caller, record.called = invite.credentials.username, invite.called
    recorder.leg(caller_leg(invite, route.trunk_id))
    recorder.step("pbx", "worker", f"INVITE {invite.called}", at=record.invited_at)
    for step in route.steps:
        recorder.add_step(step)


def _target(leg: str, binding: Binding, number: str, caller: str, headers: tuple[tuple[str, str], ...]) -> on.Target:
    uri = binding_uri(binding, number)
    return on.Target(leg, binding.trunk_id, uri, caller, headers, binding.login, address_of(binding.flow))


def _line(route: manager_pb2.RouteCallResponse | manager_pb2.RouteIncomingResponse) -> manager_pb2.Line | None:
    return route.line if route.HasField("line") else None


def _rings() -> RingPair:
    """Raises `Refusal`."""
    try:
        return RingPair.create()
    except OSError as error:
        log.error("no rings for a call", error=str(error))
        raise Refusal("media-failed", "no memory or descriptors are left") from None


def _new_call_id() -> str:
    """Sorts by time, cannot be guessed."""
    return f"{int(time.time() * 1000):011x}{secrets.token_hex(6)}"
