"""The gate before every method: what a certificate may hold of a port."""

from __future__ import annotations

import contextlib
from typing import Any

import grpc
import pytest
from teletrunk import security
from teletrunk.security import Gate

METHOD = "/teletrunk.v1.SessionStoreService/Call"


class Aborted(Exception):
    """As gRPC's own context raises one."""


class Caller:
    """A gRPC context, as far as the gate looks at it."""

    def __init__(self, name: str) -> None:
        self._name = f"spiffe://teletrunk/{name}".encode()

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_subject_alternative_name": [self._name], "transport_security_type": [b"ssl"]}

    async def abort(self, code: grpc.StatusCode, details: str) -> Any:
        raise Aborted(code, details)


@pytest.mark.asyncio
async def test_a_service_fills_a_port_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections it makes: gRPC's own limit is for each of them."""
    monkeypatch.setattr(security, "MOST_OF_SERVICE", 3)
    gate = Gate("", {METHOD: frozenset({"worker"})}, lambda identity: True)
    async with contextlib.AsyncExitStack() as held:
        for _ in range(3):
            await held.enter_async_context(gate._inside_of(METHOD, Caller("worker/thief")))
        with pytest.raises(Aborted) as refused:
            await held.enter_async_context(gate._inside_of(METHOD, Caller("worker/thief")))
        assert refused.value.args[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        await held.enter_async_context(gate._inside_of(METHOD, Caller("worker/honest")))
    async with gate._inside_of(METHOD, Caller("worker/thief")):
        pass
    assert not gate._inside
