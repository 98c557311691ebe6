"""The ways in which a data centre, and its control channel, say no."""

from __future__ import annotations


class RpcRefusal(Exception):
    """A method's answer is `rpc_error`: https://core.telegram.org/api/errors."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


class CommandError(Exception):
    """A command of the control channel cannot be carried out; the text says why."""


class ProtocolViolation(Exception):
    """The peer does not speak MTProto: its connection is closed without an answer."""


def bad_request(message: str) -> RpcRefusal:
    """400: the request itself is wrong."""
    return RpcRefusal(400, message)


def unauthorized(message: str) -> RpcRefusal:
    """401: the authorization is missing or has ended."""
    return RpcRefusal(401, message)


def forbidden(message: str) -> RpcRefusal:
    """403: another user's settings do not allow it."""
    return RpcRefusal(403, message)
