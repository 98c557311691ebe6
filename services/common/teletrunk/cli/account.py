"""teletrunk account ..."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from teletrunk.cli.client import DEADLINE_S, Wrong, Yes, ask, confirm, every, fail
from teletrunk.cli.output import Json, plain, say, show, table
from teletrunk.sign_in import WRONG_CODE, WRONG_PASSWORD
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import manager_pb2

app = typer.Typer(no_args_is_help=True)
_TRIES = 3
_LONG = 20  # seconds: as long as one question may wait
Answer = TypeVar("Answer")
_NO_CODE = "none"  # Telegram has signed the number in at once
_ANOTHER_WAY = "resend"


def _answer(prompt: str, given: str | None) -> str:
    """From the option, from the person at the terminal (nothing is echoed), or from a line of standard input."""
    if given is None and sys.stdin.isatty():
        given = str(typer.prompt(prompt, hide_input=True, err=True))
    return sys.stdin.readline().strip() if given is None else given.strip()


def _submitted(prompt: str, given: str | None, submit: Callable[[str], Answer]) -> Answer:
    """What is wrong may be typed again, three times in all: the sign-in goes on meanwhile."""
    wrong, left = "", _TRIES
    while True:
        answer = _answer(prompt, given) if left else ""
        given, left = None, left - 1
        if not answer:
            fail(wrong or f"{prompt.lower()} is missing: give it as an option or as a line of standard input")
        if wrong and not sys.stdin.isatty():
            typer.echo(f"{plain(wrong)}.", err=True)
        try:
            return submit(answer)
        except Wrong as error:
            wrong = str(error)
            if left and sys.stdin.isatty():  # elsewhere once another answer has come
                typer.echo(f"{plain(wrong)}.", err=True)


_ADOPT = "teletrunk storage adopt"


def state_of(account: pb.Account) -> str:
    name = manager_pb2.SessionState.Name(account.state).removeprefix("SESSION_STATE_").lower()
    name = "storage is away" if name == "unspecified" else name
    if _ADOPT in account.reason:  # it does not connect before somebody says that its original is gone
        name = "held back"
    return f"{name} ({account.reason})" if account.reason else name


def named(account: pb.Account) -> str:
    username = f"@{account.username}" if account.username else ""
    return "  ".join(part for part in (account.name, account.phone, username) if part)


@app.command()
def add(
    phone: Annotated[str, typer.Argument(help="The account's number, with + and country code.")] = "",
    qr: Annotated[bool, typer.Option("--qr", help="No number: the account's Telegram app scans a QR code.")] = False,
    code: Annotated[str | None, typer.Option(help="The login code, when it is known already.")] = None,
    password: Annotated[
        str | None,
        typer.Option(
            envvar="TELETRUNK_TWO_STEP_PASSWORD",
            help="Two-step password; better given in the environment or when asked.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Signs a Telegram account in: asks for the code, and for the two-step password if there is one."""
    if qr is bool(phone):
        fail("give the account's number, or --qr and no number")
    if qr:
        _tell_signed_in(_signed_in_by_qr(password), as_json)
        return
    started = ask(lambda admin: admin.StartAddAccount(pb.StartAddAccountRequest(phone=phone), timeout=DEADLINE_S))
    wanted = started.code_sent_by != _NO_CODE
    if wanted and not as_json:
        _say_how(phone, started.code_sent_by)
    sign_in_id = started.sign_in_id
    account = _signed_in(phone, sign_in_id, code, password) if wanted else _submit_code(sign_in_id, "").account
    _tell_signed_in(account, as_json)


def _tell_signed_in(account: pb.Account, as_json: bool) -> None:
    text = f"Signed in: {named(account)}. Next: teletrunk trunk add {account.phone or account.account_id}"
    show(account, as_json, lambda: say(text))


def _say_how(phone: str, sent_by: str) -> None:
    text = f"Telegram has sent a code to {phone} ({sent_by}). If it does not come: answer {_ANOTHER_WAY}."
    typer.echo(text, err=True)


def _sent_again(phone: str, sign_in_id: str) -> str:
    """Whoever gets no code may have it sent by another way."""
    request = pb.ResendAccountCodeRequest(sign_in_id=sign_in_id)
    answer: pb.ResendAccountCodeResponse = ask(lambda admin: admin.ResendAccountCode(request, timeout=DEADLINE_S))
    _say_how(phone, answer.code_sent_by)
    return _answer("Code", None)


def _signed_in(phone: str, sign_in_id: str, code: str | None, password: str | None) -> pb.Account:
    def submit_code(given: str) -> pb.SubmitAccountCodeResponse:
        while given == _ANOTHER_WAY:
            given = _sent_again(phone, sign_in_id)
        return _submit_code(sign_in_id, given)

    answer = _submitted("Code", code, submit_code)
    return answer.account if answer.HasField("account") else _with_password(sign_in_id, answer.password_hint, password)


def _with_password(sign_in_id: str, password_hint: str, password: str | None) -> pb.Account:
    hint = f" (hint: {plain(password_hint)})" if password_hint else ""

    def submit(given: str) -> pb.Account:
        request = pb.SubmitAccountPasswordRequest(sign_in_id=sign_in_id, password=given)
        final: pb.SubmitAccountPasswordResponse = ask(
            lambda admin: admin.SubmitAccountPassword(request, timeout=DEADLINE_S), WRONG_PASSWORD
        )
        return final.account

    return _submitted(f"Two-step password{hint}", password, submit)


