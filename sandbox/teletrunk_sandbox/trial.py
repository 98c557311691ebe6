"""A call with sound through an installation that runs elsewhere, beside the sandbox's Telegram: what `helm test` does.

The installation is reached by its REST API (TELETRUNK_API_URL, TELETRUNK_API_TOKEN) and by SIP; the friend of the
local Telegram answers with a tone, and the phone must hear it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from teletrunk.cli.failed import Failed
from teletrunk.cli.ladder import ladder
from teletrunk.cli.place import Place
from teletrunk.cli.remote import remote_work
from teletrunk.own_address import address_towards
from teletrunk.v1 import admin_pb2, manager_pb2

from teletrunk_sandbox.actors import Actor
from teletrunk_sandbox.people import FRIEND_HZ, GATEWAY

_DEADLINE_S = 30.0
_TALK_S = 3.0
_NEAR_HZ = 5.0
_ACTIVE = manager_pb2.SESSION_STATE_ACTIVE


async def run(sip: str, code: str) -> int:
    """Returns an exit code; what happened is printed."""
    try:
        return await remote_work(Place.read(), lambda api: _try(api, sip, code))
    except (Failed, TimeoutError, RuntimeError) as error:
        print(f"the trial failed: {error or type(error).__name__}")
        return 1


async def _try(api: Any, sip: str, code: str) -> int:
    await _signed_in(api, code)
    trunk = await api.AddTrunk(admin_pb2.AddTrunkRequest(account=GATEWAY, comment="trial"), timeout=_DEADLINE_S)
    try:
        heard = await _call(sip, trunk)
    finally:
        await api.RemoveTrunk(admin_pb2.RemoveTrunkRequest(trunk=trunk.trunk.login), timeout=_DEADLINE_S)
    await _show_record(api, trunk.trunk.trunk_id)
    print(f"the phone heard {heard['hz']} Hz at {heard['level_dbfs']} dBFS, SNR {heard['snr_db']} dB")
    return 0 if heard["hz"] is not None and abs(heard["hz"] - FRIEND_HZ) < _NEAR_HZ else 1


async def _signed_in(api: Any, code: str) -> None:
    """The sandbox's account at the installation, active."""
    accounts = (await api.ListAccounts(admin_pb2.ListAccountsRequest(), timeout=_DEADLINE_S)).accounts
    if not any(account.phone.lstrip("+") == GATEWAY.lstrip("+") for account in accounts):
        started = await api.StartAddAccount(admin_pb2.StartAddAccountRequest(phone=GATEWAY), timeout=_DEADLINE_S)
        request = admin_pb2.SubmitAccountCodeRequest(sign_in_id=started.sign_in_id, code=code)
        await api.SubmitAccountCode(request, timeout=_DEADLINE_S)
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            accounts = (await api.ListAccounts(admin_pb2.ListAccountsRequest(), timeout=_DEADLINE_S)).accounts
            if any(a.phone.lstrip("+") == GATEWAY.lstrip("+") and a.state == _ACTIVE for a in accounts):
                return
            await asyncio.sleep(0.2)


async def _call(sip: str, trunk: admin_pb2.AddTrunkResponse) -> dict[str, Any]:
    host, _, port = sip.rpartition(":")
    address = socket.gethostbyname(host)
    async with Actor("sip-phone", "--address", address_towards(address)) as phone:
        server = f"{address}:{port}"
        await phone.tell("register", server=server, login=trunk.trunk.login, password=trunk.password)
        registered = await phone.wait("registration")
        if registered["status"] != 200:
            raise RuntimeError(f"registration failed: {registered['status']} {registered['phrase']}")
        call = (await phone.tell("call", to="@friend", play={"hz": 440.0}))["call"]
        await phone.wait("established", call=call)
        await asyncio.sleep(_TALK_S)
        heard = await phone.tell("heard", call=call)
        await phone.tell("hangup", call=call)
        await phone.wait("ended", call=call)
    return heard


async def _show_record(api: Any, trunk_id: str) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            for call in (await api.ListCalls(admin_pb2.ListCallsRequest(limit=50), timeout=_DEADLINE_S)).calls:
                if call.trunk_id == trunk_id:
                    found = await api.GetCall(admin_pb2.GetCallRequest(call_id=call.call_id), timeout=_DEADLINE_S)
                    print("\n".join(ladder(found.record)))
                    return
            await asyncio.sleep(0.2)
