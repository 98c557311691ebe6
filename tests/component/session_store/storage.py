"""A Session Storage as a process, a data centre of its own, and friends at Telegram; no Manager and no Worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
from pyrogram import raw
from pyrogram.crypto.prime import CURRENT_DH_PRIME
from teletrunk import rpc
from teletrunk.cli.stack import Child
from teletrunk.errors import Refusal
from teletrunk.v1 import manager_pb2, session_store_pb2_grpc
from teletrunk.v1 import session_store_pb2 as pb
from teletrunk_sandbox.client import trust
from teletrunk_sandbox.control import SandboxControl

from tests.sandbox.dc_world import Dc, Person, leave, new_client, new_phone, sign_in
from tests.servers import free_port

TOKEN = "t" * 32
PATIENCE_S = 20.0
DISCONNECT = pb.DISCARD_REASON_DISCONNECT
MISSED = pb.DISCARD_REASON_MISSED


class CallStream:
    """One call's stream, as a Worker holds it."""

    def __init__(self, stub: Any, **first: Any) -> None:
        self._wishes: asyncio.Queue[pb.CallRequest | None] = asyncio.Queue()
        self.ask(**first)
        self._stream = stub.Call(self._requests())

    def ask(self, **wish: Any) -> None:
        self._wishes.put_nowait(pb.CallRequest(**wish))

    async def until(self, kind: str, within: float = PATIENCE_S) -> Any:
        """The next event of a kind; those before it are passed over. Raises `Refusal` when the call is refused."""
        async with asyncio.timeout(within):
            try:
                async for response in self._stream:
                    if response.WhichOneof("kind") == kind:
                        return getattr(response, kind)
            except grpc.aio.AioRpcError as error:
                raise rpc.refusal_of(error) or error from None
        raise AssertionError(f"the stream ended without {kind}")

    async def refusal(self, within: float = PATIENCE_S) -> Refusal:
        """What the call is refused with."""
        try:
            await self.until("", within)
        except Refusal as refusal:
            return refusal
        raise AssertionError("the call was not refused")

    def close(self) -> None:
        """As when the Worker gives the call up, or dies."""
        self._wishes.put_nowait(None)
        self._stream.cancel()

    async def _requests(self) -> AsyncIterator[pb.CallRequest]:
        while (wish := await self._wishes.get()) is not None:
            yield wish


