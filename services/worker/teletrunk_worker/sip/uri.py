"""URIs, and the addresses that hold them (RFC 3261 19.1 and 20.10, RFC 3966).

Strict in what is used, and kept as it was written: that is what is sent on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from teletrunk.identifiers import within_context

from teletrunk_worker.sip.scanner import Malformed, Parameters, parameters, unquoted

LONGEST_URI: Final = 1_024
_UNUSABLE = re.compile(r'[\x00-\x20\x7f<>"]')
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+:")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.\-]{1,255})(?::([0-9]{1,5}))?")
_AFTER_HOST = re.compile(r"[;?]")
_NAME_ADDR = re.compile(r'\s*+("(?:[^"\\]++|\\.)*+"|[^"<]*+)\s*+<([^>]*+)>', re.DOTALL)


def is_too_long(text: str) -> bool:
    """Also as pjsip writes it, in what comes back from a host: `%23` for each `#`."""
    return len(text) + 2 * text.count("#") > LONGEST_URI


@dataclass(frozen=True)
class Uri:
    """`text` is what was written. `user` is unescaped; `host` is empty for other schemes than SIP's."""

    text: str
    scheme: str
    user: str
    host: str
    port: int | None
    parameters: Parameters

    def __str__(self) -> str:
        return self.text

    @property
    def target(self) -> str:
        """Without headers, which no Request-URI has, nor the Contact of a dialog (RFC 3261 19.1.1)."""
        userinfo, at, where = self.text.rpartition("@")
        return userinfo + at + where.partition("?")[0]

    @property
    def number(self) -> str:
        """Who is called, by the number that the user of a SIP URI may be, too (RFC 3261 19.1.6)."""
        return within_context(self.user if self.scheme in ("sip", "sips") else unquote(self.text.partition(":")[2]))

    @property
    def headers(self) -> list[tuple[str, str]]:
        """RFC 3261 19.1.1: what a request made from this URI would have, with lower-case names, unescaped."""
        pairs = (pair.partition("=") for pair in self.text.rpartition("@")[2].partition("?")[2].split("&") if pair)
        return [(unquote(name).lower(), unquote(value)) for name, _, value in pairs]

    def is_same_as(self, other: Uri) -> bool:
        """RFC 3261 19.1.4, for what a registrar must tell apart."""
        return self._key() == other._key()

    def _key(self) -> tuple[object, ...]:
        transport = (self.parameters.get("transport") or "").lower()
        return self.scheme, self.user, self.host.lower(), self.port, transport, self.parameters.get("maddr")


def parse_uri(text: str) -> Uri:
    """Raises `Malformed`."""
    if is_too_long(text):
        raise Malformed("URI is too long")
    scheme = _SCHEME.match(text)
    if scheme is None or _UNUSABLE.search(text):
        raise Malformed("URI cannot be read")
    name, rest = text[: scheme.end() - 1].lower(), text[scheme.end() :]
    if name not in ("sip", "sips"):
        user, _, tail = rest.partition(";")
        return Uri(text, name, unquote(user), "", None, _uri_parameters(tail))
    userinfo, at, where = rest.rpartition("@")
    if at and not userinfo:
        raise Malformed("URI has an empty user")
    found = _HOST_AND_PORT.match(where)
    if found is None or not (found.end() == len(where) or _AFTER_HOST.match(where, found.end())):
        raise Malformed("URI cannot be read")
    port = int(found[2]) if found[2] else None
    if port is not None and port > 65_535:
        raise Malformed("URI's port is no port")
    tail = where[found.end() :].partition("?")[0]
    return Uri(text, name, unquote(userinfo.partition(":")[0]), found[1].strip("[]"), port, _uri_parameters(tail))


def escaped(user: str) -> str:
    """As the user of a URI: what might be read as anything else there is escaped."""
    return quote(user, safe="+-_.!~*'()", errors="surrogateescape")


def with_user(uri: Uri, user: str) -> str:
    """The same SIP URI, for somebody else at that place."""
    rest = uri.target[len(uri.scheme) + 1 :]
    return f"{uri.text[: len(uri.scheme) + 1]}{escaped(user)}@{rest.rpartition('@')[2]}"


def _uri_parameters(text: str) -> Parameters:
    pairs = (part.partition("=") for part in text.split(";") if part)
    return {name.lower(): unquote(value) if equals else None for name, equals, value in pairs}


@dataclass(frozen=True)
class NameAddr:
    """An entry of From, To, Contact, Route or Record-Route, as it was written and as it reads."""

    text: str
    display: str
    uri: Uri
    parameters: Parameters

    def __str__(self) -> str:
        return self.text

    @property
    def tag(self) -> str:
        return self.parameters.get("tag") or ""


def parse_name_addr(text: str) -> NameAddr:
    """Raises `Malformed`. Without angle brackets all parameters are the header's (RFC 3261 20.10)."""
    if found := _NAME_ADDR.match(text):
        display, uri, rest = found[1].strip(), found[2], text[found.end() :]
    else:
        uri, semicolon, rest = text.strip().partition(";")
        display, uri, rest = "", uri.strip(), semicolon + rest
        if "?" in uri.rpartition("@")[2]:  # a user may have one, whatever 20.10 says: pjsip writes it so
            raise Malformed("a URI with headers stands in angle brackets")
    return NameAddr(text.strip(), unquoted(display), parse_uri(uri.strip()), parameters(rest))
