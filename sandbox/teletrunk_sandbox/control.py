"""The control channel: TCP on loopback, one JSON object a line, `{"command": ..., "arguments": {...}}`.

The answer is `{"result": ...}` or `{"error": "..."}`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from teletrunk.sources import free_socket

from teletrunk_sandbox.errors import CommandError

LINE_LIMIT = 1 << 20
HOST = "127.0.0.1"
DEADLINE_S = 10.0


def people_socket(rsa_key: str) -> Path:
    """Where the people of the local Telegram whose key lies there are asked to call. Raises `ConfigurationError`."""
    return free_socket(Path(rsa_key).parent / "people.sock")


class SandboxControl:
    """The client of the control channel; use it as an async context manager.

    Accounts are named by phone number; an account that is not there raises CommandError.
    """

    def __init__(self, port: int, host: str = HOST) -> None:
        self._host, self._port = host, port
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(DEADLINE_S):
            self._streams = await asyncio.open_connection(self._host, self._port, limit=LINE_LIMIT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def add_user(
        self,
        phone: str,
        first_name: str,
        last_name: str = "",
        username: str | None = None,
        password: str | None = None,
        more_usernames: Sequence[str] = (),
    ) -> int:
        """Make an account, or bring an existing one to this state; gives its user id."""
        result = await self._ask(
            "add_user",
            phone=phone,
            first_name=first_name,
            last_name=last_name,
            username=username,
            password=password,
            more_usernames=more_usernames,
        )
        return int(result)

    async def user(self, phone: str | None = None, user_id: int | None = None) -> dict[str, Any]:
        """An account by phone or id."""
        return dict(await self._ask("user", phone=phone, user_id=user_id))

    async def code(self, phone: str) -> str:
        """The login code that was sent to a phone last."""
        return str(await self._ask("code", phone=phone))

    async def expire_code(self, phone: str) -> None:
        """Let that code have expired."""
        await self._ask("expire_code", phone=phone)

    async def home(self, phone: str, dc_id: int) -> None:
        """Let an account be at home in another data centre, which is played here, too: only QR codes know that."""
        await self._ask("home", phone=phone, dc_id=dc_id)

    async def login_token_seconds(self, seconds: int) -> None:
        """How long the next tokens of QR codes last; Telegram's do 30 seconds."""
        await self._ask("login_token_seconds", seconds=seconds)

    async def flood(self, phone: str, seconds: int, method: str | None = None, times: int = 1) -> None:
        """FLOOD_WAIT for the next calls of a method, or of any."""
        await self._ask("flood", phone=phone, seconds=seconds, method=method, times=times)

    async def peer_flood(self, phone: str, on: bool) -> None:
        """PEER_FLOOD for calls, messages and imports while on."""
        await self._ask("peer_flood", phone=phone, on=on)

    async def error(self, phone: str, method: str, code: int, message: str, times: int = 1) -> None:
        """Any error for the next calls of a method."""
        await self._ask("error", phone=phone, method=method, code=code, message=message, times=times)

    async def answer(self, phone: str, method: str, answer: str, times: int = 1) -> None:
        """Another constructor as the answer to the next calls of a method, by its name in TL (see `twists`)."""
        await self._ask("answer", phone=phone, method=method, answer=answer, times=times)

    async def clock(self, ahead_s: float, reconnect: bool = True) -> None:
        """Set the data centre's clock apart from this machine's; clients connect anew, or find out as they are."""
        await self._ask("clock", ahead_s=ahead_s, reconnect=reconnect)

    async def delay(self, phone: str, seconds: float, method: str | None = None) -> None:
        """Answer late (what was asked is done at once); 0 ends it, a huge number never answers."""
        await self._ask("delay", phone=phone, seconds=seconds, method=method)

    async def revoke(self, phone: str, reason: str = "AUTH_KEY_UNREGISTERED") -> None:
        """End all authorizations: AUTH_KEY_UNREGISTERED, SESSION_REVOKED, USER_DEACTIVATED[_BAN]."""
        await self._ask("revoke", phone=phone, reason=reason)

    async def forget_key(self, phone: str) -> None:
        """Destroy the auth keys: transport error -404."""
        await self._ask("forget_key", phone=phone)

    async def cut(self, phone: str, seconds: float) -> None:
        """Close the account's connections, and new ones too for a while."""
        await self._ask("cut", phone=phone, seconds=seconds)

    async def lose(self, phone: str, times: int = 1) -> None:
        """Lose the account's next updates on their way; the difference has them."""
        await self._ask("lose", phone=phone, times=times)

    async def too_long(self, phone: str) -> None:
        """Push updatesTooLong: there is more than is sent."""
        await self._ask("too_long", phone=phone)

    async def differences(self, have_calls: bool) -> None:
        """Whether updates.getDifference tells of calls; of calls that have ended the chat tells in any case."""
        await self._ask("differences", have_calls=have_calls)

    async def privacy(self, phone: str, calls: str | None = None, found_by_phone: str | None = None) -> None:
        """Who may call, who may find the account by its number: all, contacts or nobody."""
        await self._ask("privacy", phone=phone, calls=calls, found_by_phone=found_by_phone)

    async def block(self, phone: str, blocked: str, on: bool = True) -> None:
        """Let an account block another, or end it."""
        await self._ask("block", phone=phone, blocked=blocked, on=on)

    async def one_call_only(self, phone: str, on: bool) -> None:
        """Whether a second call of the account gets CALL_OCCUPY_FAILED when it is accepted."""
        await self._ask("one_call_only", phone=phone, on=on)

    async def timeouts(self, receive_s: float, ring_s: float) -> None:
        """When calls end as missed: no device has it; nobody answers."""
        await self._ask("timeouts", receive_s=receive_s, ring_s=ring_s)

    async def reflector(self, on: bool = True, loss: float = 0.0) -> None:
        """Let the media reflector lose some per cent of the packets, or drop all."""
        await self._ask("reflector", on=on, loss=loss)

    async def reflector_counts(self) -> dict[str, int]:
        """How many packets the reflector has `forwarded` and `dropped`."""
        return dict(await self._ask("reflector_counts"))

    async def connections(self, phone: str) -> list[dict[str, str]]:
        """The account's live connections: `auth_key_id`, `session_id`, `peer`."""
        return list(await self._ask("connections", phone=phone))

    async def duplicates(self) -> int:
        """How often one auth key had two live connections of different sessions."""
        return int(await self._ask("duplicates"))

    async def trace(self, phone: str, on: bool) -> None:
        """Begin or end the record of the account's API calls."""
        await self._ask("trace", phone=phone, on=on)

    async def trace_log(self, phone: str) -> list[dict[str, Any]]:
        """The record: `method` and `time` of each call."""
        return list(await self._ask("trace_log", phone=phone))

    async def calls(self) -> list[dict[str, Any]]:
        """Every phone call since the start: state, participants, times, reason, duration."""
        return list(await self._ask("calls"))

    async def _ask(self, command: str, **arguments: Any) -> Any:
        if self._streams is None:
            raise ConnectionError("the control channel is not open")
        reader, writer = self._streams
        async with self._lock, asyncio.timeout(DEADLINE_S):
            writer.write(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
        if not line:
            raise ConnectionError("the data centre has closed the control channel")
        answer = json.loads(line)
        if "error" in answer:
            raise CommandError(answer["error"])
        return answer["result"]
