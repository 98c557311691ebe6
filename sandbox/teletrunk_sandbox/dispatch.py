"""From a request to its answer: the methods, the wrappers around them, and the faults in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from pyrogram import raw
from pyrogram.raw.core import TLObject

from teletrunk_sandbox import tl
from teletrunk_sandbox.errors import RpcRefusal, bad_request, unauthorized

if TYPE_CHECKING:
    from teletrunk_sandbox.connection import Connection
    from teletrunk_sandbox.server import DataCentre
    from teletrunk_sandbox.session import Session
    from teletrunk_sandbox.state import Authorization, User

log = structlog.get_logger(__name__)

H = TypeVar("H", bound=Callable[..., tl.Answer])


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks, over what."""

    dc: DataCentre
    connection: Connection
    session: Session

    @property
    def authorization(self) -> Authorization:
        """The auth key that the request came with."""
        return self.session.authorization

    @property
    def user(self) -> User:
        """The user who is signed in; 401 when nobody is."""
        authorization = self.authorization
        if authorization.user_id is None:
            raise unauthorized(authorization.refusal or "AUTH_KEY_UNREGISTERED")
        return self.dc.state.users[authorization.user_id]


@dataclass(frozen=True, slots=True)
class _Method:
    handler: Callable[[Request, Any], tl.Answer]
    public: bool


_METHODS: dict[type[Any], _Method] = {}
_TWISTS: dict[str, Callable[[Request, Any], tl.Answer]] = {}


def method(function: type[Any], *, public: bool = False) -> Callable[[H], H]:
    """Make a function the server's side of an API method; a `public` one needs no sign-in."""

    def register(handler: H) -> H:
        _METHODS[function] = _Method(handler, public)
        return handler

    return register


def twist(name: str, answer: Callable[[Request, Any], tl.Answer]) -> None:
    """Make known an answer that a test may have given in place of a method's own."""
    _TWISTS[name] = answer


def twists() -> list[str]:
    """Their names."""
    return sorted(_TWISTS)


def call(dc: DataCentre, connection: Connection, session: Session, msg_id: int, query: TLObject[Any]) -> None:
    """Carry out an API request and answer it, at once unless a test wants the answer late."""
    session.wants_updates = True
    query = _unwrap(session, query)
    name, phone = tl.method_name(query), _phone_of(dc, session, query)
    dc.faults.record(phone, name)
    try:
        dc.faults.check(phone, name)
        answer = _answer(Request(dc, connection, session), query, dc.faults.twist_of(phone, name))
    except RpcRefusal as refusal:
        log.info("refused", method=name, phone=phone, error=refusal.message)
        answer = raw.types.RpcError(error_code=refusal.code, error_message=refusal.message)
    body = tl.rpc_result(msg_id, answer)
    delay = dc.faults.delay_of(phone, name)
    if delay:
        session.notify(raw.types.MsgsAck(msg_ids=[msg_id]).write())
        asyncio.get_running_loop().call_later(delay, session.answer, body)
    else:
        session.answer(body)


def refuse(session: Session, msg_id: int, refusal: RpcRefusal, constructor: int) -> None:
    """Answer a message that could not be read."""
    log.warning("refused", error=refusal.message, constructor=hex(constructor), installed_layer=tl.LAYER)
    error = raw.types.RpcError(error_code=refusal.code, error_message=refusal.message)
    session.answer(tl.rpc_result(msg_id, error))


def _answer(request: Request, query: TLObject[Any], twisted: str | None) -> tl.Answer:
    found = _METHODS.get(type(query))
    if found is None:
        raise bad_request("METHOD_INVALID")
    if not found.public:
        _ = request.user
    try:
        handler = _TWISTS[twisted] if twisted else found.handler
        return handler(request, query)
    except RpcRefusal:
        raise
    except Exception as error:  # a fault of ours costs one request, as it does at Telegram
        log.exception("method failed", method=tl.method_name(query))
        raise RpcRefusal(500, "INTERNAL_SERVER_ERROR") from error


def _unwrap(session: Session, query: TLObject[Any]) -> TLObject[Any]:
    """Take off invokeWithLayer, initConnection and the like, doing what each asks for."""
    while True:
        match query:
            case raw.functions.InitConnection():
                session.authorization.device = {
                    "api_id": query.api_id,
                    "device_model": query.device_model,
                    "system_version": query.system_version,
                    "app_version": query.app_version,
                }
            case raw.functions.InvokeWithoutUpdates():
                session.wants_updates = False
            case raw.functions.InvokeWithLayer() | raw.functions.InvokeAfterMsg() | raw.functions.InvokeAfterMsgs():
                pass
            case _:
                return query
        query = query.query


def _phone_of(dc: DataCentre, session: Session, query: TLObject[Any]) -> str | None:
    """The account that a request is for; during sign-in its phone number tells, or what is due."""
    key_id = session.authorization.key_id
    user_id = session.authorization.user_id or dc.sign_ins.awaited(key_id) or dc.login_tokens.accepted_by(key_id)
    if user_id is not None:
        return dc.state.users[user_id].phone
    number = getattr(query, "phone_number", None)
    return "".join(filter(str.isdigit, number)) if isinstance(number, str) else None
