"""The devices of an account: https://core.telegram.org/method/account.getAuthorizations."""

from __future__ import annotations

import time

from pyrogram import raw

from teletrunk_sandbox import tl
from teletrunk_sandbox.dispatch import Request, method
from teletrunk_sandbox.errors import bad_request
from teletrunk_sandbox.state import Authorization

_TTL_DAYS = 180


@method(raw.functions.account.GetAuthorizations)
def get_authorizations(request: Request, query: raw.functions.account.GetAuthorizations) -> tl.Answer:
    """account.getAuthorizations: every device that is signed in; the asking one has hash 0."""
    return raw.types.account.Authorizations(
        authorization_ttl_days=_TTL_DAYS,
        authorizations=[
            seen(request, authorization) for authorization in request.dc.state.authorizations_of(request.user.id)
        ],
    )


@method(raw.functions.account.ResetAuthorization)
def reset_authorization(request: Request, query: raw.functions.account.ResetAuthorization) -> tl.Answer:
    """account.resetAuthorization: sign another device out."""
    request.dc.revoke(_by_hash(request, query.hash), "SESSION_REVOKED")
    return True


@method(raw.functions.account.ChangeAuthorizationSettings)
def change_settings(request: Request, query: raw.functions.account.ChangeAuthorizationSettings) -> tl.Answer:
    """account.changeAuthorizationSettings: whether a device rings."""
    authorization = request.authorization if query.hash == 0 else _by_hash(request, query.hash)
    if query.call_requests_disabled is not None:
        authorization.call_requests_disabled = query.call_requests_disabled
        request.dc.state.save_authorization(authorization)
    return True


def _by_hash(request: Request, wanted: int) -> Authorization:
    for authorization in request.dc.state.authorizations_of(request.user.id):
        if authorization.hash == wanted and authorization is not request.authorization:
            return authorization
    raise bad_request("HASH_INVALID")


def seen(request: Request, authorization: Authorization) -> raw.types.Authorization:
    """A device, as the one that asks sees it."""
    current = authorization is request.authorization
    device = authorization.device
    return raw.types.Authorization(
        hash=0 if current else authorization.hash,
        current=current,
        call_requests_disabled=authorization.call_requests_disabled,
        device_model=device.get("device_model", ""),
        platform="",
        system_version=device.get("system_version", ""),
        api_id=device.get("api_id", 0),
        app_name="",
        app_version=device.get("app_version", ""),
        date_created=authorization.created,
        date_active=int(time.time()),
        ip=request.connection.peer.rpartition(":")[0],
        country="",
        region="",
    )
