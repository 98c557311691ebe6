"""Bindings on disk: one that makes no sense loses itself, and nothing else."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from teletrunk_worker.edge.bindings_file import BindingsFile
from teletrunk_worker.edge.flows import UdpEndpoint, UdpFlow
from teletrunk_worker.edge.registrar import LONGEST_S, Registrar
from teletrunk_worker.sip.message import Request, parse

ENDPOINT = UdpEndpoint(lambda data, flow: None)


def flow_of(token: str) -> UdpFlow:
    _, host, port = token.split("-")
    return ENDPOINT.flow((host, int(port)))


def register(registrar: Registrar, login: str, contact: str) -> None:
    text = (
        "REGISTER sip:gw SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f"From: <sip:{login}@gw>;tag=1\r\nTo: <sip:{login}@gw>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n"
        f"Contact: {contact}\r\nExpires: 300\r\n\r\n"
    )
    request = parse(text.encode())
    assert isinstance(request, Request)
    registrar.register(request, f"trunk-{login}", login, ENDPOINT.flow(("192.0.2.1", 5060)))


def restored(path: Path) -> list[str]:
    registrar = Registrar()
    BindingsFile(path, registrar).load(flow_of)
    assert all(0 < binding.seconds_left <= LONGEST_S for binding in registrar.all())
    return [binding.login for binding in registrar.all()]


def test_contacts_of_any_form_come_back(tmp_path: Path) -> None:
    registrar = Registrar()
    register(registrar, "one", "<sip:one@192.0.2.1>")
    register(registrar, "two", '<sip:two@192.0.2.1>;x="a/b"')
    register(registrar, "three", "<sip:three@192.0.2.1>")
    BindingsFile(tmp_path / "bindings.json", registrar).write()
    assert {"one", "two", "three"} == set(restored(tmp_path / "bindings.json"))


def row(login: str, **values: Any) -> dict[str, Any]:
    return {"binding": f"b-{login}", "trunk": "t", "login": login, "contact": "<sip:a@192.0.2.1>", "call_id": "1",
            "flow": "u-192.0.2.1-5060", "until": time.time() + 300, "sequence": 1, **values}  # fmt: skip


def test_a_row_that_makes_no_sense_loses_only_itself(tmp_path: Path) -> None:
    odd: list[Any] = [None, [], "row", 5, {}]
    for name in row("odd"):
        odd += [row("odd") | {name: value} for value in (None, [], {}, 5, "", "x", math.nan, math.inf, -math.inf)]
        odd += [{key: value for key, value in row("odd").items() if key != name}]
    for each in odd:
        (tmp_path / "bindings.json").write_text(json.dumps([row("good"), each, row("late")]))
        assert {"good", "late"} <= set(restored(tmp_path / "bindings.json")), each


@pytest.mark.parametrize("text", ["", "{", "{}", "null", "5", "[" * 100_000, "\udcff"])
def test_a_file_that_makes_no_sense_stops_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "bindings.json").write_text(text, errors="surrogateescape")
    assert restored(tmp_path / "bindings.json") == []


def test_nothing_is_kept_for_longer_than_a_registration_lasts(tmp_path: Path) -> None:
    (tmp_path / "bindings.json").write_text(json.dumps([row("good", until=math.inf)]))
    assert restored(tmp_path / "bindings.json") == ["good"]
