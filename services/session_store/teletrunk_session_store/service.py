"""SessionStoreService: the whitelist on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import grpc
from pyrogram import raw
from teletrunk import rpc
from teletrunk.background import BackgroundTasks
from teletrunk.destinations import called_of
from teletrunk.errors import Refusal
from teletrunk.metrics import TELEGRAM_CALLS
from teletrunk.tracing import start_call_span
from teletrunk.v1 import call_pb2, session_store_pb2_grpc
from teletrunk.v1 import session_store_pb2 as pb

from teletrunk_session_store.grants import Grants
from teletrunk_session_store.sessions import Sessions, send_message
from teletrunk_session_store.telegram import peers
from teletrunk_session_store.telegram.phone_call import PhoneCall, peer_message
from teletrunk_session_store.telegram.qr_code import ShownCode
from teletrunk_session_store.telegram.session import Session
from teletrunk_session_store.telegram.sign_in import SignInError, SignIns, Success
from teletrunk_session_store.vault.store import FAILURES, Vault

_LONGEST_WAIT_S = 20  # of one question; whoever waits longer asks again
_LOST = pb.DiscardCall(reason=pb.DISCARD_REASON_DISCONNECT)


class SessionStoreService(session_store_pb2_grpc.SessionStoreServiceServicer):
    def __init__(
        self, sessions: Sessions, sign_ins: SignIns, vault: Vault, grants: Grants, library_versions: list[str]
    ) -> None:
        self._grants = grants
        self._sessions = sessions
        self._sign_ins = sign_ins
        self._vault = vault
        self._versions = library_versions
        self._calls = BackgroundTasks()
        self._pumps = BackgroundTasks()

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        try:
            for session_id in request.session_ids:
                self._grants.require(context, session_id)
            async for session_id, response in self._sessions.watch(list(request.session_ids), request.watch_id):
                self._grants.require(context, session_id)  # it may have been taken away meanwhile
                yield response
        except Refusal as refusal:
            await rpc.abort(context, refusal)

    async def ChangeWatch(self, request: pb.ChangeWatchRequest, context: Any) -> pb.ChangeWatchResponse:
        try:
            for session_id in request.added:
                self._grants.require(context, session_id)
        except Refusal as refusal:
            await rpc.abort(context, refusal)
        if not self._sessions.change_watch(request.watch_id, request.added, request.removed):
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such watch")
        return pb.ChangeWatchResponse()

    async def Call(self, requests: AsyncIterator[pb.CallRequest], context: Any) -> AsyncIterator[pb.CallResponse]:
        """The stream is the call: when it breaks, for whatever reason, the call is hung up."""
        first: pb.CallRequest | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rpc.DEADLINE_S):  # a stream that says nothing holds a place
                first = await anext(aiter(requests), None)
        if first is None:
            return
        begin = first.start if first.WhichOneof("kind") == "start" else first.take
        pump: asyncio.Task[Any] | None = None
        call: PhoneCall | None = None
        TELEGRAM_CALLS.inc()
        span = start_call_span("signalling", begin.call_id)
        try:
            self._grants.require(context, begin.session_id)
            # At once: the Worker shall know that somebody is here, however long Telegram takes.
            yield pb.CallResponse(
                step=call_pb2.CallStep(at=time.time(), source="worker", target="storage", text="taken")
            )
            starts = isinstance(begin, pb.StartCall)
            # A call that waits can be taken before the session's link is up again: it came with the link.
            session = self._sessions.active(begin.session_id) if starts else self._sessions.find(begin.session_id)
            call = PhoneCall(session, self._vault, self._versions, begin)
            self._calls.run(
                _carried(session, call.run())
            )  # it outlives the stream until Telegram knows that it is over
            pump = self._pumps.run(_pump(requests, call))
            while (response := await call.outbox.get()) is not None:
                if isinstance(response, Refusal):
                    raise response
                yield response
        except Refusal as refusal:
            if pump is not None:
                pump.cancel()  # before: it must not read a stream that is aborted
            await rpc.abort(context, refusal)
        finally:
            span.end()
            TELEGRAM_CALLS.dec()
            if pump is not None:
                pump.cancel()
            if call is not None:
                call.hang_up(_LOST)

    async def settle(self) -> None:
        """Waits until calls that ended are discarded at Telegram too."""
        await self._calls.settle(3)

    @rpc.refusing
    async def Resolve(self, request: pb.ResolveRequest, context: Any) -> pb.ResolveResponse:
        self._grants.require(context, request.session_id)
        session = self._sessions.active(request.session_id)
        called = called_of(request.destination, request.called)
        return pb.ResolveResponse(peer=peer_message(await peers.resolve(session, self._vault, called)))

    @rpc.refusing
    async def SendMessage(self, request: pb.SendMessageRequest, context: Any) -> pb.SendMessageResponse:
        self._grants.require(context, request.session_id)
        session = self._sessions.active(request.session_id)
        if (peer := session.incoming.take_owed_word(request.user_id)) is None:
            raise Refusal("no-confirmed-contact")
        return pb.SendMessageResponse(
            message_id=await send_message(session, peer.user_id, peer.access_hash, request.text)
        )

    async def EditMessage(self, request: pb.EditMessageRequest, context: Any) -> pb.EditMessageResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody edits an account's messages any more")
        return pb.EditMessageResponse()

    @rpc.refusing
    async def GetCallAudience(self, request: pb.GetCallAudienceRequest, context: Any) -> pb.GetCallAudienceResponse:
        session = self._sessions.active(request.session_id)
        rules = await session.invoke(
            raw.functions.account.GetPrivacy(key=raw.types.InputPrivacyKeyPhoneCall()),
            expect=raw.types.account.PrivacyRules,
        )
        kinds = {type(rule) for rule in rules.rules}
        audience = next((name for kind, name in _AUDIENCES.items() if kind in kinds), call_pb2.CALL_AUDIENCE_NOBODY)
        return pb.GetCallAudienceResponse(audience=audience)

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:
        return pb.ListSessionsResponse(sessions=self._sessions.reports())

    async def StartSignIn(self, request: pb.StartSignInRequest, context: Any) -> pb.StartSignInResponse:
        with _explaining() as failure:
            self._require_open()
            sign_in_id, sent_by = await self._sign_ins.start(request.phone)
            return pb.StartSignInResponse(sign_in_id=sign_in_id, code_sent_by=sent_by)
        return await failure.abort(context)

    async def SubmitCode(self, request: pb.SubmitCodeRequest, context: Any) -> pb.SubmitCodeResponse:
        with _explaining() as failure:
            result = await self._sign_ins.code(request.sign_in_id, request.code)
            if isinstance(result, str):
                return pb.SubmitCodeResponse(password_needed=pb.PasswordNeeded(hint=result))
            return pb.SubmitCodeResponse(signed_in=await self._signed_in(request.sign_in_id, result))
        return await failure.abort(context)

    async def StartQrSignIn(self, request: pb.StartQrSignInRequest, context: Any) -> pb.StartQrSignInResponse:
        with _explaining() as failure:
            self._require_open()
            sign_in_id, shown = await self._sign_ins.start_by_qr()
            return pb.StartQrSignInResponse(sign_in_id=sign_in_id, code=_login_code(shown))
        return await failure.abort(context)

    async def AwaitQrSignIn(self, request: pb.AwaitQrSignInRequest, context: Any) -> pb.AwaitQrSignInResponse:
        with _explaining() as failure:
            result = await self._sign_ins.scanned(request.sign_in_id, min(request.wait_s, _LONGEST_WAIT_S))
            if isinstance(result, ShownCode):
                return pb.AwaitQrSignInResponse(code=_login_code(result))
            if isinstance(result, str):
                return pb.AwaitQrSignInResponse(password_needed=pb.PasswordNeeded(hint=result))
            return pb.AwaitQrSignInResponse(signed_in=await self._signed_in(request.sign_in_id, result))
        return await failure.abort(context)

    async def SubmitPassword(self, request: pb.SubmitPasswordRequest, context: Any) -> pb.SubmitPasswordResponse:
        with _explaining() as failure:
            success = await self._sign_ins.password(request.sign_in_id, request.password)
            return pb.SubmitPasswordResponse(signed_in=await self._signed_in(request.sign_in_id, success))
        return await failure.abort(context)

    async def ResendCode(self, request: pb.ResendCodeRequest, context: Any) -> pb.ResendCodeResponse:
        with _explaining() as failure:
            return pb.ResendCodeResponse(code_sent_by=await self._sign_ins.resend(request.sign_in_id))
        return await failure.abort(context)

    @rpc.refusing
    async def ForgetFloodWaits(self, request: pb.ForgetFloodWaitsRequest, context: Any) -> pb.ForgetFloodWaitsResponse:
        await self._sessions.find(request.session_id).forget_flood_waits()
        return pb.ForgetFloodWaitsResponse()

    async def RemoveSession(self, request: pb.RemoveSessionRequest, context: Any) -> pb.RemoveSessionResponse:
        await self._sessions.remove(request.session_id)
        return pb.RemoveSessionResponse()

    def _require_open(self) -> None:
        """Raises `SignInError`."""
        if self._vault.held_back:
            raise SignInError(f"nobody can be signed in yet: {self._vault.held_back}")
        if self._sessions.leaving:
            raise SignInError("this Session Storage is about to end: sign in at another one")

    async def _signed_in(self, sign_in_id: str, success: Success) -> pb.SignedIn:
        """The sign-in is kept until its session is: what Telegram has granted is not lost to a vault that fails."""
        try:
            await self._sessions.add(success)
        except FAILURES:
            raise SignInError("the vault does not answer: submit the same again for this sign-in, it is kept") from None
        self._sign_ins.finished(sign_in_id)
        return pb.SignedIn(session_id=success.session_id, user=peer_message(success.user))


_AUDIENCES = {
    raw.types.PrivacyValueAllowAll: call_pb2.CALL_AUDIENCE_EVERYBODY,
    raw.types.PrivacyValueAllowContacts: call_pb2.CALL_AUDIENCE_CONTACTS,
}


def _login_code(shown: ShownCode) -> pb.LoginCode:
    return pb.LoginCode(url=shown.url, expires_at=shown.expires_at)


class _Failure:
    """Catches a sign-in's error, to be told after the block."""

    text = ""

    async def abort(self, context: Any) -> Any:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.text)


@contextlib.contextmanager
def _explaining() -> Any:
    failure = _Failure()
    try:
        yield failure
    except SignInError as error:
        failure.text = str(error)


async def _carried(session: Session, work: Coroutine[Any, Any, None]) -> None:
    with session.carrying():
        await work


async def _pump(requests: AsyncIterator[pb.CallRequest], call: PhoneCall) -> None:
    """What the Worker wants. When it wants no more, the call is over."""
    try:
        async for request in requests:
            await call.ask(request)
    finally:
        call.hang_up(_LOST)
