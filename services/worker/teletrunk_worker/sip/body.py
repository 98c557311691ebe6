"""What a message carries (RFC 3261 7.4): its type, and of several parts the one that is read here (RFC 5621)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from teletrunk_worker.sip.message import LARGEST_MESSAGE, Headers, Message, headers_of, unfolded
from teletrunk_worker.sip.scanner import Malformed, TooLarge, parameters

DESCRIPTION: Final = "application/sdp"
HOOK_FLASH: Final = "application/hook-flash"  # says it all by its name: it may have no body
DIGITS: Final = frozenset({"application/dtmf-relay", "application/dtmf", HOOK_FLASH})
_MOST_PARTS = 20
_DEEPEST = 3  # a mixed body within a related one, and no more
_LONGEST_BOUNDARY = 70  # RFC 2046 5.1.1
_LINE_END = re.compile(rb"\r?\n")
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_AS_IT_IS = frozenset({"", "7bit", "8bit", "binary"})


def is_encoded(headers: Headers) -> bool:
    """Whether the body is written in a way that nobody here reads, such as gzip (RFC 3261 20.12)."""
    words = ",".join(headers.getlist("Content-Encoding")).lower().split(",")
    return any(word.strip() not in ("", "identity") for word in words)


def media_type(headers: Headers) -> str:
    """Empty also of what would have to be decoded first."""
    if is_encoded(headers):
        return ""
    return (headers.get("Content-Type") or "").partition(";")[0].strip().lower()


def described_by(message: Message) -> bytes:
    """The description of sound that it carries; empty when it carries none."""
    return message.body if media_type(message.headers) == DESCRIPTION else b""


def set_body(message: Message, body: bytes, kind: str = "") -> None:
    """In place of what it carries; of the same type if no other is named."""
    message.body = body
    if kind:
        message.headers.set("Content-Type", kind)
    message.headers.set("Content-Length", str(len(body)))


def cut_to_length(message: Message) -> None:
    """A body that is longer than its Content-Length says (RFC 3261 18.3). Raises `Malformed`, `TooLarge`."""
    length = message.number("Content-Length")
    if length is None:
        return
    if length > LARGEST_MESSAGE:
        raise TooLarge("Content-Length is more than is read")
    if length > len(message.body):
        raise Malformed("Content-Length is more than there is")
    message.body = message.body[:length]


def unwrap(message: Message) -> None:
    """Of a body of several parts (a location or ISUP beside the SDP) leaves the first that is read in such a message: a
    description of its session, or in an INFO a digit. What else there is counts for nothing, though a part may say that
    it has to be understood (RFC 5621 8.3). A body without such a part, or that is no multipart, stays as it came.

    So no host meets one: pjsua's reader of them has faults that the stock wheel does not mend.
    """
    wanted = DIGITS if message.cseq.method == "INFO" else frozenset({DESCRIPTION})
    headers, body = message.headers, message.body
    for _ in range(_DEEPEST):
        if not _is_multipart(headers):
            break
        parts = list(_parts(headers, body))
        read = [part for part in parts if media_type(part[0]) in wanted and _is_of_session(part[0])]
        headers, body = next(iter(read or [part for part in parts if _is_multipart(part[0])]), (Headers(), b""))
    if headers is not message.headers and media_type(headers) in wanted:
        set_body(message, body, headers.getlist("Content-Type")[0])


def _is_of_session(headers: Headers) -> bool:
    """Not the sound of announcements before the answer (`early-session`, RFC 3959), nor what is shown (`render`)."""
    disposition = (headers.get("Content-Disposition") or "").partition(";")[0].strip().lower()
    return disposition in ("", "session", "signal")


def _is_multipart(headers: Headers) -> bool:
    return media_type(headers).startswith("multipart/")


def _parts(headers: Headers, body: bytes) -> Iterator[tuple[Headers, bytes]]:
    """What stands before the first delimiter and behind the last is for nobody (RFC 2046 5.1.1)."""
    boundary = _boundary(headers)
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        return
    delimiter = rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--|)[ \t]*+(?:\r?\n|\Z)"
    _, *pieces = re.split(delimiter, body, maxsplit=_MOST_PARTS)
    for closes, piece in zip(pieces[::2], pieces[1::2], strict=True):
        if closes:
            return
        if (part := _part(piece)) is not None:
            yield part


def _boundary(headers: Headers) -> bytes:
    _, semicolon, rest = headers.getlist("Content-Type")[0].partition(";")
    try:
        return (parameters(semicolon + rest).get("boundary") or "").encode("utf-8", "surrogateescape")
    except Malformed:
        return b""


def _part(piece: bytes) -> tuple[Headers, bytes] | None:
    """None for one that is written in a way which nobody here reads."""
    end = _END_OF_HEADERS.search(piece)
    if end is None:
        return None
    head = unfolded(_LINE_END.sub(b"\r\n", piece[: end.start()]))
    lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    headers, _ = headers_of(lines)
    transferred = (headers.get("Content-Transfer-Encoding") or "").lower()
    return None if is_encoded(headers) or transferred not in _AS_IT_IS else (headers, piece[end.end() :])
