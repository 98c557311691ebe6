"""Requests and responses (RFC 3261 section 7): headers as they were written, each read when it is asked for.

What is sent on is what came, byte for byte, but for the headers that we change. Nothing here costs more than linear
time, and no message is kept by an error that it caused.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from teletrunk_worker.sip.scanner import IN_TOKENS, Malformed, readable, split
from teletrunk_worker.sip.uri import NameAddr, Uri, parse_name_addr, parse_uri
from teletrunk_worker.sip.via import Via, parse_via

LARGEST_MESSAGE: Final = 65_536
_MOST_HEADER_LINES = 200
LONGEST_VALUE: Final = 8_192  # of a header that is read; others are only passed on
_LONGEST_CALL_ID = 512
MOST_ENTRIES: Final = 40  # of a list, such as Via: more hops than any way has
VERSION: Final = "SIP/2.0"
_VERSION = re.compile(r"SIP/[0-9]{1,3}\.[0-9]{1,3}", re.IGNORECASE)
# Headers that are one number: what cannot be read there is the sender's mistake, and no host's to stumble over.
NUMBERS: Final = ("Max-Forwards", "Expires", "Session-Expires", "Min-SE", "RSeq")
_STRAY = re.compile(r"[\r\n]")
_TOKEN = re.compile(rf"{IN_TOKENS}{{1,60}}")
_CSEQ = re.compile(r"([0-9]{1,10})\s++(\S{1,60})")
_NUMBER = re.compile(r"[0-9]{1,10}")
_HIGHEST_CSEQ = 2**31
_HIGHEST_STATUS = "699"
# RFC 3261 7.3.3 and the registry of compact forms.
_COMPACT = {
    "a": "Accept-Contact", "b": "Referred-By", "c": "Content-Type", "d": "Request-Disposition", "e": "Content-Encoding",
    "f": "From", "i": "Call-ID", "j": "Reject-Contact", "k": "Supported", "l": "Content-Length", "m": "Contact",
    "o": "Event", "r": "Refer-To", "s": "Subject", "t": "To", "u": "Allow-Events", "v": "Via", "x": "Session-Expires",
    "y": "Identity",
}  # fmt: skip
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class CSeq:
    """RFC 3261 20.16."""

    sequence: int
    method: str

    def __str__(self) -> str:
        return f"{self.sequence} {self.method}"


class Headers:
    """Names and values in the order of the message. Names are compared without case."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str, str]] = []  # the name in lower case, as it was written, and the value
        self._by_name: dict[str, list[str]] | None = None  # made when it is asked for, until the next change

    def add(self, name: str, value: str) -> None:
        self._lines.append((name.lower(), name, value))
        self._by_name = None

    def insert(self, name: str, value: str) -> None:
        """Before all others."""
        self._lines.insert(0, (name.lower(), name, value))
        self._by_name = None

    def get(self, name: str) -> str | None:
        values = self._index.get(name.lower())
        return values[0] if values else None

    def getlist(self, name: str) -> list[str]:
        return list(self._index.get(name.lower(), ()))

    @property
    def _index(self) -> dict[str, list[str]]:
        if self._by_name is None:
            self._by_name = {}
            for key, _, value in self._lines:
                self._by_name.setdefault(key, []).append(value)
        return self._by_name

    def set(self, name: str, value: str) -> None:
        self.setlist(name, [value])

    def setlist(self, name: str, values: list[str]) -> None:
        """Replaces all lines of this name, where the first of them was, else at the end."""
        key = name.lower()
        place = next((i for i, line in enumerate(self._lines) if line[0] == key), len(self._lines))
        before = self._lines[:place]
        after = [line for line in self._lines[place:] if line[0] != key]
        self._lines = [*before, *((key, name, value) for value in values), *after]
        self._by_name = None

    def remove(self, *names: str) -> None:
        keys = {name.lower() for name in names}
        self._lines = [line for line in self._lines if line[0] not in keys]
        self._by_name = None

    def copy(self) -> Headers:
        twin = Headers()
        twin._lines = list(self._lines)
        return twin

    def __getitem__(self, name: str) -> str:
        """Raises `Malformed` when it is not there, or more than once: a header of this kind has one value."""
        values = self.getlist(name)
        if len(values) != 1:
            raise Malformed(f"{name} is missing" if not values else f"{name} comes more than once")
        return values[0]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name, value) for _, name, value in self._lines)


