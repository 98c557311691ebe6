"""What a service shows at the front door."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pydantic import SecretStr
from teletrunk.config import ConfigurationError, ServiceSettings
from teletrunk.ticket import NotYet, ticket_of
from teletrunk_manager.authority import Authority

OLD = {"kind": "worker", "address": "m.example:5051", "secret": "s"}


@pytest.fixture(scope="module", autouse=True)
def authority(tmp_path_factory: pytest.TempPathFactory) -> str:
    OLD["authority"] = Authority.open(tmp_path_factory.mktemp("authority"), 1).pem.decode()
    return OLD["authority"]


def invited(**more: object) -> ServiceSettings:
    text = base64.urlsafe_b64encode(json.dumps({**OLD, **more}).encode()).decode()
    return ServiceSettings(invitation=SecretStr(text))


def test_invitations_of_older_managers_are_read_and_serve_once() -> None:
    ticket = ticket_of(invited(), "worker")
    assert ticket is not None and not ticket.reusable and ticket.addresses == ("m.example:5051",)
    again = ticket_of(invited(reusable=True, later="unknown"), "worker")
    assert again is not None and again.reusable


def test_an_authority_that_is_none_is_one_line() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ticket_of(invited(authority="-----BEGIN CERTIFICATE-----"), "worker")


def test_a_secret_is_not_shown() -> None:
    assert "'s'" not in repr(ticket_of(invited(), "worker"))


@pytest.mark.parametrize("text", ["", "bm8=", "W10=", "é", "eyJraW5kIjogMX0="])
def test_what_is_no_invitation_is_one_line(text: str) -> None:
    with pytest.raises(ConfigurationError, match="copy all that `teletrunk storage invite` has printed"):
        ticket_of(ServiceSettings(invitation=SecretStr(text)), "storage")


def test_files_are_read_anew_and_waited_for(tmp_path: Path, authority: str) -> None:
    token, file = tmp_path / "token", tmp_path / "ca.crt"
    settings = ServiceSettings(
        join_token_file=token, authority_file=file, manager_address="m1.example:5050,m2.example:6000"
    )
    with pytest.raises(NotYet, match=r"TELETRUNK_JOIN_TOKEN_FILE: .*token is not there yet"):
        ticket_of(settings, "worker")
    token.write_text("")
    file.write_text(authority)
    with pytest.raises(NotYet, match="is empty"):
        ticket_of(settings, "worker")
    for secret in ("one", "two"):
        token.write_text(f"{secret}\n")
        ticket = ticket_of(settings, "worker")
        assert ticket is not None and ticket.secret == secret and ticket.reusable
        assert ticket.addresses == ("m1.example:5051", "m2.example:6001"), "the Managers' ports + 1"
