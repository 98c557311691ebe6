"""Calls a servicer's method as gRPC would, without a wire. Refusals become HTTP's; mistakes come as they are."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.rpc import status_pb2
from teletrunk.errors import Refusal
from teletrunk.rpc import refusal_in

from teletrunk_manager.mistakes import InProcess

STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class Aborted(Exception):
    """The method ended with an error, which may be a row of the error contract."""

    def __init__(self, code: grpc.StatusCode, text: str, refusal: Refusal | None = None) -> None:
        super().__init__(text)
        self.status = STATUS.get(code, 500)
        self.text = text
        self.refusal = refusal


class LocalContext(InProcess):
    """What servicers use of a gRPC context."""

    def auth_context(self) -> dict[str, Any]:
        return {}

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        raise Aborted(code, details)

    async def abort_with_status(self, status: Any) -> NoReturn:
        refusal = None
        for key, value in status.trailing_metadata or ():
            if key == "grpc-status-details-bin":
                refusal = refusal_in(status_pb2.Status.FromString(value))
        raise Aborted(status.code, status.details, refusal)
