"""`teletrunk account add` as a person uses it, against the local Telegram: wrong code, expired code, two steps."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from teletrunk.v1 import admin_pb2
from teletrunk_sandbox.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PATIENCE_S = 30


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory) -> AsyncIterator[World]:  # type: ignore[no-untyped-def]
    async with World(tmp_path_factory.mktemp("world")) as world:
        yield world


class SignIn:
    """One run of the command, which waits for its lines of standard input."""

    def __init__(self, world: World, phone: str) -> None:
        self._world = world
        self._phone = phone

    async def start(self) -> str:
        """Returns the first line of standard error."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "teletrunk.cli.main", "account", "add", self._phone,
            env=self._world.stack.environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stderr is not None
        return (await asyncio.wait_for(self._process.stderr.readline(), PATIENCE_S)).decode()

    async def say(self, line: str) -> str:
        """Returns the next line of standard error."""
        assert self._process.stdin is not None and self._process.stderr is not None
        self._process.stdin.write(f"{line}\n".encode())
        return (await asyncio.wait_for(self._process.stderr.readline(), PATIENCE_S)).decode()

    async def answer(self, *lines: str) -> tuple[int | None, str, str]:
        """Exit code, standard output and the rest of standard error."""
        text = "".join(f"{line}\n" for line in lines).encode()
        out, errors = await asyncio.wait_for(self._process.communicate(text), PATIENCE_S)
        return self._process.returncode, out.decode(), errors.decode()


async def begun(world: World, phone: str, password: str | None = None) -> SignIn:
    await world.control.add_user(phone, "Ann", "", None, password)
    sign_in = SignIn(world, phone)
    assert (await sign_in.start()).startswith(f"Telegram has sent a code to {phone}")
    return sign_in


async def test_the_right_code(world: World) -> None:
    sign_in = await begun(world, "+79990000101")
    code, out, errors = await sign_in.answer(await world.control.code("+79990000101"))
    assert (code, errors) == (0, "")
    assert "Signed in: Ann" in out and "Next: teletrunk trunk add +79990000101" in out


async def test_a_wrong_code(world: World) -> None:
    sign_in = await begun(world, "+79990000102")
    right = await world.control.code("+79990000102")
    code, out, errors = await sign_in.answer("00000" if right != "00000" else "00001")
    assert (code, out, errors.count("\n")) == (1, "", 1)
    assert "code" in errors and "wrong" in errors


async def test_an_expired_code(world: World) -> None:
    sign_in = await begun(world, "+79990000103")
    right = await world.control.code("+79990000103")
    await world.control.expire_code("+79990000103")
    code, out, errors = await sign_in.answer(right)
    assert (code, out, errors.count("\n")) == (1, "", 1)
    assert "expired" in errors


@pytest.mark.parametrize(
    ("phone", "given", "expected"), [("+79990000104", "right horse", 0), ("+79990000105", "wrong", 1)]
)
async def test_a_two_step_password(world: World, phone: str, given: str, expected: int) -> None:
    sign_in = await begun(world, phone, password="right horse")
    code, out, errors = await sign_in.answer(await world.control.code(phone), given)
    assert code == expected, errors
    assert ("Signed in: Ann" in out) is (expected == 0)
    if expected:
        assert errors.count("\n") == 1 and "password" in errors


async def test_a_phone_number_that_is_none_and_a_login_that_is_unknown(world: World) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "teletrunk.cli.main", "account", "add", "12", env=world.stack.environment,
        stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode() == 'teletrunk: "12" is not a phone number: write it with + and country code\n'
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "teletrunk.cli.main", "trunk", "remove", "nobody", "--yes", env=world.stack.environment,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode() == "teletrunk: there is no trunk nobody: teletrunk trunk list shows them\n"


async def add(world: World, phone: str, answer: str) -> tuple[int | None, str, str]:
    """The whole command, with nothing to read, against a Telegram that answers auth.sendCode so."""
    await world.control.add_user(phone, "Ann")
    await world.control.answer(phone, "auth.sendCode", answer)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "teletrunk.cli.main", "account", "add", phone, env=world.stack.environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode, out.decode(), errors.decode()


async def test_telegram_wants_no_code(world: World) -> None:
    code, out, errors = await add(world, "+79990000106", "sentCodeSuccess")
    assert (code, errors) == (0, "")
    assert "Signed in: Ann" in out


async def test_telegram_wants_a_payment(world: World) -> None:
    code, out, errors = await add(world, "+79990000107", "sentCodePaymentRequired")
    assert (code, out, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("teletrunk: Telegram wants a payment")


async def test_a_code_that_does_not_come_is_sent_by_another_way(world: World) -> None:
    phone = "+79990000151"
    sign_in = await begun(world, phone)
    first = await world.control.code(phone)
    assert "(sms)" in await sign_in.say("resend")
    second = await world.control.code(phone)
    assert second != first
    code, out, errors = await sign_in.answer(second)
    assert code == 0 and "Signed in: Ann" in out, errors


async def test_a_qr_code_and_a_two_step_password(world: World) -> None:
    phone = "+79990000161"
    await world.subscribers.tell("user", phone=phone, first_name="Ann")
    await world.control.add_user(phone, "Ann", "", None, "right horse")
    await world.control.home(phone, 4)
    await world.control.login_token_seconds(6)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "teletrunk.cli.main", "account", "add", "--qr", env=world.stack.environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None

    async def shown() -> tuple[str, int]:
        """The next code: what it says, and how many lines it is drawn in."""
        lines = 0
        while not (line := (await process.stderr.readline()).decode()).startswith("tg://"):  # type: ignore[union-attr]
            assert line, "it has ended"
            lines += any(letter in line for letter in "\u2580\u2584\u2588")
        return line.strip(), lines

    async with asyncio.timeout(2 * PATIENCE_S):
        first, lines = await shown()
        assert lines > 15
        await world.control.login_token_seconds(30)
        second, _ = await shown()  # in its place, before it ends
        assert second != first
        await world.subscribers.tell("scan", phone=phone, url=second)
        out, errors = await process.communicate(b"wrong horse\nright horse\n")
    assert process.returncode == 0, errors
    assert "Signed in: Ann" in out.decode() and "password is wrong" in errors.decode()
    accounts = (await world.admin.ListAccounts(admin_pb2.ListAccountsRequest(), timeout=PATIENCE_S)).accounts
    await world.active(next(account.account_id for account in accounts if account.phone == phone))


async def test_an_account_asks_telegram_again_when_it_is_told_to(world: World) -> None:
    phone = "+79990000152"
    account = await world.add_account(phone, "hasty")
    await world.active(account.account_id)
    await world.control.flood(phone, 3600, "account.getPrivacy")
    check = admin_pb2.CheckAccountRequest(account=phone)
    with pytest.raises(grpc.aio.AioRpcError):
        await world.admin.CheckAccount(check, timeout=PATIENCE_S)
    waits = "Telegram wants no account.getPrivacy before"
    async with asyncio.timeout(PATIENCE_S):
        while waits not in await world.command("account", "show", phone):
            await asyncio.sleep(0.1)
    with pytest.raises(RuntimeError, match=rf"teletrunk account retry \{phone}"):  # what it finds is its exit code
        await world.command("doctor")
    await world.command("account", "retry", phone)
    await world.admin.CheckAccount(check, timeout=PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while waits in await world.command("account", "show", phone):
            await asyncio.sleep(0.1)