class Storage:
    """The process, and what a test does with it."""

    def __init__(self, directory: Path, dc: dict[str, Any], control: SandboxControl, **settings: str) -> None:
        self.directory = directory
        self.dc = dc
        self.control = control
        self._friends: list[Person] = []
        self.log = directory / "storage.log"
        base = {name: value for name, value in os.environ.items() if not name.startswith("TELETRUNK_")}
        self.address = f"127.0.0.1:{free_port()}"
        data = directory / "data"
        data.mkdir(exist_ok=True)
        environment = {
            **base,
            "TELETRUNK_DATA": str(data),
            "TELETRUNK_STORAGE_ADDRESS": self.address,
            "TELETRUNK_CLUSTER_TOKEN": TOKEN,
            "TELETRUNK_TELEGRAM_SERVER": settings.pop("TELEGRAM", f"{dc['host']}:PORT").replace(
                "PORT", str(dc["port"])
            ),
            "TELETRUNK_TELEGRAM_RSA_KEY_FILE": str(dc["rsa_key_file"]),
            "TELETRUNK_MANAGER_ADDRESS": f"127.0.0.1:{free_port()}",
            **settings,
        }
        cwd = settings.get("CWD", str(directory))
        program = f"import os, runpy; os.chdir({cwd!r}); runpy.run_module('teletrunk_session_store', None, '__main__')"
        self.child = Child("session-store", ["-c", program], environment, self.log)

    async def start(self) -> None:
        await self.child.start()
        self._channel = rpc.dial(self.address, rpc.Security(TOKEN))
        self.stub: Any = session_store_pb2_grpc.SessionStoreServiceStub(self._channel)
        await self.stub.ListSessions(pb.ListSessionsRequest(), timeout=PATIENCE_S, wait_for_ready=True)

    async def stop(self) -> None:
        for friend in self._friends:
            await leave(friend.client)
        await self._channel.close()
        await self.child.stop()

    async def kill(self) -> None:
        """kill -9."""
        assert self.child.process is not None
        self.child.process.kill()
        await self.child.process.wait()
        await self._channel.close()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    # Signing in.

    async def begin(self, phone: str) -> str:
        answer = await self.stub.StartSignIn(pb.StartSignInRequest(phone=phone), timeout=PATIENCE_S)
        return str(answer.sign_in_id)

    async def submit(self, sign_in_id: str, code: str, within: float = PATIENCE_S) -> pb.SubmitCodeResponse:
        request = pb.SubmitCodeRequest(sign_in_id=sign_in_id, code=code)
        answer: pb.SubmitCodeResponse = await self.stub.SubmitCode(request, timeout=within)
        return answer

    async def sign_in(self, phone: str) -> str:
        """The session's id, when it is active."""
        begun = await self.begin(phone)
        answer = await self.submit(begun, await self.control.code(phone))
        await self.active(answer.signed_in.session_id)
        return str(answer.signed_in.session_id)

    async def account(self, name: str = "Gateway", **options: Any) -> tuple[str, str]:
        """A new account that is signed in: its phone and its session."""
        phone = new_phone()
        await self.control.add_user(phone, name, **options)
        return phone, await self.sign_in(phone)

    async def report(self, session_id: str) -> manager_pb2.SessionReport | None:
        answer = await self.stub.ListSessions(pb.ListSessionsRequest(), timeout=PATIENCE_S)
        return next((each for each in answer.sessions if each.session_id == session_id), None)

    async def active(self, session_id: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while getattr(await self.report(session_id), "state", 0) != manager_pb2.SESSION_STATE_ACTIVE:
                await asyncio.sleep(0.05)

    # Calls.

    def start_call(self, session_id: str, called: str) -> CallStream:
        return CallStream(self.stub, start=pb.StartCall(session_id=session_id, call_id="c", called=called))

    def take(self, incoming: pb.IncomingCall) -> CallStream:
        take = pb.TakeCall(session_id=incoming.session_id, call_id="c", phone_call_id=incoming.phone_call_id)
        return CallStream(self.stub, take=take)

    @contextlib.asynccontextmanager
    async def watch(self, session_id: str) -> AsyncIterator[asyncio.Queue[pb.IncomingCall]]:
        """The calls that come in for a session, as a Worker hears of them."""
        arrived: asyncio.Queue[pb.IncomingCall] = asyncio.Queue()
        stream = self.stub.Watch(pb.WatchRequest(session_ids=[session_id]))
        assert (await stream.read()).HasField("session")

        async def read() -> None:
            async for response in stream:
                if response.HasField("incoming"):
                    arrived.put_nowait(response.incoming)

        reading = asyncio.create_task(read())
        try:
            yield arrived
        finally:
            stream.cancel()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def friend(self, name: str = "Friend", **options: Any) -> Person:
        """Somebody at Telegram who does by themselves nothing at all."""
        phone = new_phone()
        await self.control.add_user(phone, name, **options)
        person = Person(phone, new_client(Dc(None, self.dc)))  # type: ignore[arg-type]
        self._friends.append(person)
        await person.client.connect()
        await sign_in(person, self.control)
        await person.listen()
        return person

    # What a test sees at Telegram, and does to it.

    async def asked(self, phone: str, method: str) -> None:
        """Waits until a traced account has asked Telegram for this."""
        async with asyncio.timeout(PATIENCE_S):
            while method.lower() not in [call["method"].lower() for call in await self.control.trace_log(phone)]:
                await asyncio.sleep(0.02)

    async def calls_of(self, phone: str) -> list[dict[str, Any]]:
        return [call for call in await self.control.calls() if phone in (call["admin"], call["participant"])]

    async def discarded(self, phone: str, within: float) -> dict[str, Any]:
        """The account's one call, once Telegram knows that it is over."""
        async with asyncio.timeout(within):
            while True:
                calls = await self.calls_of(phone)
                if calls and calls[-1]["state"] == "discarded":
                    assert len(calls) == 1
                    return calls[0]
                await asyncio.sleep(0.02)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """What the vault keeps there."""
        with contextlib.closing(sqlite3.connect(self.directory / "data" / "vault.db")) as connection:
            return connection.execute(f"SELECT * FROM {table}").fetchall()

    @contextlib.contextmanager
    def vault_locked(self) -> Iterator[None]:
        """Somebody else has the vault for themselves: every question to it fails after two seconds."""
        holder = sqlite3.connect(self.directory / "data" / "vault.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            holder.execute("ROLLBACK")
            holder.close()

    def links(self) -> int:
        """Open connections of the Storage to the data centre."""
        assert self.child.process is not None
        there = psutil.Process(self.child.process.pid).net_connections(kind="tcp")
        return sum(bool(link.raddr) and link.raddr.port == self.dc["port"] for link in there)


@contextlib.asynccontextmanager
async def storage(directory: Path, **settings: str) -> AsyncIterator[Storage]:
    dc_arguments = ["-m", "teletrunk_sandbox", "dc", "--state", str(directory / "dc")]
    sandbox = Child("sandbox", dc_arguments, dict(os.environ), directory / "dc.log")
    await sandbox.start(stdout=asyncio.subprocess.PIPE)
    assert sandbox.process is not None and sandbox.process.stdout is not None
    try:
        dc = json.loads(await asyncio.wait_for(sandbox.process.stdout.readline(), PATIENCE_S))
        trust(dc["rsa_key_file"])
        async with SandboxControl(dc["control_port"]) as control:
            await control.timeouts(600, 600)  # what ends here is ended by somebody, not by Telegram's patience
            made = Storage(directory, dc, control, **settings)
            await made.start()
            try:
                yield made
            finally:
                await made.stop()
    finally:
        await sandbox.stop()


def half() -> bytes:
    """Some g_a or g_b that no check refuses."""
    return pow(3, int.from_bytes(os.urandom(256), "big"), CURRENT_DH_PRIME).to_bytes(256, "big")


async def accept(friend: Person, requested: Any) -> None:
    """The friend's device rings, and they answer at once."""
    await friend.ask(raw.functions.phone.ReceivedCall(peer=phone_call(requested)))
    query = raw.functions.phone.AcceptCall(peer=phone_call(requested), g_b=half(), protocol=protocol())
    await friend.ask(query)


async def hang_up(friend: Person, call: Any) -> None:
    reason = raw.types.PhoneCallDiscardReasonHangup()
    query = raw.functions.phone.DiscardCall(peer=phone_call(call), duration=0, reason=reason, connection_id=0)
    await friend.ask(query)


def phone_call(call: Any) -> Any:
    return raw.types.InputPhoneCall(id=call.id, access_hash=call.access_hash)


async def calls(friend: Person, phone: str) -> Any:
    """The friend calls an account; returns phone.requestCall's answer."""
    found = await friend.ask(raw.functions.contacts.ResolvePhone(phone=phone))
    callee = raw.types.InputUser(user_id=found.users[0].id, access_hash=found.users[0].access_hash)
    return (await friend.ask(request_call(callee))).phone_call


def request_call(callee: Any) -> Any:
    return raw.functions.phone.RequestCall(
        user_id=callee,
        random_id=int.from_bytes(os.urandom(3), "big"),
        g_a_hash=os.urandom(32),
        protocol=protocol(),
    )


def protocol() -> Any:
    return raw.types.PhoneCallProtocol(
        udp_p2p=True, udp_reflector=True, min_layer=65, max_layer=92, library_versions=["9.0.0"]
    )
