"""One Telegram call: phone.* signalling from request to discard.

An actor with one inbox: what the Worker wants and what Telegram says arrive there and are handled in order; only the
Worker's last wish waits for nothing. What the Worker must know goes to the outbox, which the gRPC stream drains.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import structlog
from pyrogram import raw
from structlog.contextvars import bind_contextvars
from teletrunk.background import BackgroundTasks
from teletrunk.destinations import called_of
from teletrunk.errors import Refusal
from teletrunk.identifiers import Called
from teletrunk.telemetry import of_call
from teletrunk.v1 import call_pb2
from teletrunk.v1 import session_store_pb2 as pb

from teletrunk_session_store.telegram import peers
from teletrunk_session_store.telegram.exchange import Agreed, Exchange, ExchangeFailed
from teletrunk_session_store.telegram.kurigram import named
from teletrunk_session_store.telegram.session import Session
from teletrunk_session_store.vault.store import FAILURES, KnownPeer, Vault

log = structlog.get_logger()

_MIN_LAYER = 65
_MAX_LAYER = 92
_PATIENCE_S = 5.0
_BEGUN = (raw.types.PhoneCallWaiting, raw.types.PhoneCallAccepted)
_ACCEPTED = (raw.types.PhoneCallWaiting, raw.types.PhoneCallAccepted, raw.types.PhoneCall)
_NOBODY_THERE = ("user-not-found", "no-confirmed-contact")
_REASONS: dict[pb.DiscardReason.ValueType, Any] = {
    pb.DISCARD_REASON_MISSED: raw.types.PhoneCallDiscardReasonMissed,
    pb.DISCARD_REASON_BUSY: raw.types.PhoneCallDiscardReasonBusy,
    pb.DISCARD_REASON_HANGUP: raw.types.PhoneCallDiscardReasonHangup,
    pb.DISCARD_REASON_DISCONNECT: raw.types.PhoneCallDiscardReasonDisconnect,
}


class PhoneCall:
    """A call of one session. `run` owns it from its first byte; everything else only tells `run` something."""

    def __init__(
        self, session: Session, vault: Vault, library_versions: list[str], begin: pb.StartCall | pb.TakeCall
    ) -> None:
        self._session = session
        self._vault = vault
        self._versions = library_versions
        self._begin = begin
        self._log = log.bind(**of_call(begin), session_id=session.session_id)
        self._peer: Any = None  # inputPhoneCall
        self._exchange: Exchange | None = None
        self._committed: bytes | None = None  # the caller's g_a_hash, when we are called
        self._rings = self._answered = False  # what was missed may come twice
        self._over = False  # Telegram has said so
        self._inbox: asyncio.Queue[Any] = asyncio.Queue(maxsize=1000)
        self._signals: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1000)
        self._packets = BackgroundTasks()
        self._end: asyncio.Future[pb.DiscardCall | Refusal] = asyncio.get_running_loop().create_future()
        self.outbox: asyncio.Queue[pb.CallResponse | Refusal | None] = asyncio.Queue()

    def on_update(self, update: Any) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # a flood of signalling loses its tail
            self._inbox.put_nowait(update)

    def on_lost(self) -> None:
        self._end_with(Refusal("session-disconnected"))

    def hang_up(self, wish: pb.DiscardCall) -> None:
        """The Worker's last wish. Whatever is under way is given up for it."""
        self._end_with(wish)

    def _end_with(self, end: pb.DiscardCall | Refusal) -> None:
        if not self._end.done():  # the first one counts
            self._end.set_result(end)

    async def ask(self, request: pb.CallRequest) -> None:
        """What the Worker wants, in the order in which it says so."""
        match request.WhichOneof("kind"):
            case "accept":
                self._log = self._log.bind(**of_call(request.accept))
                await self._inbox.put(request.accept)
            case "signalling":
                await self._signals.put(request.signalling.data)
            case _:
                self.hang_up(request.discard)

    # The owner.

    async def run(self) -> None:
        """The call's life, until Telegram knows that it is over. Ends the outbox, with a `Refusal` if there was one.

        It is a task of its own: what others log in it, of requests and peers, says for which call.
        """
        bind_contextvars(**of_call(self._begin))
        working = asyncio.ensure_future(self._work(self._begin))
        signalling = asyncio.ensure_future(self._send_signals())
        try:
            first: set[asyncio.Future[Any]] = {working, self._end}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            end = self._end.result() if not working.done() else None
            working.cancel()
            await asyncio.wait({working})
            failure = end if isinstance(end, Refusal) else self._failure_of(working)
            if failure is not None:
                self._log.info("call refused", row=failure.row.id, detail=failure.detail)
                self.outbox.put_nowait(failure)
            await self._discard(end if isinstance(end, pb.DiscardCall) else pb.DiscardCall())
        finally:
            self.outbox.put_nowait(None)
            working.cancel()
            signalling.cancel()
            await self._packets.settle(0)
            if self._peer is not None:
                self._session.calls.detach(self._peer.id)

    def _failure_of(self, working: asyncio.Future[None]) -> Refusal | None:
        error = None if working.cancelled() else working.exception()
        match error:
            case None | Refusal():
                return error
            case ExchangeFailed():
                return Refusal("telegram-error", str(error))
            case _:
                expected = isinstance(error, FAILURES)
                self._log.error("call failed", error=repr(error), exc_info=None if expected else error)
                return Refusal("storage-unreachable")

    async def _work(self, begin: pb.StartCall | pb.TakeCall) -> None:
        if isinstance(begin, pb.StartCall):
            await self._start(called_of(begin.destination, begin.called))
        else:
            await self._take(begin.phone_call_id)
        while not self._over:
            await self._handle(await self._inbox.get())

    # The beginnings.

    async def _start(self, called: Called | None) -> None:
        """Raises `Refusal`."""
        callee = await peers.resolve(self._session, self._vault, called)
        self._log.info("callee resolved", user_id=callee.user_id)
        if callee.user_id == self._session.user_id:
            raise Refusal("user-not-found", "that is the account itself")
        random_id = self._session.open_calls.note_request(callee.user_id)  # while the keys are made
        try:
            self._exchange = await self._make_exchange(patience=0)
        except BaseException:
            self._session.open_calls.refused(random_id)
            raise
        try:
            await self._request_call(callee, self._exchange, random_id)
        except Refusal as refusal:
            if refusal.row.id not in _NOBODY_THERE:
                raise
            # The number or name may be another's by now.
            if (now := await peers.resolve(self._session, self._vault, called, fresh=True)).user_id == callee.user_id:
                raise
            await self._request_call(now, self._exchange, self._session.open_calls.note_request(now.user_id))

    async def _request_call(self, callee: KnownPeer, exchange: Exchange, random_id: int) -> None:
        self._step("storage", "telegram", "phone.requestCall")
        query = raw.functions.phone.RequestCall(
            user_id=raw.types.InputUser(user_id=callee.user_id, access_hash=callee.access_hash),
            random_id=random_id,
            g_a_hash=exchange.public_hash,
            protocol=self._protocol(),
        )
        answer = await self._session.request_call(query, callee.user_id)
        if hasattr(call := getattr(answer, "phone_call", None), "access_hash"):
            self._attach(call, random_id)  # in the same step as the answer: see PhoneCalls.answered
        else:
            self._session.open_calls.refused(random_id)
        self._begun(_call_of(answer, _BEGUN), callee)
        self._session.remember_later(answer.users)

    async def _take(self, phone_call_id: int) -> None:
        """Takes charge of an incoming call that waits. Raises `Refusal` when it is over already."""
        incoming = self._session.incoming.take(phone_call_id)
        if incoming is None:
            raise Refusal("telegram-error", "CALL_ALREADY_DECLINED")
        self._attach(incoming.call)
        self._committed = incoming.call.g_a_hash
        self._step("telegram", "storage", "phoneCallRequested", incoming.at)
        self._step("storage", "telegram", "phone.receivedCall", incoming.at)
        self._begun(incoming.call, incoming.caller)

    def _attach(self, call: Any, random_id: int | None = None) -> None:
        self._peer = raw.types.InputPhoneCall(id=call.id, access_hash=call.access_hash)
        self._session.calls.attach(call.id, self)
        self._log.info("call requested" if random_id is not None else "call taken", phone_call_id=call.id)
        self._session.open_calls.note(call.id, call.access_hash, random_id)

    def _begun(self, call: Any, other: KnownPeer) -> None:
        self._say(
            requested=pb.CallRequested(phone_call_id=call.id, access_hash=call.access_hash, peer=peer_message(other))
        )

    # What happens to it.

    async def _handle(self, item: Any) -> None:
        match item:
            case pb.AcceptCall():
                await self._accept()
            case raw.types.UpdatePhoneCallSignalingData():
                self._say(signalling=pb.SignallingData(data=item.data))
            case raw.types.PhoneCallWaiting() if item.receive_date and not self._rings:
                self._rings = True
                self._step("telegram", "storage", "ringing (receive_date)")
                self._say(ringing=pb.CallRinging())
            case raw.types.PhoneCallAccepted() if not self._answered:
                self._answered = True
                await self._confirm(item)
            case raw.types.PhoneCall():
                await self._confirmed(item)
            case raw.types.PhoneCallDiscarded():
                await self._discarded(item)

    async def _invoke(self, query: Any) -> Any:
        """A request of a call that is there: a link that is just coming back is waited for."""
        return await self._session.invoke(query, patience=_PATIENCE_S)

    async def _accept(self) -> None:
        self._exchange = await self._make_exchange(_PATIENCE_S)
        self._step("storage", "telegram", "phone.acceptCall")
        answer = await self._invoke(
            raw.functions.phone.AcceptCall(peer=self._peer, g_b=self._exchange.public, protocol=self._protocol())
        )
        _call_of(answer, _ACCEPTED)

    async def _confirm(self, accepted: Any) -> None:
        """The callee has answered: agree on the key and confirm it."""
        self._step("telegram", "storage", "phoneCallAccepted")
        agreed = await self._agree(accepted.g_b)
        assert self._exchange is not None
        self._step("storage", "telegram", "phone.confirmCall")
        answer = await self._invoke(
            raw.functions.phone.ConfirmCall(
                peer=self._peer,
                g_a=self._exchange.public,
                key_fingerprint=agreed.fingerprint,
                protocol=self._protocol(),
            )
        )
        self._ready(_call_of(answer, raw.types.PhoneCall), agreed, outgoing=True)

    async def _confirmed(self, call: Any) -> None:
        """The caller has confirmed: their half must be what they committed to, and the keys the same."""
        if self._committed is None:
            return  # the echo of our own confirmCall
        self._step("telegram", "storage", "phoneCall confirmed")
        agreed = await self._agree(call.g_a_or_b, self._committed)
        self._ready(call, agreed, outgoing=False)
        self._committed = None

    def _ready(self, call: Any, agreed: Agreed, *, outgoing: bool) -> None:
        if call.key_fingerprint != agreed.fingerprint:
            raise ExchangeFailed("key fingerprints differ")
        self._log.info("call ready", outgoing=outgoing)
        self._say(
            ready=pb.CallReady(
                key=agreed.key,
                outgoing=outgoing,
                servers=[_server(connection) for connection in call.connections],
                library_versions=call.protocol.library_versions[:1],
                p2p_allowed=bool(call.p2p_allowed),
                custom_parameters=call.custom_parameters.data if call.custom_parameters else "",
            )
        )

    async def _make_exchange(self, patience: float) -> Exchange:
        self._step("storage", "telegram", "messages.getDhConfig")
        query = raw.functions.messages.GetDhConfig(version=0, random_length=256)
        config = await self._session.invoke(query, expect=raw.types.messages.DhConfig, patience=patience)
        return await asyncio.to_thread(Exchange, config.g, config.p)

    async def _agree(self, public: bytes, committed: bytes | None = None) -> Agreed:
        if self._exchange is None:
            raise ExchangeFailed("answered before it was asked")
        return await asyncio.to_thread(self._exchange.agree, public, committed)

    # Signalling: the two media libraries repeat by themselves what gets lost.

    async def _send_signals(self) -> None:
        """In order, and without waiting for the answer to one before the next is sent."""
        while True:
            data = await self._signals.get()
            with contextlib.suppress(Refusal):
                await self._session.linked(_PATIENCE_S)
            if self._peer is not None:
                self._packets.run(self._send_signal(data))

    async def _send_signal(self, data: bytes) -> None:
        """A packet that is not sent ends no call."""
        try:
            await self._session.invoke(raw.functions.phone.SendSignalingData(peer=self._peer, data=data))
        except Refusal as refusal:
            self._log.info("signalling not sent", why=refusal.phrase)

    # The end.

    async def _discard(self, wish: pb.DiscardCall) -> None:
        """Our end of it, unless Telegram was first."""
        if self._over:
            return
        reason = wish.reason or pb.DISCARD_REASON_DISCONNECT
        if self._peer is not None:
            self._step("storage", "telegram", f"phone.discardCall {_name(reason)}")
            self._log.info("call discarded", reason=_name(reason), by="worker")
            await self._session.open_calls.discard(self._peer, _REASONS[reason](), wish.duration)
        self._say(discarded=pb.CallDiscarded(reason=reason, by_peer=False))

    async def _discarded(self, call: Any) -> None:
        self._over = True
        reason = next(
            (key for key, kind in _REASONS.items() if isinstance(call.reason, kind)), pb.DISCARD_REASON_HANGUP
        )
        self._step("telegram", "storage", f"phoneCallDiscarded {_name(reason)}")
        self._log.info("call discarded", reason=_name(reason), by="telegram")
        self._say(discarded=pb.CallDiscarded(reason=reason, by_peer=True))
        await self._session.open_calls.is_over(call.id)

    def _protocol(self) -> Any:
        return raw.types.PhoneCallProtocol(
            udp_p2p=True,
            udp_reflector=True,
            min_layer=_MIN_LAYER,
            max_layer=_MAX_LAYER,
            library_versions=self._versions,
        )

    def _say(self, **kind: Any) -> None:
        self.outbox.put_nowait(pb.CallResponse(**kind))

    def _step(self, source: str, target: str, text: str, at: float = 0.0) -> None:
        self._say(step=call_pb2.CallStep(at=at or time.time(), source=source, target=target, text=text))


