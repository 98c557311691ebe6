"""How a Worker or Storage comes to its certificate: with an invitation, once; afterwards it renews by itself."""

from __future__ import annotations

import asyncio
import base64
import json
import time

import grpc
import structlog

from teletrunk import rpc
from teletrunk.config import ConfigurationError, ServiceSettings
from teletrunk.identity import Identity, Papers
from teletrunk.security import Security
from teletrunk.v1 import fleet_pb2, fleet_pb2_grpc

log = structlog.get_logger()

_DEADLINE_S = 15.0
_CROWDED_S = 1.0


async def security_of(settings: ServiceSettings, identity: Identity) -> Security:
    """What the service proves itself with. Enrols first when it has an invitation and no certificate yet.

    Raises `ConfigurationError` for an invitation that cannot be used.
    """
    papers = Papers(settings.data / "identity" / identity.kind, identity)
    if not papers.exist and settings.invitation is not None:
        await _enrol(papers, settings.invitation.get_secret_value())
    return Security(settings.token(), papers if papers.exist else None)


async def _enrol(papers: Papers, invitation: str) -> None:
    given = _read(invitation)
    if given["kind"] != papers.identity.kind:
        raise ConfigurationError(f"TELETRUNK_INVITATION: it is for a {given['kind']}")

    async def sign(request: bytes) -> tuple[bytes, bytes]:
        asked = fleet_pb2.EnrolRequest(secret=given["secret"], service_id=papers.identity.id, signing_request=request)
        until = time.monotonic() + _DEADLINE_S
        async with rpc.knock(given["address"], given["authority"].encode()) as channel:
            stub = fleet_pb2_grpc.EnrolmentServiceStub(channel)
            while True:
                try:
                    answer = await stub.Enrol(asked, timeout=until - time.monotonic(), wait_for_ready=True)
                    return answer.certificate, answer.authority
                except grpc.aio.AioRpcError as error:
                    over = time.monotonic() > until - 2 * _CROWDED_S
                    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or over:
                        raise
                await asyncio.sleep(_CROWDED_S)  # many come at this moment

    try:
        await papers.enrol(sign)
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED):
            raise ConfigurationError(f"TELETRUNK_INVITATION: {error.details()}") from None
        raise ConfigurationError(f"the Manager at {given['address']} cannot be reached to enrol") from None
    log.info("enrolled", id=papers.identity.id)


def _read(invitation: str) -> dict[str, str]:
    try:
        given = json.loads(base64.urlsafe_b64decode(invitation.strip()))
        return {name: str(given[name]) for name in ("kind", "address", "secret", "authority")}
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            "TELETRUNK_INVITATION: cannot be read: copy all that `teletrunk worker invite` has printed"
        ) from None