class Message(ABC):
    """What requests and responses have in common. The properties raise `Malformed`, which names the header."""

    def __init__(self, body: bytes = b"", headers: Headers | None = None) -> None:
        self.headers = headers or Headers()
        self.body = body
        self.wire_length = 0  # bytes, of a message that was received
        self.flaw = ""  # why it is none, though who has sent it can be told so
        self._read: dict[str, tuple[list[str], Any]] = {}

    @property
    @abstractmethod
    def start_line(self) -> str: ...

    @abstractmethod
    def copy(self) -> Self: ...

    def __bytes__(self) -> bytes:
        lines = [self.start_line, *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + self.body

    @property
    def call_id(self) -> str:
        value = self.headers["Call-ID"]
        if not 0 < len(value) <= _LONGEST_CALL_ID:
            raise Malformed("Call-ID cannot be read")
        return value

    @property
    def cseq(self) -> CSeq:
        return self._once("CSeq", lambda values: _parse_cseq(values[0]), single=True)

    @property
    def from_(self) -> NameAddr:
        return self._once("From", lambda values: parse_name_addr(values[0]), single=True)

    @property
    def to(self) -> NameAddr:
        return self._once("To", lambda values: parse_name_addr(values[0]), single=True)

    @property
    def vias(self) -> list[str]:
        """Each entry as it was written, the latest hop first."""
        return self.entries("Via")

    @property
    def via(self) -> Via:
        """The latest hop."""

        def top(values: list[str]) -> Via:
            if not values:
                raise Malformed("Via is missing")
            return parse_via(split(values[0], ",")[0])

        return self._once("Via", top)

    @property
    def contacts(self) -> list[NameAddr]:
        """Without `*`, which is no address."""
        return [] if self.headers.get("Contact") == "*" else self.addresses("Contact")

    def addresses(self, name: str) -> list[NameAddr]:
        """The entries of a list of addresses: Contact, Route, Record-Route."""
        return self._once(name, lambda values: [parse_name_addr(entry) for entry in self.entries(name)])

    def entries(self, name: str) -> list[str]:
        """The entries of a list, wherever lines and commas part them, as they were written."""
        found: list[str] = []
        for value in self.headers.getlist(name):
            found += _named(name, lambda value=value: split(_bounded(value), ","))  # type: ignore[misc]
            if len(found) > MOST_ENTRIES:
                raise Malformed(f"{name} has too many entries")
        return found

    def number(self, name: str) -> int | None:
        """A header that is one number, perhaps with parameters behind it; None when it is not there."""
        if not self.headers.getlist(name):
            return None
        value = self.headers[name]
        text = value.partition(";")[0].strip()
        if not _NUMBER.fullmatch(text):
            raise Malformed(f"{name} is no number")
        return int(text)

    def _once(self, name: str, parse: Callable[[list[str]], Parsed], *, single: bool = False) -> Parsed:
        """What `parse` makes of the header's values, kept until they change."""
        values = [self.headers[name]] if single else self.headers.getlist(name)
        known = self._read.get(name)
        if known is None or known[0] != values:
            known = self._read[name] = (values, _named(name, lambda: parse([_bounded(value) for value in values])))
        result: Parsed = known[1]
        return result


class Request(Message):
    """`target` is the Request-URI as it was written, `version` what stands behind it."""

    def __init__(
        self, method: str, target: str, body: bytes = b"", headers: Headers | None = None, version: str = VERSION
    ) -> None:
        super().__init__(body, headers)
        self.method = method
        self.target = target
        self.version = version

    @property
    def start_line(self) -> str:
        return f"{self.method} {self.target} {self.version}"

    @property
    def uri(self) -> Uri:
        """Raises `Malformed`."""
        return _named("Request-URI", lambda: parse_uri(self.target))

    def copy(self) -> Self:
        return type(self)(self.method, self.target, self.body, self.headers.copy())


class Response(Message):
    def __init__(self, code: int, phrase: str, body: bytes = b"", headers: Headers | None = None) -> None:
        super().__init__(body, headers)
        self.code = code
        self.phrase = phrase

    @property
    def start_line(self) -> str:
        return f"SIP/2.0 {self.code} {self.phrase}"

    def copy(self) -> Self:
        return type(self)(self.code, self.phrase, self.body, self.headers.copy())


def parse(data: bytes) -> Request | Response:
    """Cuts a message into its parts; folded header lines (RFC 3261 7.3.1) are unfolded. Headers are read later.

    What is wrong with its lines is its `flaw`. Raises `Malformed` for what cannot even be answered.
    """
    head, separator, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if len(data) > LARGEST_MESSAGE:
        raise Malformed("too large")
    start, *lines = unfolded(head).decode("utf-8", "surrogateescape").split("\r\n", _MOST_HEADER_LINES + 1)
    headers, flaw = headers_of(lines[:_MOST_HEADER_LINES])
    message = _message(start, headers, body)
    message.wire_length = len(data)
    if not separator:
        flaw = "the end of the headers is missing"
    elif len(lines) > _MOST_HEADER_LINES:
        flaw = "too many header lines"
    if isinstance(message, Request):  # an answer counts whatever else it says
        message.flaw = flaw
    return message


def headers_of(lines: list[str]) -> tuple[Headers, str]:
    """And what is wrong with the lines that are left out."""
    headers, flaw = Headers(), ""
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.strip()
        if _STRAY.search(line):  # another parser would see a line of its own there
            flaw = "line ends inside a header"
        elif not colon:
            flaw = "a header line that is none"
        elif _TOKEN.fullmatch(name):  # else no header; another parser might take it for one
            headers.add(_COMPACT.get(name.lower(), name), value.strip())
    return headers, flaw


def unfolded(head: bytes) -> bytes:
    """Each header in one line (RFC 3261 7.3.1). For all who look for one: what begins a line may go on with another."""
    return head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")


def _message(start: str, headers: Headers, body: bytes) -> Request | Response:
    first, _, rest = start.partition(" ")
    if _STRAY.search(start):
        raise Malformed("line ends inside the first line")
    if first.upper() == VERSION:
        return Response(*_status(rest), body, headers)
    target, _, version = rest.rstrip(" ").rpartition(" ")
    if not _VERSION.fullmatch(version) or not _TOKEN.fullmatch(first):
        raise Malformed("neither request nor response")
    return Request(first, target, body, headers, version.upper())


def _status(text: str) -> tuple[int, str]:
    """Code and phrase of a status line."""
    code, _, phrase = text.strip(" ").partition(" ")
    if not (len(code) == 3 and code.isascii() and code.isdigit() and code[0] != "0"):
        raise Malformed("no status code")
    if code > _HIGHEST_STATUS:  # of no class that there is: only that it is final is sure, and no success
        return 500, readable(text.strip(" "))
    return int(code), readable(phrase)


def _named(name: str, parse: Callable[[], Parsed]) -> Parsed:
    """Says in the error which header could not be read, and forgets where: a traceback keeps the whole message."""
    try:
        return parse()
    except Malformed as error:
        text = str(error)
    raise Malformed(text if text.startswith(name) else f"{name}: {text}")


def _bounded(value: str) -> str:
    if len(value) > LONGEST_VALUE:
        raise Malformed("too long")
    return value


def _parse_cseq(value: str) -> CSeq:
    found = _CSEQ.fullmatch(value)
    if found is None or int(found[1]) >= _HIGHEST_CSEQ:
        raise Malformed("CSeq cannot be read")
    return CSeq(int(found[1]), found[2])
