"""One Telegram call: phone.* signalling from request to discard.

An actor with one inbox: what the Worker wants and what Telegram says arrive there and are handled in order.
What the Worker must know goes to the outbox, which the gRPC stream drains.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any

import structlog
from pyrogram import raw
from teletrunk.errors import Refusal
from teletrunk.v1 import call_pb2
from teletrunk.v1 import session_store_pb2 as pb

from teletrunk_session_store.telegram import peers
from teletrunk_session_store.telegram.exchange import Agreed, Exchange, ExchangeFailed
from teletrunk_session_store.telegram.session import Session
from teletrunk_session_store.vault.store import KnownPeer, Vault

log = structlog.get_logger()

_MIN_LAYER = 65
_MAX_LAYER = 92
_NOBODY_THERE = ("user-not-found", "no-confirmed-contact")
_REASONS: dict[pb.DiscardReason.ValueType, Any] = {
    pb.DISCARD_REASON_MISSED: raw.types.PhoneCallDiscardReasonMissed,
    pb.DISCARD_REASON_BUSY: raw.types.PhoneCallDiscardReasonBusy,
    pb.DISCARD_REASON_HANGUP: raw.types.PhoneCallDiscardReasonHangup,
    pb.DISCARD_REASON_DISCONNECT: raw.types.PhoneCallDiscardReasonDisconnect,
}


class PhoneCall:
    """A call of one session. `run` owns it; everything else only puts into the inbox."""

    def __init__(self, session: Session, vault: Vault, library_versions: list[str], call_id: str) -> None:
        self._session = session
        self._vault = vault
        self._versions = library_versions
        self._call_id = call_id
        self._peer: Any = None  # inputPhoneCall
        self._exchange: Exchange | None = None
        self._committed: bytes | None = None  # the caller's g_a_hash, when we are called
        self._over = False
        self._settled = False  # Telegram knows that it is over
        self.inbox: asyncio.Queue[Any] = asyncio.Queue(maxsize=1000)
        self.outbox: asyncio.Queue[pb.CallResponse | None] = asyncio.Queue()

    def on_update(self, update: Any) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # a flood of signalling loses its tail
            self.inbox.put_nowait(update)

    # The beginnings.

    def on_lost(self) -> None:
        self.inbox.put_nowait(Refusal("session-disconnected"))

    async def start(self, called: str) -> None:
        """phone.requestCall. Raises `Refusal`; a flood wait is kept, and Telegram not asked again before its end."""
        await self._session.require_no_flood()
        try:
            await self._start(called)
        except Refusal as refusal:
            if refusal.row.id == "flood-wait":
                await self._session.note_flood(refusal.retry_after)
            raise

    async def _start(self, called: str) -> None:
        callee = await peers.resolve(self._session, self._vault, called)
        self._step("storage", "telegram", "messages.getDhConfig")
        config = await self._session.invoke(raw.functions.messages.GetDhConfig(version=0, random_length=256))
        self._exchange = await self._make_exchange(config)
        try:
            answer = await self._request(callee, self._exchange)
        except Refusal as refusal:
            if refusal.row.id not in _NOBODY_THERE:
                raise
            # The number or name may be another's by now.
            if (now := await peers.resolve(self._session, self._vault, called, fresh=True)).user_id == callee.user_id:
                raise
            callee = now
            answer = await self._request(callee, self._exchange)
        await self._session.remember(answer.users)
        await self._begun(answer.phone_call, callee)

    async def _request(self, callee: KnownPeer, exchange: Exchange) -> Any:
        self._step("storage", "telegram", "phone.requestCall")
        return await self._session.invoke(
            raw.functions.phone.RequestCall(
                user_id=raw.types.InputUser(user_id=callee.user_id, access_hash=callee.access_hash),
                random_id=random.randint(1, 0x7FFFFFFF),
                g_a_hash=exchange.public_hash,
                protocol=self._protocol(),
            )
        )

    async def take(self, phone_call_id: int) -> None:
        """Takes charge of an incoming call that waits. Raises `Refusal` when it is over already."""
        incoming = self._session.incoming.pop(phone_call_id, None)
        if incoming is None:
            raise Refusal("telegram-error", "CALL_ALREADY_DECLINED")
        self._committed = incoming.call.g_a_hash
        self._step("telegram", "storage", "phoneCallRequested", incoming.at)
        self._step("storage", "telegram", "phone.receivedCall", incoming.at)
        await self._begun(incoming.call, incoming.caller)

    async def _begun(self, call: Any, other: KnownPeer) -> None:
        self._peer = raw.types.InputPhoneCall(id=call.id, access_hash=call.access_hash)
        self._say(
            requested=pb.CallRequested(phone_call_id=call.id, access_hash=call.access_hash, peer=peer_message(other))
        )
        await self._session.note_call(call.id, call.access_hash)
        self._session.attach(call.id, self)

    # The owner.

    async def run(self) -> None:
        """Handles the inbox until the call is over; then ends the outbox."""
        try:
            while not self._over:
                await self._handle(await self.inbox.get())
        except (Refusal, ExchangeFailed) as error:
            log.warning("call failed", call_id=self._call_id, error=str(error))
            await self._discard(pb.DISCARD_REASON_DISCONNECT, 0)
        finally:
            self.outbox.put_nowait(None)

    async def release(self) -> None:
        """After `run`: hangs up what is still up, and lets the session forget the call."""
        if self._peer is None:
            return
        if not self._settled:  # `run` may have been cancelled while it said so
            await self._discard(pb.DISCARD_REASON_DISCONNECT, 0)
        self._session.detach(self._peer.id)
        await self._session.forget_call(self._peer.id)

    async def _handle(self, item: Any) -> None:
        match item:
            case Refusal():
                raise item
            case pb.SignallingData():
                await self._session.invoke(raw.functions.phone.SendSignalingData(peer=self._peer, data=item.data))
            case pb.AcceptCall():
                await self._accept()
            case pb.DiscardCall():
                await self._discard(item.reason or pb.DISCARD_REASON_HANGUP, item.duration)
            case raw.types.UpdatePhoneCallSignalingData():
                self._say(signalling=pb.SignallingData(data=item.data))
            case raw.types.PhoneCallWaiting():
                if item.receive_date:
                    self._step("telegram", "storage", "ringing (receive_date)")
                    self._say(ringing=pb.CallRinging())
            case raw.types.PhoneCallAccepted():
                await self._confirm(item)
            case raw.types.PhoneCall():
                await self._confirmed(item)
            case raw.types.PhoneCallDiscarded():
                self._discarded(item)

    async def _accept(self) -> None:
        config = await self._session.invoke(raw.functions.messages.GetDhConfig(version=0, random_length=256))
        self._exchange = await self._make_exchange(config)
        self._step("storage", "telegram", "phone.acceptCall")
        await self._session.invoke(
            raw.functions.phone.AcceptCall(peer=self._peer, g_b=self._exchange.public, protocol=self._protocol())
        )

    async def _confirm(self, accepted: Any) -> None:
        """The callee has answered: agree on the key and confirm it."""
        self._step("telegram", "storage", "phoneCallAccepted")
        agreed = await self._agree(accepted.g_b)
        assert self._exchange is not None
        self._step("storage", "telegram", "phone.confirmCall")
        answer = await self._session.invoke(
            raw.functions.phone.ConfirmCall(
                peer=self._peer,
                g_a=self._exchange.public,
                key_fingerprint=agreed.fingerprint,
                protocol=self._protocol(),
            )
        )
        self._ready(answer.phone_call, agreed, outgoing=True)

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

    async def _make_exchange(self, config: Any) -> Exchange:
        try:
            return await asyncio.to_thread(Exchange, config.g, config.p)
        except ExchangeFailed as error:
            raise Refusal("telegram-error", str(error)) from None

    async def _agree(self, public: bytes, committed: bytes | None = None) -> Agreed:
        if self._exchange is None:
            raise ExchangeFailed("answered before it was asked")
        return await asyncio.to_thread(self._exchange.agree, public, committed)

    # The end.

    async def _discard(self, reason: pb.DiscardReason.ValueType, duration: int) -> None:
        self._over = True
        self._step("storage", "telegram", f"phone.discardCall {_name(reason)}")
        with contextlib.suppress(Refusal):  # it is over for us whatever Telegram says
            await self._session.invoke(
                raw.functions.phone.DiscardCall(
                    peer=self._peer, duration=duration, reason=_REASONS[reason](), connection_id=0
                )
            )
        self._settled = True
        self._say(discarded=pb.CallDiscarded(reason=reason, by_peer=False))

    def _discarded(self, call: Any) -> None:
        self._over = self._settled = True
        reason = next(
            (key for key, kind in _REASONS.items() if isinstance(call.reason, kind)), pb.DISCARD_REASON_HANGUP
        )
        self._step("telegram", "storage", f"phoneCallDiscarded {_name(reason)}")
        self._say(discarded=pb.CallDiscarded(reason=reason, by_peer=True))

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
