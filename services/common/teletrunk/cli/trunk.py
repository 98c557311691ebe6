"""teletrunk trunk ..."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from teletrunk.cli import trunk_options, trunk_sound
from teletrunk.cli.client import DEADLINE_S, ask, ask_fleet, every, fail
from teletrunk.cli.output import Json, say, show, table
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import fleet_pb2

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A trunk's login or id.")]


@app.command()
def add(
    account: Annotated[str, typer.Argument(help="The Telegram account: id, phone or @username.")],
    login: Annotated[str, typer.Option(help="What the PBX registers as; made from the account if not given.")] = "",
    priority: Annotated[int, typer.Option(min=0, help="Lower is tried first; equal ones ring together.")] = 0,
    comment: Annotated[str, typer.Option(help="For your own memory.")] = "",
    codecs: Annotated[str, typer.Option(help="In order of preference.")] = "PCMA,PCMU,G722",
    sha256_only: Annotated[bool, typer.Option("--sha256-only", help="Let no PBX in with MD5.")] = False,
    off: trunk_options.Off = None,
    transports: trunk_options.Transports = None,
    dtmf: trunk_sound.Dtmf = None,
    ptime_ms: trunk_sound.Ptime = None,
    srtp: trunk_sound.Srtp = None,
    hold: trunk_sound.Hold = None,
    as_json: Json = False,
) -> None:
    """Makes a trunk and prints what to enter in the PBX. The password is shown this once."""
    options, given = trunk_options.given(off, transports)
    trunk_sound.give(options, given, dtmf, ptime_ms, srtp, hold)
    request = pb.AddTrunkRequest(
        account=account,
        login=login,
        priority=priority,
        comment=comment,
        codecs=codecs.split(","),
        sha256_only=sha256_only,
        options=options,
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
    show(answer, as_json, lambda: say("\n".join(lines)))


def _all() -> pb.ListTrunksResponse:
    answer: pb.ListTrunksResponse = ask(
        lambda admin: every(admin.ListTrunks, pb.ListTrunksRequest(), "trunks", "login")
    )
    return answer


@app.command("list")
def list_trunks(as_json: Json = False) -> None:
    """All trunks."""
    answer = _all()
    rows = [[t.trunk_id, t.login, t.account_id, str(t.priority), ",".join(t.codecs), t.comment] for t in answer.trunks]
    show(answer, as_json, lambda: table("trunks", ["id", "login", "account", "priority", "codecs", "comment"], rows))


def _one(name: str) -> pb.Trunk:
    found = next((t for t in _all().trunks if name in (t.trunk_id, t.login)), None)
    if found is None:
        fail(f"there is no trunk {name}: teletrunk trunk list shows them")
    return found


@app.command()
def change(
    trunk: Name,
    priority: Annotated[int | None, typer.Option(min=0, help="Lower is tried first; equal ones ring together.")] = None,
    comment: Annotated[str | None, typer.Option(help="For your own memory.")] = None,
    codecs: Annotated[str | None, typer.Option(help="In order of preference.")] = None,
    sha256_only: Annotated[bool | None, typer.Option("--sha256-only/--md5", help="Let no PBX in with MD5.")] = None,
    off: trunk_options.Off = None,
    transports: trunk_options.Transports = None,
    dtmf: trunk_sound.Dtmf = None,
    ptime_ms: trunk_sound.Ptime = None,
    srtp: trunk_sound.Srtp = None,
    hold: trunk_sound.Hold = None,
    as_json: Json = False,
) -> None:
    """Changes what is given; the rest, and the password, stay."""
    options, changed = trunk_options.given(off, transports)
    trunk_sound.give(options, changed, dtmf, ptime_ms, srtp, hold)
    request = pb.ChangeTrunkRequest(
        trunk=trunk,
        priority=priority,
        comment=comment,
        codecs=codecs.split(",") if codecs else [],
        sha256_only=sha256_only,
        version=_one(trunk).version,
        options=options,
        changed_options=changed,
    )
    answer = ask(lambda admin: admin.ChangeTrunk(request, timeout=DEADLINE_S))
    show(answer, as_json, lambda: say("\n".join(_told(answer.trunk))))


def _told(trunk: pb.Trunk) -> list[str]:
    return [
        f"{trunk.login}  account {trunk.account_id}  priority {trunk.priority}  {trunk.comment}".rstrip(),
        f"server: {trunk.sip_address or '(no Worker is attached)'}, UDP or TCP",
        f"codecs: {', '.join(trunk.codecs)}",
        f"digest: {'SHA-256' if trunk.sha256_only else 'SHA-256 or MD5'}",
        f"may be used from: {', '.join(trunk.trusted_addresses) or 'everywhere'}",
        *trunk_options.told(trunk.options),
        *trunk_sound.told(trunk.options),
        *(_refused(refused) for refused in trunk.refused_registrations),
    ]


def _refused(refused: pb.RefusedRegistration) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(refused.last_at))
    return f"registration refused: {refused.error_id} from {refused.source_address}, {refused.count} times, last {at}"


@app.command("show")
def show_trunk(trunk: Name, as_json: Json = False) -> None:
    """One trunk."""
    found = _one(trunk)
    show(found, as_json, lambda: say("\n".join(_told(found))))


@app.command()
def trust(
    trunk: Name,
    addresses: Annotated[list[str] | None, typer.Argument(help="Addresses and subnets, all of them.")] = None,
    everywhere: Annotated[bool, typer.Option("--everywhere", help="From any address: the list is emptied.")] = False,
) -> None:
    """Says from which addresses a PBX may use the trunk. The list replaces the one before."""
    if bool(addresses) == everywhere:
        fail("give the addresses and subnets, or --everywhere to let the trunk be used from any")
    request = fleet_pb2.TrustRequest(trunk=trunk, addresses=addresses or [])
    ask_fleet(lambda fleet: fleet.Trust(request, timeout=DEADLINE_S))
    say(f"{trunk} may be used from {', '.join(addresses) if addresses else 'everywhere'}.")


@app.command("reset-password")
def reset_password(trunk: Name, as_json: Json = False) -> None:
    """Makes a new password and prints it this once."""
    request = pb.ResetTrunkPasswordRequest(trunk=trunk)
    answer = ask(lambda admin: admin.ResetTrunkPassword(request, timeout=DEADLINE_S))
    show(answer, as_json, lambda: say(f"password  {answer.password}"))


@app.command()
def remove(trunk: Name, as_json: Json = False) -> None:
    """Removes a trunk; its PBX is no longer let in."""
    answer = ask(lambda admin: admin.RemoveTrunk(pb.RemoveTrunkRequest(trunk=trunk), timeout=DEADLINE_S))
    show(answer, as_json, lambda: say("Removed."))
