"""A trunk's codecs in offers: the order is the trunk's, what is left out leaves no trace, and nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from teletrunk_worker.relay.codecs import restrict, with_short_ptime
from teletrunk_worker.sip import sdp
from teletrunk_worker.sip.sound import SoundTerms

HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
OFFER = HEAD + (
    "m=audio 4000 RTP/AVP 18 0 8 96 9 101 13\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
)


@pytest.mark.parametrize(
    ("codecs", "medium"),
    [
        (("PCMA", "PCMU", "G722"), "m=audio 4000 RTP/AVP 8 0 9 101 13"),
        (("G722", "PCMU"), "m=audio 4000 RTP/AVP 9 0 101 13"),
        (("PCMU",), "m=audio 4000 RTP/AVP 0 101 13"),
    ],
)
def test_the_trunks_codecs_stand_in_its_order(codecs: tuple[str, ...], medium: str) -> None:
    lines = restrict(OFFER.encode(), SoundTerms(codecs)).decode().split("\r\n")
    assert medium in lines and "a=ptime:20" in lines and "a=fmtp:101 0-16" in lines
    assert not [line for line in lines if "opus" in line or ":96 " in line or ":18 " in line]
    [offered] = sdp.sounds("\r\n".join(lines).encode())
    assert offered.codecs == (*codecs, "telephone-event", "CN")


def test_other_media_and_what_has_none_of_them_stay_as_they_are() -> None:
    pcma = SoundTerms(("PCMA",))
    both = OFFER + "m=video 5000 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n"
    assert restrict(both.encode(), pcma).endswith(b"m=video 5000 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n")
    alone = (HEAD + "m=audio 4000 RTP/AVP 18\r\n").encode()
    assert restrict(alone, pcma) == alone and restrict(b"", pcma) == b""


@given(st.lists(st.sampled_from([*OFFER.split("\r\n"), "m=audio 0 RTP/AVP 8", "m=audio x", "m=", "a=rtpmap:", "c="])))
def test_it_never_raises_and_doing_it_again_changes_nothing(lines: list[str]) -> None:
    once = restrict("\r\n".join(lines).encode(), SoundTerms(("PCMA", "G722")))
    assert restrict(once, SoundTerms(("PCMA", "G722"))) == once


def test_the_first_sound_that_is_wanted_stays_and_all_others_are_off() -> None:
    video = "m=video 5000 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n"
    other = "m=audio 4002 RTP/AVP 8\r\na=ptime:20\r\n"
    body = (video + OFFER.replace(HEAD, "") + other).encode()
    kept = sdp.with_one_sound(HEAD.encode() + body, lambda sound: "G722" in sound.codecs).decode()
    assert kept == HEAD + "m=video 0 RTP/AVP 97\r\n" + OFFER.replace(HEAD, "") + "m=audio 0 RTP/AVP 8\r\n"
    first = sdp.with_one_sound(HEAD.encode() + body, lambda sound: False)
    assert sdp.sounds(first) == sdp.sounds(kept.encode()), "when none is wanted, the first one says why"
    assert sdp.with_one_sound(video.encode(), lambda sound: True) == video.encode()


@pytest.mark.parametrize(
    ("codecs", "medium", "events"),
    [
        (("PCMA",), "8 98 100 101 102", ["101"]),
        (("SPEEX", "PCMA"), "8 98 100 101 102", ["100", "101"]),
        (("G722",), "9 100 101", ["101"]),  # its clock is 8000, whatever old devices write
        (("PCMA",), "8 100", ["100"]),  # nothing fits: perhaps it is meant all the same
    ],
)
def test_events_stay_that_have_a_codecs_clock(codecs: tuple[str, ...], medium: str, events: list[str]) -> None:
    body = (
        f"{HEAD}m=audio 4000 RTP/AVP {medium}\r\na=rtpmap:98 speex/16000\r\na=rtpmap:9 G722/16000\r\n"
        "a=rtpmap:100 telephone-event/16000\r\na=rtpmap:101 telephone-event/8000\r\n"
        "a=rtpmap:102 telephone-event/48000\r\na=fmtp:102 0-16\r\n"
    )
    lines = restrict(body.encode(), SoundTerms(codecs)).decode().split("\r\n")
    [kept] = [line.split()[3:] for line in lines if line.startswith("m=")]
    assert [number for number in kept if number in ("100", "101", "102")] == events
    assert "102" not in medium or "a=fmtp:102 0-16" not in lines


@pytest.mark.parametrize(
    ("rtpmap", "name"),
    [
        ("98 PCMA/8000", "PCMA"),
        ("98 PCMA/8000/1", "PCMA"),
        ("98 PCMA/8000/2", "PCMA/8000/2"),
        ("98 PCMA/16000", "PCMA/16000"),
        ("98 G722/8000", "G722 (98)"),
        ("98 speex/32000", "speex"),
        ("98 iLBC/16000", "iLBC/16000"),
        ("98 opus/48000/2", "opus"),
    ],
)
def test_a_codec_is_one_that_hosts_have_in_their_form_alone(rtpmap: str, name: str) -> None:
    [sound] = sdp.sounds(f"{HEAD}m=audio 4000 RTP/AVP 98\r\na=rtpmap:{rtpmap}\r\n".encode())
    assert sound.codecs == (name,)


def test_a_payload_type_that_rtp_cannot_have_is_no_codec() -> None:
    """RFC 3550 5.1: it has seven bits. pjmedia refuses all of a description for one that is higher."""
    body = f"{HEAD}m=audio 4000 RTP/AVP 128 8 127\r\na=rtpmap:128 PCMU/8000\r\na=rtpmap:127 G722/8000\r\n".encode()
    [sound] = sdp.sounds(body)
    assert sound.codecs == ("PCMA", "G722 (127)")
    assert restrict(body, SoundTerms(("PCMU", "PCMA"))) == f"{HEAD}m=audio 4000 RTP/AVP 8\r\n".encode()


@pytest.mark.parametrize(
    ("wishes", "wanted"),
    [
        (("ptime:20",), ("ptime:20",)),
        (("ptime:60", "maxptime:150"), ("ptime:60", "maxptime:150")),
        (("ptime:200",), ("ptime:60",)),
        (("ptime:99999", "maxptime:0"), ("ptime:60",)),
        (("ptime:40", "maxptime:30"), ("ptime:30",)),
        (("maxptime:10",), ("ptime:10",)),
        (("ptime:20", "maxptime:1"), ("ptime:10",)),
        (("ptime:abc",), ("ptime:abc",)),
    ],
)
def test_no_longer_packets_are_asked_of_a_host_than_it_can_make(
    wishes: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    """Of 200 ms and more pjmedia sends none."""

    def body(lines: tuple[str, ...]) -> bytes:
        return b"\r\n".join([b"v=0", b"m=audio 4000 RTP/AVP 8", *(f"a={line}".encode() for line in lines), b""])

    assert with_short_ptime(body(wishes)) == body(wanted)
