"""sipp, which stops at a challenge whose algorithm it does not know, registers and is challenged with what it knows."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from .port_world import port_world

SCENARIO = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="register">
  <send retrans="500"><![CDATA[
REGISTER sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:office@[remote_ip]>;tag=[pid]SIPpTag[call_number]
To: <sip:office@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 REGISTER
Contact: <sip:office@[local_ip]:[local_port]>
Max-Forwards: 70
Expires: 300
Content-Length: 0

]]></send>
  <recv response="401" auth="true"/>
  <send retrans="500"><![CDATA[
REGISTER sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:office@[remote_ip]>;tag=[pid]SIPpTag[call_number]
To: <sip:office@[remote_ip]>
Call-ID: [call_id]
CSeq: 2 REGISTER
Contact: <sip:office@[local_ip]:[local_port]>
[authentication username=office password=x]
Max-Forwards: 70
Expires: 300
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
"""


async def test_sipp_registers(tmp_path: Path) -> None:
    sipp = shutil.which("sipp")
    if sipp is None:
        reason = "sipp is not installed"
        pytest.fail(reason) if "TELETRUNK_CI" in os.environ else pytest.skip(reason)
    scenario = tmp_path / "register.xml"
    scenario.write_text(SCENARIO)
    async with port_world() as world:
        process = await asyncio.create_subprocess_exec(
            sipp or "", "-sf", str(scenario), "-m", "3", "-i", "127.0.0.1", "-nostdin", "-timeout", "20s",
            f"127.0.0.1:{world.port.port}", cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, out.decode(errors="replace")[-2_000:]
        assert len(world.port.registrar.bindings("trunk-office")) == 1