def _call_of(answer: Any, kinds: Any) -> Any:
    """The phoneCall in an answer. Raises `Refusal` with Telegram's own word when it is none of these."""
    call = answer.phone_call if isinstance(answer, raw.types.phone.PhoneCall) else answer
    if not isinstance(call, kinds):
        raise Refusal("telegram-error", named(call))
    return call


def _name(reason: pb.DiscardReason.ValueType) -> str:
    name: str = pb.DiscardReason.Name(reason)
    return name.removeprefix("DISCARD_REASON_").lower()


def peer_message(peer: KnownPeer) -> call_pb2.Peer:
    return call_pb2.Peer(
        user_id=peer.user_id,
        first_name=peer.first_name,
        last_name=peer.last_name,
        username=peer.username,
        phone=peer.phone,
        more_usernames=peer.more_usernames,
    )


def _server(connection: Any) -> pb.MediaServer:
    common = {"id": connection.id, "ipv4": connection.ip, "ipv6": connection.ipv6, "port": connection.port}
    if isinstance(connection, raw.types.PhoneConnectionWebrtc):
        return pb.MediaServer(
            **common,
            username=connection.username,
            password=connection.password,
            turn=bool(connection.turn),
            stun=bool(connection.stun),
        )
    return pb.MediaServer(**common, tcp=bool(connection.tcp), peer_tag=connection.peer_tag)
