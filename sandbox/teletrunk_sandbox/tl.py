"""TL serialisation where the client library's own reader and writer do not serve a server."""

from __future__ import annotations

import gzip
import inspect
import zlib
from collections.abc import Iterable
from functools import cache
from io import BytesIO
from typing import Any, TypeAlias, TypeVar

from pyrogram import raw
from pyrogram.raw.all import layer, objects
from pyrogram.raw.core import Bool, Bytes, GzipPacked, Int, Long, TLObject, Vector

from teletrunk_sandbox.errors import bad_request

Answer: TypeAlias = TLObject[Any] | bool | list[Any]
T = TypeVar("T")

LAYER: int = layer
UNPACKED_LIMIT = 4 << 20
_PACK_FROM = 2048
_FILLERS: dict[str, Any] = {"int": 0, "str": "", "bytes": b"", "bool": False}


def constructor(body: bytes) -> int:
    """The constructor number that a boxed object starts with."""
    return int.from_bytes(body[:4], "little")


def method_name(query: TLObject[Any]) -> str:
    """Telegram's name of a method: `phone.requestCall`."""
    *space, name = query.QUALNAME.split(".")[1:]
    return ".".join([*space, name[0].lower() + name[1:]])


def parse(body: bytes) -> TLObject[Any]:
    """Read one boxed object; whatever this layer does not know is METHOD_INVALID."""
    if constructor(body) == raw.functions.InvokeWithLayer.ID:
        _check_layer(int.from_bytes(body[4:8], "little"))
    try:
        found: TLObject[Any] = TLObject.read(BytesIO(body))
    except Exception as error:  # the generated readers raise whatever their input provokes
        raise bad_request("METHOD_INVALID") from error
    return found


def _check_layer(asked: int) -> None:
    if asked != LAYER:
        raise bad_request("CONNECTION_LAYER_INVALID")


def unpack(body: bytes) -> bytes:
    """The content of `gzip_packed`, or the body itself; refuses one that unpacks without bound."""
    if constructor(body) != GzipPacked.ID:
        return body
    packed = Bytes.read(BytesIO(body[4:]))
    try:
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        plain = inflate.decompress(packed, UNPACKED_LIMIT)
    except zlib.error as error:
        raise bad_request("INPUT_FETCH_FAIL") from error
    if not inflate.eof:
        raise bad_request("INPUT_REQUEST_TOO_LONG")
    return plain


def encode(answer: Answer) -> bytes:
    """Serialise an answer; Bool and vectors have no object of their own in the library."""
    if isinstance(answer, bool):
        return bytes(Bool(answer))
    if isinstance(answer, list):
        return bytes(Vector(answer))
    written: bytes = answer.write()
    return written


def rpc_result(request_id: int, answer: Answer) -> bytes:
    """`rpc_result` with a long answer packed."""
    body = encode(answer)
    if len(body) > _PACK_FROM:
        body = bytes(Int(GzipPacked.ID, False)) + bytes(Bytes(gzip.compress(body, 1)))
    return bytes(Int(raw.types.RpcResult.ID, False)) + bytes(Long(request_id)) + body


def boxed(vector: Iterable[Any]) -> list[TLObject[Any]]:
    """The objects of a vector in a request.

    The library's reader guesses a vector's element type by its size, so an object of 4 or 8 bytes
    (`inputUserSelf`, `inputMessageID`) arrives as a number.
    """
    return [_box(item) if isinstance(item, int) else item for item in vector]


def _box(number: int) -> TLObject[Any]:
    short = number & 0xFFFFFFFF
    size = 4 if short in objects and -(1 << 31) <= number < 1 << 31 else 8
    return parse(number.to_bytes(size, "little", signed=True))


def make(kind: type[T], **fields: Any) -> T:
    """Build an object, filling the required fields that only some layers have with zeros."""
    required = _required(kind)  # type: ignore[arg-type]
    return kind(**{**required, **fields})


@cache
def _required(kind: Any) -> dict[str, Any]:
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return {
        parameter.name: _FILLERS.get(str(parameter.annotation), [])
        for parameter in parameters
        if parameter.default is parameter.empty
    }
