"""Bindings on disk: a line that makes no sense loses its trunk, and nothing else."""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from teletrunk_worker import line_journal, registrar_store
from teletrunk_worker.registrar_store import RegistrarStore
from teletrunk_worker.sip.message import Request, parse
from teletrunk_worker.sip.registrar import LONGEST_S, Registrar
from teletrunk_worker.sip.transport.udp import UdpEndpoint

ENDPOINT = UdpEndpoint(lambda data, flow: None)
NUMBERS = iter(range(1, 1_000_000))


def register(registrar: Registrar, login: str, contact: str, expires: int = 300, /, **headers: str) -> None:
    text = (
        "REGISTER sip:gw SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f"From: <sip:{login}@gw>;tag=1\r\nTo: <sip:{login}@gw>\r\nCall-ID: 1\r\nCSeq: {next(NUMBERS)} REGISTER\r\n"
        f"Contact: {contact}\r\nExpires: {expires}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        + "\r\n"
    )
    request = parse(text.encode())
    assert isinstance(request, Request)
    registrar.register(request, f"trunk-{login}", login, ENDPOINT.flow(("192.0.2.1", 5060)))


def restored(path: Path) -> Registrar:
    registrar = Registrar()
    RegistrarStore(path, registrar).load(ENDPOINT.flow_of)
    assert all(0 < binding.seconds_left <= LONGEST_S for binding in registrar.all())
    return registrar


def logins(path: Path) -> set[str]:
    return {binding.login for binding in restored(path).all()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bindings.jsonl"


@pytest.mark.asyncio
async def test_contacts_of_any_form_come_back_with_their_path(path: Path) -> None:
    registrar = Registrar()
    store = RegistrarStore(path, registrar)
    registrar.changed = store.note
    register(registrar, "one", "<sip:one@192.0.2.1>", Path="<sip:proxy.example;lr>", **{"User-Agent": "PBX"})
    register(registrar, "two", '<sip:two@192.0.2.1>;x="a/b"')
    register(registrar, "three", "<sip:three@192.0.2.1>")
    register(registrar, "two", '<sip:two@192.0.2.1>;x="a/b"', 0)
    register(registrar, "three", '<sip:other@192.0.2.1>;reg-id=1;+sip.instance="<urn:uuid:1>"')
    await store.close()
    back = restored(path)
    assert (back.all()[0].path, back.all()[0].user_agent) == (("<sip:proxy.example;lr>",), "PBX")
    assert back.trunks() == ["trunk-one", "trunk-three"]
    assert [binding.binding_id for binding in back.all()] == [binding.binding_id for binding in registrar.all()]


@pytest.mark.asyncio
async def test_only_what_has_changed_is_written(path: Path) -> None:
    registrar = Registrar()
    store = RegistrarStore(path, registrar)
    for number in range(500):
        register(registrar, f"login{number}", "<sip:a@192.0.2.1>")
        store.note(f"trunk-login{number}")
    await store.close()
    before = path.stat().st_size
    register(registrar, "login7", "<sip:b@192.0.2.1>")
    store.note("trunk-login7")
    await store.close()
    assert path.stat().st_size - before < 1_000
    assert len(restored(path).bindings("trunk-login7")) == 2


@pytest.mark.asyncio
async def test_a_journal_that_has_grown_is_written_afresh(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrar_store, "MOST_LINES", 20)
    registrar = Registrar()
    store = RegistrarStore(path, registrar)
    for _ in range(50):
        register(registrar, "one", "<sip:one@192.0.2.1>")
        store.note("trunk-one")
        await store.close()
    assert len(path.read_text().splitlines()) <= 20 and logins(path) == {"one"}


@pytest.mark.asyncio
async def test_a_journal_that_has_grown_in_bytes_is_written_afresh(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long lines fill a disk with few of them; the process after this one would read them all, too."""
    monkeypatch.setattr(line_journal, "_MOST_BYTES", 10_000)
    registrar = Registrar()
    store = RegistrarStore(path, registrar)
    for number in range(60):
        register(registrar, "one", f"<sip:{'x' * 900}{number}@192.0.2.1>")
        store.note("trunk-one")
        await store.close()
        assert path.stat().st_size < 35_000, "twice what is live, and one more line"
    assert logins(path) == {"one"}


def row(login: str, **values: Any) -> dict[str, Any]:
    return {"binding": f"b-{login}", "trunk": login, "login": login, "contact": "<sip:a@192.0.2.1>", "call_id": "1",
            "flow": "u-192.0.2.1-5060", "until": time.time() + 300, "sequence": 1, "path": [], **values}  # fmt: skip


def line(login: str, *rows: Any) -> str:
    return json.dumps({"trunk": login, "bindings": rows or [row(login)]}) + "\n"


def test_a_row_that_makes_no_sense_loses_only_itself(path: Path) -> None:
    odd: list[Any] = [None, [], "row", 5, {}]
    values: tuple[Any, ...] = (None, [], {}, 5, "", "x", math.nan, math.inf, -math.inf)
    for name in row("odd"):
        odd += [row("odd") | {name: value} for value in values]
        odd += [{key: value for key, value in row("odd").items() if key != name}]
    for each in odd:
        path.write_text(line("good") + line("odd", each, row("beside")) + line("late"))
        assert {"good", "late"} <= logins(path), each


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_a_line_that_makes_no_sense_loses_only_itself(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.mktemp("store") / "bindings.jsonl"
    path.write_bytes(line("good").encode() + junk.replace(b"\n", b"") + b"\n" + line("late").encode())
    assert {"good", "late"} <= logins(path)


@pytest.mark.parametrize("text", ["", "{", "{}", "null", "5", "[" * 100_000, "\udcff", "[]"])
def test_a_file_that_makes_no_sense_stops_nothing(path: Path, text: str) -> None:
    path.write_text(text, errors="surrogateescape")
    assert logins(path) == set()


@pytest.mark.asyncio
async def test_a_line_that_a_full_disk_has_cut_does_not_take_the_next_one_with_it(path: Path) -> None:
    path.write_text(line("good") + line("cut")[:30])
    registrar = Registrar()
    store = RegistrarStore(path, registrar)
    store.load(ENDPOINT.flow_of)
    register(registrar, "next", "<sip:one@192.0.2.1>")
    store.note("trunk-next")
    await store.close()
    assert logins(path) == {"good", "next"}


def test_nothing_is_kept_for_longer_than_a_registration_lasts(path: Path) -> None:
    path.write_text(line("good", row("good", until=math.inf)))
    assert logins(path) == {"good"}


@pytest.mark.asyncio
async def test_what_a_full_disk_has_refused_is_written_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_journal, "_AGAIN_S", 0.1)
    monkeypatch.setattr(line_journal, "_GATHERING_S", 0.01)
    registrar = Registrar()
    store = RegistrarStore(path, registrar)
    register(registrar, "one", "<sip:one@192.0.2.1>")
    store.note("trunk-one")
    await store.close()
    path.with_suffix(".new").mkdir()  # nothing can be written there
    path.rename(path.with_suffix(".old"))
    path.mkdir()
    register(registrar, "one", "<sip:one@192.0.2.1>", 0)
    store.note("trunk-one")
    await asyncio.sleep(0.05)
    path.rmdir()
    path.with_suffix(".new").rmdir()
    path.with_suffix(".old").rename(path)
    async with asyncio.timeout(5):
        while logins(path):
            await asyncio.sleep(0.02)
    await store.close()
