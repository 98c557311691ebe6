"""Keys for SRTP in descriptions: one that a media host cannot use takes no other with it."""

from __future__ import annotations

import pytest
from teletrunk_worker.sip import sdes, sdp

SUITE, KEY = "AES_CM_128_HMAC_SHA1_80", "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
GOOD = f"a=crypto:7 {SUITE} inline:{KEY}"
LONG = f"{KEY}AAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.parametrize(
    "line",
    [
        GOOD,
        f"a=crypto:1 {SUITE} inline:{KEY}|2^31",
        f"a=crypto:1 {SUITE} inline:{KEY}|1048576",
        f"a=crypto:1  AES_CM_128_HMAC_SHA1_32\tinline:{KEY} ",
        f"a=crypto:1 {SUITE.lower()} inline:{KEY} WSH=64 UNENCRYPTED_SRTCP",
        f"a=crypto:1 {SUITE} inline:{KEY} -own=1",
        f"a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:{LONG}==",
        f"a=crypto:1 AES_256_CM_HMAC_SHA1_32 inline:{LONG}",
    ],
)
def test_a_key_that_hosts_can_use_stays(line: str) -> None:
    assert sdes.with_usable_keys([line.encode()]) == [line.encode()] and sdes.has_keys([line.encode()])


@pytest.mark.parametrize(
    "line",
    [
        f"a=crypto:1 {SUITE} inline:{KEY[:-4]}",
        f"a=crypto:1 {SUITE} inline:{KEY}AAAA",
        f"a=crypto:1 {SUITE} inline:{LONG}==",
        f"a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}",
        f"a=crypto:1 {SUITE} inline:{KEY[:-1]}!",
        f"a=crypto:1 {SUITE} {KEY}",
        f"a=crypto:x {SUITE} inline:{KEY}",
        f"a=crypto:9999999999 {SUITE} inline:{KEY}",
        "a=crypto:1",
        f"a=crypto:1 F8_128_HMAC_SHA1_80 inline:{KEY}",
        "a=crypto:1 AEAD_AES_128_GCM inline:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYg==",
        f"a=crypto:1 {SUITE} inline:{KEY}|2^20|1:4",
        f"a=crypto:1 {SUITE} inline:{KEY}|1:4",
        f"a=crypto:1 {SUITE} inline:{KEY};inline:{KEY}",
        f"a=crypto:1 {SUITE} inline:{KEY} UNENCRYPTED_SRTP",
        f"a=crypto:1 {SUITE} inline:{KEY} KDR=1",
        f"a=crypto:7 AES_CM_128_HMAC_SHA1_32 inline:{KEY}",  # the tag of the good one
    ],
)
def test_another_is_left_out_and_the_good_one_stays(line: str) -> None:
    lines = [b"m=audio 4000 RTP/SAVP 8", GOOD.encode(), line.encode(), b"a=sendrecv"]
    assert sdes.with_usable_keys(lines) == [lines[0], lines[1], lines[3]]
    assert not sdes.has_other_keys_alone(lines)
    alone = [lines[0], line.replace("crypto:7", "crypto:x").encode()]
    [sound] = sdp.sounds(b"\r\n".join(alone))
    assert not sound.keyed and sound.has_other_keys and "an MKI or other suites" in sound.profile
