"""The real Manager as a process, and the other services' ends of its wire."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import grpc
from teletrunk import rpc
from teletrunk.v1 import admin_pb2_grpc, call_pb2, manager_pb2_grpc, session_store_pb2_grpc
from teletrunk.v1 import manager_pb2 as pb
from teletrunk.v1 import session_store_pb2 as store

TOKEN = secrets.token_hex(16)
CODE = "11111"
LOGIN_URL = "tg://login?token=" + "x" * 43
TWO_STEP = "correct horse"
START_S = 60.0  # to start or to end takes a second, and many on a machine that is much too busy
PATIENCE_S = 15.0


class ManagerProcess:
    """`python -m teletrunk_manager` on a free port."""

    def __init__(self, data: Path, **environment: str) -> None:
        self.data = data
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TELETRUNK_")},
            "TELETRUNK_DATA": str(data),
            "TELETRUNK_CLUSTER_TOKEN": TOKEN,
            "TELETRUNK_MANAGER_ADDRESS": "127.0.0.1:0",
            **environment,
        }
        self.process: asyncio.subprocess.Process
        self.address = ""
        self.lines: list[str] = []

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "teletrunk_manager", env=self._environment, stderr=asyncio.subprocess.PIPE
        )
        assert self.process.stderr is not None
        while line := (await asyncio.wait_for(self.process.stderr.readline(), START_S)).decode():
            self.lines.append(line)
            if '"manager listening"' in line:
                self.address = json.loads(line)["address"]
                self._drain = asyncio.create_task(self._read_on(self.process.stderr))
                return
        raise AssertionError("".join(self.lines))

    async def _read_on(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            self.lines.append(line.decode())

    async def line_with(self, text: str) -> str:
        """The first that has it. A thread carries lines: an answer may be here before what was said of it."""
        async with asyncio.timeout(START_S):
            while (line := next((line for line in self.lines if text in line), None)) is None:
                await asyncio.sleep(0.02)
        return line

    async def stop(self) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        status = await asyncio.wait_for(self.process.wait(), START_S)
        await self._drain
        return status

    async def refused(self) -> tuple[int, str]:
        """Starts it where it must not start: exit status and what it said."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "teletrunk_manager", env=self._environment, stderr=asyncio.subprocess.PIPE
        )
        _, said = await asyncio.wait_for(process.communicate(), START_S)
        assert process.returncode is not None
        return process.returncode, said.decode()

    async def command(self, *arguments: str, answer: str = "") -> tuple[int, str, str]:
        """One `teletrunk` command against this Manager: exit status, output, errors."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "teletrunk.cli.main",
            *arguments,
            env={**self._environment, "TELETRUNK_MANAGER_ADDRESS": self.address},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await asyncio.wait_for(process.communicate(answer.encode()), START_S)
        assert process.returncode is not None
        return process.returncode, out.decode(), errors.decode()


class Wire:
    """Both services of one Manager over one channel."""

    def __init__(self, address: str, token: str = TOKEN) -> None:
        self.channel = rpc.dial(address, rpc.Security(token))
        self.manager: Any = manager_pb2_grpc.ManagerServiceStub(self.channel)
        self.admin: Any = admin_pb2_grpc.AdminServiceStub(self.channel)


class Attachment:
    """One service's stream; what the Manager says is kept in the order in which it came."""

    def __init__(self, wire: Wire, hello: pb.AttachRequest) -> None:
        self._said: asyncio.Queue[pb.AttachRequest | None] = asyncio.Queue()
        # Apart: whoever waits for a pulse must not swallow a configuration that came before it.
        self._pulses: asyncio.Queue[pb.Pulse | None] = asyncio.Queue()
        self._last, self._unanswered = pb.Heartbeat(), 0
        self._configurations: asyncio.Queue[pb.AttachResponse | None] = asyncio.Queue()
        self._said.put_nowait(hello)
        self.stream = wire.manager.Attach(self._requests())
        self._reader = asyncio.create_task(self._read())

    async def _requests(self) -> AsyncIterator[pb.AttachRequest]:
        while (request := await self._said.get()) is not None:
            yield request

    async def _read(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            async for response in self.stream:
                if response.WhichOneof("kind") == "pulse":
                    self._pulses.put_nowait(response.pulse)
                else:
                    self._configurations.put_nowait(response)
        self._pulses.put_nowait(None)
        self._configurations.put_nowait(None)

    async def beat(self, heartbeat: pb.Heartbeat | None = None) -> None:
        """Sends a heartbeat and waits for its pulse."""
        self._last = heartbeat or pb.Heartbeat()
        self.repeat()
        while self._unanswered:
            assert await asyncio.wait_for(self._pulses.get(), PATIENCE_S) is not None, "the stream ended"
            self._unanswered -= 1

    def repeat(self) -> None:
        """The last heartbeat once more: a busy machine may need longer than the Manager waits for the next."""
        self._said.put_nowait(pb.AttachRequest(heartbeat=self._last))
        self._unanswered += 1

    def say(self, request: pb.AttachRequest) -> None:
        """What is answered with nothing."""
        self._said.put_nowait(request)

    async def config(self, wanted: Callable[[pb.WorkerConfig], bool], within: float = PATIENCE_S) -> pb.WorkerConfig:
        """The first configuration that is as wanted."""
        return (await self.response("worker", lambda response: wanted(response.worker), within)).worker

    async def response(
        self, kind: str, wanted: Callable[[pb.AttachResponse], bool] = lambda response: True, within: float = PATIENCE_S
    ) -> pb.AttachResponse:
        """The first of this kind that is as wanted; what comes before it is dropped."""
        async with asyncio.timeout(within):
            while (response := await self._configurations.get()) is not None:
                if response.WhichOneof("kind") == kind and wanted(response):
                    return response
        raise AssertionError("the stream ended")

    async def ended(self, within: float = PATIENCE_S) -> None:
        async with asyncio.timeout(within):
            while await self._configurations.get() is not None:
                pass

    async def leave(self) -> None:
        self._said.put_nowait(None)
        await self.ended()


def worker_hello(worker_id: str = "worker-1", sip_address: str = "127.0.0.1:5060") -> pb.AttachRequest:
    hello = pb.WorkerHello(worker_id=worker_id, name="w", version="1", sip_address=sip_address, max_calls=4)
    return pb.AttachRequest(worker=hello)


class StorageServer(session_store_pb2_grpc.SessionStoreServiceServicer):
    """A Session Storage's sign-in, without Telegram behind it."""

    @classmethod
    def serving(cls, storage_id: str = "storage-1") -> Self:
        """Of the generated servicer's methods it has those that are called; the others answer UNIMPLEMENTED."""
        return cls(storage_id)

    def __init__(self, storage_id: str = "storage-1") -> None:
        self.storage_id = storage_id
        self.user = call_pb2.Peer(user_id=7001, first_name="Ann", last_name="Lee", username="Ann", phone="491711234567")
        self.phones: list[str] = []
        self.removed: list[str] = []
        self.two_step = False
        self.scanned = False
        self.audience_asked = 0
        self.asked: Counter[str] = Counter()  # what goes to Telegram, by method
        self._begun = False
        self._signed_in = 0
        self.session_id = ""  # of the next sign-in; else it makes one
        self.server = rpc.Server("127.0.0.1:0", rpc.Security(TOKEN))
        self.server.add(session_store_pb2_grpc.add_SessionStoreServiceServicer_to_server, self)

    def hello(self) -> pb.AttachRequest:
        address = f"127.0.0.1:{self.server.port}"
        return pb.AttachRequest(
            storage=pb.StorageHello(storage_id=self.storage_id, name="s", version="1", address=address)
        )

    async def StartSignIn(self, request: store.StartSignInRequest, context: Any) -> store.StartSignInResponse:
        self.phones.append(request.phone)
        self._begun = True
        return store.StartSignInResponse(sign_in_id="sign-in", code_sent_by="app")

    async def SubmitCode(self, request: store.SubmitCodeRequest, context: Any) -> store.SubmitCodeResponse:
        if request.code != CODE:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the code is wrong: start again")
        if self.two_step:
            return store.SubmitCodeResponse(password_needed=store.PasswordNeeded(hint="horse"))
        return store.SubmitCodeResponse(signed_in=self._sign_in())

    async def ResendCode(self, request: store.ResendCodeRequest, context: Any) -> store.ResendCodeResponse:
        self.asked["ResendCode"] += 1
        return store.ResendCodeResponse(code_sent_by="sms")

    async def Resolve(self, request: store.ResolveRequest, context: Any) -> store.ResolveResponse:
        self.asked["Resolve"] += 1
        return store.ResolveResponse(peer=call_pb2.Peer(user_id=5))

    async def StartQrSignIn(self, request: store.StartQrSignInRequest, context: Any) -> store.StartQrSignInResponse:
        self._begun = True
        return store.StartQrSignInResponse(sign_in_id="qr", code=store.LoginCode(url=LOGIN_URL, expires_at=1.5e9))

    async def AwaitQrSignIn(self, request: store.AwaitQrSignInRequest, context: Any) -> store.AwaitQrSignInResponse:
        if not self.scanned:
            return store.AwaitQrSignInResponse(code=store.LoginCode(url=LOGIN_URL, expires_at=1.5e9))
        if self.two_step:
            return store.AwaitQrSignInResponse(password_needed=store.PasswordNeeded(hint="horse"))
        return store.AwaitQrSignInResponse(signed_in=self._sign_in())

    async def SubmitPassword(self, request: store.SubmitPasswordRequest, context: Any) -> store.SubmitPasswordResponse:
        if not self._begun:
            await context.abort(grpc.StatusCode.NOT_FOUND, "this sign-in is over: start again")
        if request.password != TWO_STEP:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the password is wrong: try again")
        return store.SubmitPasswordResponse(signed_in=self._sign_in())

    async def GetCallAudience(
        self, request: store.GetCallAudienceRequest, context: Any
    ) -> store.GetCallAudienceResponse:
        self.audience_asked += 1
        if self.audience_asked == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return store.GetCallAudienceResponse(audience=call_pb2.CALL_AUDIENCE_CONTACTS)

    async def RemoveSession(self, request: store.RemoveSessionRequest, context: Any) -> store.RemoveSessionResponse:
        self.removed.append(request.session_id)
        return store.RemoveSessionResponse()

    def _sign_in(self) -> store.SignedIn:
        self._signed_in += 1
        self._begun = False
        return store.SignedIn(session_id=self.session_id or f"{self.storage_id}/{self._signed_in}", user=self.user)


def answered(login: str, password: str, method: str = "REGISTER", algorithm: str = "SHA-256") -> pb.Digest:
    """A PBX's answer to a challenge."""

    def digest(*parts: str) -> str:
        return hashlib.new(algorithm.lower().replace("-", ""), ":".join(parts).encode()).hexdigest()

    given = pb.Digest(
        username=login, realm="teletrunk", nonce="n", uri="sip:gw", qop="auth", nc="00000001", cnonce="c",
        algorithm=algorithm, method=method,
    )  # fmt: skip
    given.response = digest(
        digest(login, "teletrunk", password), "n", "00000001", "c", "auth", digest(method, "sip:gw")
    )
    return given


async def refusal(call: Any) -> tuple[str, str]:
    """The row and the detail that a call was refused with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        found = rpc.refusal_of(error)
        assert found is not None, error
        return found.row.id, found.detail
    raise AssertionError("it was not refused")


async def mistake(call: Any) -> tuple[grpc.StatusCode, str]:
    """The status and the line that a person's mistake was answered with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError("it was not refused")
