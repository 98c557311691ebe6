"""teletrunk account ..."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from teletrunk.cli.client import DEADLINE_S, ask, every, fail
from teletrunk.cli.output import Json, say, show, table
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import manager_pb2

app = typer.Typer(no_args_is_help=True)
_NO_CODE = "none"  # Telegram has signed the number in at once
_ANOTHER_WAY = "resend"


def _answer(prompt: str, given: str | None, *, hidden: bool = False) -> str:
    """From the option, from the person at the terminal, or from a line of standard input."""
    if given is None and sys.stdin.isatty():
        given = str(typer.prompt(prompt, hide_input=hidden, err=True))
    answer = sys.stdin.readline().strip() if given is None else given.strip()
    if not answer:
        fail(f"{prompt.lower()} is missing: give it as an option or as a line of standard input")
    return answer


def _state(account: pb.Account) -> str:
    name = manager_pb2.SessionState.Name(account.state).removeprefix("SESSION_STATE_").lower()
    name = "storage is away" if name == "unspecified" else name
    return f"{name} ({account.reason})" if account.reason else name


def _named(account: pb.Account) -> str:
    username = f"@{account.username}" if account.username else ""
    return "  ".join(part for part in (account.name, account.phone, username) if part)


@app.command()
def add(
    phone: Annotated[str, typer.Argument(help="The account's number, with + and country code.")],
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
    started = ask(lambda admin: admin.StartAddAccount(pb.StartAddAccountRequest(phone=phone), timeout=DEADLINE_S))
    wanted = started.code_sent_by != _NO_CODE
    if wanted and not as_json:
        _say_how(phone, started.code_sent_by)
    given = _code(phone, started.sign_in_id, code) if wanted else ""
    account = _submit_code(started.sign_in_id, given, password)
    text = f"Signed in: {_named(account)}. Next: teletrunk trunk add {account.phone or account.account_id}"
    show(account, as_json, lambda: say(text))


def _say_how(phone: str, sent_by: str) -> None:
    text = f"Telegram has sent a code to {phone} ({sent_by}). If it does not come: answer {_ANOTHER_WAY}."
    typer.echo(text, err=True)


def _code(phone: str, sign_in_id: str, given: str | None) -> str:
    """What the person has got; whoever gets none may have it sent by another way."""
    request = pb.ResendAccountCodeRequest(sign_in_id=sign_in_id)
    while (code := _answer("Code", given)) == _ANOTHER_WAY:
        given = None
        answer: pb.ResendAccountCodeResponse = ask(lambda admin: admin.ResendAccountCode(request, timeout=DEADLINE_S))
        _say_how(phone, answer.code_sent_by)
    return code


def _submit_code(sign_in_id: str, code: str, password: str | None) -> pb.Account:
    request = pb.SubmitAccountCodeRequest(sign_in_id=sign_in_id, code=code)
    answer: pb.SubmitAccountCodeResponse = ask(lambda admin: admin.SubmitAccountCode(request, timeout=DEADLINE_S))
    if answer.HasField("account"):
        return answer.account
    hint = f" (hint: {answer.password_hint})" if answer.password_hint else ""
    given = _answer(f"Two-step password{hint}", password, hidden=True)
    second = pb.SubmitAccountPasswordRequest(sign_in_id=sign_in_id, password=given)
    final: pb.SubmitAccountPasswordResponse = ask(lambda admin: admin.SubmitAccountPassword(second, timeout=DEADLINE_S))
    return final.account


def _all() -> pb.ListAccountsResponse:
    answer: pb.ListAccountsResponse = ask(
        lambda admin: every(admin.ListAccounts, pb.ListAccountsRequest(), "accounts", "account_id")
    )
    return answer


@app.command("list")
def list_accounts(as_json: Json = False) -> None:
    """All accounts and the real state of their sessions."""
    answer = _all()
    rows = [[a.account_id, a.phone, a.username, a.name, _state(a), str(a.trunks)] for a in answer.accounts]
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
    text = f"{_named(found)}  user id {found.user_id}\nsession: {_state(found)}\ntrunks: {found.trunks}"
    show(found, as_json, lambda: say(text))


@app.command()
def retry(account: Annotated[str, typer.Argument(help="An account id, phone or @username.")]) -> None:
    """Lets the account ask Telegram again before its FLOOD_WAIT or PEER_FLOOD is over: it may earn a longer one."""
    request = pb.RetryAccountRequest(account=account)
    ask(lambda admin: admin.RetryAccount(request, timeout=DEADLINE_S))
    say(f"The next call of {account} asks Telegram again.")


@app.command()
def remove(
    account: Annotated[str, typer.Argument(help="An account id, phone or @username.")], as_json: Json = False
) -> None:
    """Signs the account out at Telegram and removes it with its trunks."""
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