def _signed_in_by_qr(password: str | None) -> pb.Account:
    """Shows the QR code, and the next in its place, until one has been scanned."""
    from teletrunk.cli.qr_code import Shown  # draws: slow to import, and seldom wanted

    started = ask(lambda admin: admin.StartAddAccountByQr(pb.StartAddAccountByQrRequest(), timeout=DEADLINE_S))
    typer.echo("In the account's Telegram app: Settings, Devices, Link Desktop Device. Scan this:", err=True)
    question, shown = pb.AwaitAccountQrRequest(sign_in_id=started.sign_in_id, wait_s=_LONG), Shown()
    answer = pb.AwaitAccountQrResponse(code=started.code)
    while answer.HasField("code"):
        shown.show(answer.code.url)
        answer = ask(lambda admin: admin.AwaitAccountQr(question, timeout=DEADLINE_S))
    if answer.HasField("account"):
        return answer.account
    return _with_password(started.sign_in_id, answer.password_hint, password)


def _submit_code(sign_in_id: str, code: str) -> pb.SubmitAccountCodeResponse:
    request = pb.SubmitAccountCodeRequest(sign_in_id=sign_in_id, code=code)
    answer: pb.SubmitAccountCodeResponse = ask(
        lambda admin: admin.SubmitAccountCode(request, timeout=DEADLINE_S), WRONG_CODE
    )
    return answer


def _all() -> pb.ListAccountsResponse:
    answer: pb.ListAccountsResponse = ask(lambda admin: every(admin.ListAccounts, pb.ListAccountsRequest()))
    return answer


@app.command("list")
def list_accounts(as_json: Json = False) -> None:
    """All accounts and the real state of their sessions."""
    answer = _all()
    rows = [[a.account_id, a.phone, a.username, a.name, state_of(a), str(a.trunks)] for a in answer.accounts]
    show(answer, as_json, lambda: table("accounts", ["id", "phone", "username", "name", "session", "trunks"], rows))


@app.command("show")
def show_account(
    account: Annotated[str, typer.Argument(help="An account id, phone or @username.")], as_json: Json = False
) -> None:
    """One account."""
    names = {account.lower(), account.removeprefix("@").lower(), f"+{account.lstrip('+')}"}
    found = next((a for a in _all().accounts if names & {a.account_id, a.phone, a.username.lower()} - {""}), None)
    if found is None:
        fail(f"there is no account {account}: teletrunk account list shows them")
    show(found, as_json, lambda: say("\n".join(_told(found))))


def _told(account: pb.Account) -> list[str]:
    return [
        f"{named(account)}  user id {account.user_id}  account {account.account_id}",
        f"session: {state_of(account)}",
        f"storage: {account.storage_id}",
        f"owner: {account.owner or 'this installation'}",
        f"shared with: {', '.join(account.shared_with) or 'nobody'}",
        f"workers: {', '.join(account.worker_ids) or 'all may use it'}",
        f"plan: {account.subscription or 'none, so without limits'}",
        f"trunks: {account.trunks}",
    ]


@app.command()
def retry(account: Annotated[str, typer.Argument(help="An account id, phone or @username.")]) -> None:
    """Lets the account ask Telegram again before its FLOOD_WAIT or PEER_FLOOD is over: it may earn a longer one."""
    request = pb.RetryAccountRequest(account=account)
    ask(lambda admin: admin.RetryAccount(request, timeout=DEADLINE_S))
    say(f"The next call of {account} asks Telegram again.")


@app.command()
def remove(
    account: Annotated[str, typer.Argument(help="An account id, phone or @username.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Signs the account out at Telegram and removes it with its trunks."""
    confirm(f"{account} is signed out at Telegram and removed with its trunks. Remove it?", yes)
    request = pb.RemoveAccountRequest(account=account)
    answer = ask(lambda admin: admin.RemoveAccount(request, timeout=DEADLINE_S))
    show(answer, as_json, lambda: say("Removed."))


_Account = Annotated[str, typer.Argument(help="An account id, phone or @username.")]
_Administrator = Annotated[str, typer.Argument(help="A token's name.")]


@app.command()
def share(account: _Account, administrator: _Administrator) -> None:
    """Lets another administrator use an account's session in trunks of theirs."""
    request = pb.ShareAccountRequest(account=account, administrator=administrator)
    ask(lambda admin: admin.ShareAccount(request, timeout=DEADLINE_S))
    say(f"{administrator} may use {account} now.")


@app.command()
def unshare(account: _Account, administrator: _Administrator) -> None:
    """Takes that back: the trunks that they made with it are refused from now on."""
    request = pb.UnshareAccountRequest(account=account, administrator=administrator)
    ask(lambda admin: admin.UnshareAccount(request, timeout=DEADLINE_S))
    say(f"{administrator} may not use {account} any more.")


@app.command()
def transfer(
    account: _Account,
    administrator: Annotated[str, typer.Argument(help="A token's name; none: this installation.")] = "",
) -> None:
    """Gives an account to another administrator."""
    request = pb.TransferAccountRequest(account=account, administrator=administrator)
    ask(lambda admin: admin.TransferAccount(request, timeout=DEADLINE_S))
    say(f"{account} belongs to {administrator or 'this installation'} now.")
