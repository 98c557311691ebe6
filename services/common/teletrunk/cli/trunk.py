"""teletrunk trunk ..."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from teletrunk.cli.account import Json
from teletrunk.cli.client import DEADLINE_S, ask, fail, show, table
from teletrunk.v1 import admin_pb2 as pb

app = typer.Typer(no_args_is_help=True)


@app.command()
def add(
    account: Annotated[str, typer.Argument(help="The Telegram account: id, phone or @username.")],
    login: Annotated[str, typer.Option(help="What the PBX registers as; made from the account if not given.")] = "",
    priority: Annotated[int, typer.Option(min=0, help="Lower is tried first; equal ones ring together.")] = 0,
    comment: str = "",
    codecs: Annotated[str, typer.Option(help="In order of preference.")] = "PCMA,PCMU,G722",
    as_json: Json = False,
) -> None:
    """Makes a trunk and prints what to enter in the PBX. The password is shown this once."""
    request = pb.AddTrunkRequest(
        account=account, login=login, priority=priority, comment=comment, codecs=codecs.split(",")
    )
    answer = ask(lambda admin: admin.AddTrunk(request, timeout=DEADLINE_S))
    lines = (
        "Enter in the PBX, as a trunk that registers:",
        f"  server    {answer.trunk.sip_address or '(no Worker is attached yet)'}",
        "  transport UDP or TCP",
        f"  login     {answer.trunk.login}",
        f"  password  {answer.password}",
        f"  codecs    {', '.join(answer.trunk.codecs)}",
    )
    show(answer, as_json, lambda: typer.echo("\n".join(lines)))


def _all() -> Any:
    return ask(lambda admin: admin.ListTrunks(pb.ListTrunksRequest(), timeout=DEADLINE_S))


@app.command("list")
def list_trunks(as_json: Json = False) -> None:
    """All trunks."""
    answer = _all()
    rows = [[t.trunk_id, t.login, t.account_id, str(t.priority), ",".join(t.codecs), t.comment] for t in answer.trunks]
    show(answer, as_json, lambda: table("trunks", ["id", "login", "account", "priority", "codecs", "comment"], rows))


@app.command("show")
def show_trunk(trunk: str, as_json: Json = False) -> None:
    """One trunk, by id or login."""
    found = next((t for t in _all().trunks if trunk in (t.trunk_id, t.login)), None)
    if found is None:
        fail(f"there is no trunk {trunk}: teletrunk trunk list shows them")
        return
    text = f"{found.login} at {found.sip_address or 'no Worker'}  account {found.account_id}  priority {found.priority}"
    show(found, as_json, lambda: typer.echo(text))


@app.command("reset-password")
def reset_password(trunk: str, as_json: Json = False) -> None:
    """Makes a new password and prints it this once."""
    request = pb.ResetTrunkPasswordRequest(trunk=trunk)
    answer = ask(lambda admin: admin.ResetTrunkPassword(request, timeout=DEADLINE_S))
    show(answer, as_json, lambda: typer.echo(f"password  {answer.password}"))


@app.command()
def remove(trunk: str, as_json: Json = False) -> None:
    """Removes a trunk; its PBX is no longer let in."""
    answer = ask(lambda admin: admin.RemoveTrunk(pb.RemoveTrunkRequest(trunk=trunk), timeout=DEADLINE_S))
    show(answer, as_json, lambda: typer.echo("Removed."))
