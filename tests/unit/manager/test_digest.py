"""Digest answers against the examples of the RFCs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from teletrunk_manager.domain.digest import DigestAnswer, matches

# RFC 7616, section 3.9.1: one request, answered with either algorithm.
MUFASA = DigestAnswer(
    username="Mufasa",
    realm="http-auth@example.org",
    nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    uri="/dir/index.html",
    qop="auth",
    nc="00000001",
    cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    algorithm="SHA-256",
    method="GET",
)
MUFASA_MD5 = replace(MUFASA, algorithm="MD5", response="8ca523f5e9506fed4657c9700eebdbec")
PASSWORD = "Circle of Life"
# RFC 2617, section 3.5, without qop as RFC 2069 had it: its errata give this response.
OLD = DigestAnswer(
    username="Mufasa",
    realm="testrealm@host.com",
    nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
    uri="/dir/index.html",
    qop="",
    nc="",
    cnonce="",
    response="670fd8c2df070c60b045671b8b24ff02",
    algorithm="",
    method="GET",
)


@pytest.mark.parametrize(
    ("answer", "password"),
    [
        (MUFASA, PASSWORD),
        (MUFASA_MD5, PASSWORD),
        (replace(MUFASA_MD5, algorithm=""), PASSWORD),
        (replace(MUFASA, algorithm="sha-256", response=MUFASA.response.upper()), PASSWORD),
        (OLD, "Circle Of Life"),
    ],
)
def test_the_right_password_matches(answer: DigestAnswer, password: str) -> None:
    assert matches(answer, password, realm=answer.realm)


@pytest.mark.parametrize(
    "changes",
    [
        {"username": "Scar"},
        {"nonce": "other"},
        {"uri": "/other"},
        {"method": "POST"},
        {"nc": "00000002"},
        {"cnonce": "other"},
        {"qop": ""},
        {"qop": "auth-int"},
        {"algorithm": "MD5"},
        {"algorithm": "SHA-512-256"},
        {"response": ""},
        {"response": "é" * 64},
    ],
)
def test_any_other_parameter_does_not(changes: dict[str, str]) -> None:
    assert not matches(replace(MUFASA, **changes), PASSWORD, realm=MUFASA.realm)


def test_a_wrong_password_or_another_realm_does_not() -> None:
    assert not matches(MUFASA, "Circle of life", realm=MUFASA.realm)
    assert not matches(MUFASA, PASSWORD)
