"""Keys for SRTP in a session description (RFC 4568): those that a media host can use.

pjmedia refuses all of a description for one key that it cannot read, and passes over what is said of a key's use. Who
offers several means that one of them be taken: the others are left out before a host sees them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_CRYPTO = re.compile(rb"a=crypto:", re.IGNORECASE)
# The suites that the stock wheel has, each with as much key and salt as it wants, in base64.
_KEYS = (
    rb"AES_CM_128_HMAC_SHA1_(?:80|32)[ \t]+inline:[A-Za-z0-9+/]{40}",
    rb"AES_256_CM_HMAC_SHA1_(?:80|32)[ \t]+inline:[A-Za-z0-9+/]{62}(?:==)?",
)
_LIFETIME = rb"\|(?:2\^[0-9]{1,2}|[0-9]{1,15})"
# Of the session parameters (6.3) these change nothing that is heard; who does not know one that begins with a hyphen
# may pass over it. No MKI: for pjmedia it is a part of what a packet is authenticated by, so that it hears none.
_HARMLESS = rb"WSH=[0-9]{1,4}|UNENCRYPTED_SRTCP|-[!-~]{1,60}"
_NAMED = re.compile(rb"a=crypto:([0-9]{1,9})[ \t]+(\S+)", re.IGNORECASE)
_NOT_OFFERED = b"a=crypto:0 not-offered"
_USABLE = re.compile(
    rb"a=crypto:([0-9]{1,9})[ \t]+(?:%s)(?:%s)?(?:[ \t]+(?:%s))*[ \t]*" % (b"|".join(_KEYS), _LIFETIME, _HARMLESS),
    re.IGNORECASE,
)


def is_crypto(line: bytes) -> bool:
    return _CRYPTO.match(line) is not None


def has_keys(lines: list[bytes]) -> bool:
    return any(is_crypto(line) for line in with_usable_keys(lines))


def has_other_keys_alone(lines: list[bytes]) -> bool:
    """Whether there are keys, and none that can be used."""
    return any(is_crypto(line) for line in lines) and not has_keys(lines)


def with_usable_keys(lines: list[bytes]) -> list[bytes]:
    """A medium without the keys that no host can use. Of two with one tag the first stays."""
    kept, tags = [], set()
    for line in lines:
        if is_crypto(line):
            found = _USABLE.fullmatch(line)
            if found is None or int(found[1]) in tags:
                continue
            tags.add(int(found[1]))
        kept.append(line)
    return kept


def offered_by(lines: Iterable[bytes]) -> set[tuple[int, bytes]]:
    """Tag and suite of each key."""
    return {(int(found[1]), found[2].upper()) for line in lines if (found := _NAMED.match(line))}


def with_offered_key(lines: list[bytes], offered: Collection[tuple[int, bytes]]) -> list[bytes]:
    """A medium of an answer, which has one of the offered keys, by its tag and suite (RFC 4568 5.1.2): the first such
    stays. With any other pjmedia has no sound, and says that the call is up: nothing of it is left that can be used."""
    kept, is_there = [], False
    for line in lines:
        if is_crypto(line):
            is_good = not is_there and bool(_USABLE.fullmatch(line)) and bool(offered_by([line]) & set(offered))
            is_there = is_there or is_good
            kept.append(line if is_good else _NOT_OFFERED)
        else:
            kept.append(line)
    return kept


def without_keys(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if not is_crypto(line)]
