"""teletrunk trunk ..."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from teletrunk.cli import trunk_options, trunk_sound
from teletrunk.cli.client import DEADLINE_S, Yes, ask, ask_fleet, confirm, confirm_at_terminal, every, fail
from teletrunk.cli.moments import told as moment
from teletrunk.cli.output import Json, counted, say, show, table
from teletrunk.cli.shared_options import with_options
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import fleet_pb2, manager_pb2, trunk_pb2

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A trunk's login or id.")]


@app.command()
@with_options(trunk_options.options)
def add(
    context: typer.Context,
    account: Annotated[str, typer.Argument(help="The Telegram account: id, phone or @username.")],
    login: Annotated[str, typer.Option(help="What the PBX registers as; made from the account if not given.")] = "",
    as_json: Json = False,
) -> None:
    """Makes a trunk and prints what to enter in the PBX. The password is shown this once."""
    options, _ = trunk_options.given(context.params, trunk_pb2.PbxAddress())
    of_trunk = trunk_options.of_trunk(context.params)
    request = pb.AddTrunkRequest(account=account, login=login, options=options, **of_trunk)
    answer = ask(lambda admin: admin.AddTrunk(request, timeout=DEADLINE_S))
    show(answer, as_json, lambda: say("\n".join(_entries(answer))))


def _entries(answer: pb.AddTrunkResponse) -> list[str]:
    """What to enter in the PBX."""
    if answer.trunk.options.kind != trunk_pb2.TRUNK_KIND_UNSPECIFIED:
        return [
            f"Made {answer.trunk.login}: {trunk_options.word_for(answer.trunk.options.kind)}.",
            f"  the PBX sees us come from  {answer.trunk.sip_address or '(no Worker is attached yet)'}",
            f"  codecs                     {', '.join(answer.trunk.codecs)}",
            *_warnings(answer.trunk),
            f"How it stands: teletrunk trunk show {answer.trunk.login}",
        ]
    servers = [f"  server    {where}\n  transport {by}" for where, by in _servers(answer.trunk)]
    return [
        "Enter in the PBX, as a trunk that registers:",
        "\n  or\n".join(servers) or "  server    (no Worker that takes it is attached yet)",
        f"  login     {answer.trunk.login}",
        f"  password  {answer.password}",
        f"  codecs    {', '.join(answer.trunk.codecs)}",
        *_warnings(answer.trunk),
    ]


def _servers(trunk: pb.Trunk) -> list[tuple[str, str]]:
    """Where its PBX registers: an address, and by what."""
    plain = [
        word.upper() for word in ("udp", "tcp") if not trunk.options.transports or word in trunk.options.transports
    ]
    places = [(trunk.sip_address, " or ".join(plain)), (trunk.sip_tls_address, "TLS")]
    return [(where, by) for where, by in places if where and by]


def _warnings(trunk: pb.Trunk) -> list[str]:
    return [f"Warning: {warning}" for warning in trunk.warnings]


def _all() -> pb.ListTrunksResponse:
    answer: pb.ListTrunksResponse = ask(lambda admin: every(admin.ListTrunks, pb.ListTrunksRequest()))
    return answer


@app.command("list")
def list_trunks(as_json: Json = False) -> None:
    """All trunks."""
    answer = _all()
    show(answer, as_json, lambda: _tabulate(answer.trunks))


def _tabulate(trunks: Iterable[pb.Trunk]) -> None:
    whose = _account_names()
    rows = [
        [t.trunk_id, t.login, whose.get(t.account_id, t.account_id), str(t.priority), ",".join(t.codecs), t.comment]
        for t in trunks
    ]
    table("trunks", ["id", "login", "account", "priority", "codecs", "comment"], rows)


def _account_names() -> dict[str, str]:
    """By id: what people call an account."""
    answer = ask(lambda admin: every(admin.ListAccounts, pb.ListAccountsRequest()))
    return {account.account_id: account.phone or account.username for account in answer.accounts}


def _one(name: str) -> pb.Trunk:
    trunk: pb.Trunk = ask(lambda admin: admin.GetTrunk(pb.GetTrunkRequest(trunk=name), timeout=DEADLINE_S)).trunk
    return trunk


@app.command()
@with_options(trunk_options.options)
def change(context: typer.Context, trunk: Name, as_json: Json = False) -> None:
    """Changes what is given; the rest, and the password, stay."""
    if not trunk_options.some_given(context.params):
        fail("nothing is to be changed: teletrunk trunk change --help shows what can be")
    before = _one(trunk)
    options, changed = trunk_options.given(context.params, before.options.pbx)
    request = pb.ChangeTrunkRequest(
        trunk=trunk,
        version=before.version,
        options=options,
        changed_options=changed,
        **trunk_options.of_trunk(context.params),
    )
    answer = ask(lambda admin: admin.ChangeTrunk(request, timeout=DEADLINE_S))
    show(answer, as_json, lambda: say("\n".join(_told(answer.trunk))))


def _told(trunk: pb.Trunk) -> list[str]:
    account = _account_names().get(trunk.account_id, trunk.account_id)
    return [
        f"{trunk.login}  account {account}  priority {trunk.priority}  {trunk.comment}".rstrip(),
        *_ways_in(trunk),
        f"codecs: {', '.join(trunk.codecs)}",
        *trunk_options.told(trunk.options),
        *trunk_sound.told(trunk.options),
        *_registered(trunk),
        *(_state(state) for state in trunk.states),
        *(_refused(refused) for refused in trunk.refused_registrations),
        *_warnings(trunk),
    ]


def _ways_in(trunk: pb.Trunk) -> list[str]:
    """How a PBX comes in: it registers, or is known by its address."""
    if trunk.options.kind != trunk_pb2.TRUNK_KIND_UNSPECIFIED:
        lines = [f"the PBX sees us come from: {trunk.sip_address or '(no Worker is attached)'}"]
        return lines + [f"also let in from: {', '.join(trunk.trusted_addresses)}"] * bool(trunk.trusted_addresses)
    return [
        *(
            [f"server: {where}, {by}" for where, by in _servers(trunk)]
            or ["server: (no Worker that takes it is attached)"]
        ),
        f"digest: {'SHA-256' if trunk.sha256_only else 'SHA-256 or MD5'}",
        f"may be used from: {', '.join(trunk.trusted_addresses) or 'everywhere'}",
    ]


def _registered(trunk: pb.Trunk) -> list[str]:
    """Of a trunk whose PBX registers: each binding, and the Workers that have some and did not tell them."""
    if trunk.options.kind != trunk_pb2.TRUNK_KIND_UNSPECIFIED:
        return []
    silent = set(trunk.registered_at) - {binding.worker_id for binding in trunk.bindings}
    lines = [_binding(binding) for binding in trunk.bindings]
    return [*lines, *(f"registered at Worker {one}" for one in sorted(silent))] or ["registered: nowhere"]


def _binding(binding: manager_pb2.Binding) -> str:
    named = f", {binding.user_agent}" if binding.user_agent else ""
    came = f"from {binding.source_address} by {binding.transport}"
    until = moment(binding.expires_at)
    return f"registered: {binding.contact}{named}, {came}, until {until}, at Worker {binding.worker_id}"


def _state(state: trunk_pb2.TrunkState) -> str:
    return f"{'up' if state.up else 'down'}: {state.why}, since {moment(state.since)}"


def _refused(refused: pb.RefusedRegistration) -> str:
    times = f"{counted(refused.count, 'time')}, last {moment(refused.last_at)}"
    why = f" ({refused.detail})" if refused.detail else ""
    return f"registration refused: {refused.error_id} from {refused.source_address}, {times}{why}"


@app.command("show")
def show_trunk(trunk: Name, as_json: Json = False) -> None:
    """One trunk."""
    found = _one(trunk)
    show(found, as_json, lambda: say("\n".join(_told(found))))


@app.command("test-number")
def test_number(
    trunk: Name,
    number: Annotated[str, typer.Argument(help="As the PBX would dial it: +4915..., 0049..., @name, a user id.")],
    look_up: Annotated[
        bool, typer.Option("--look-up/--no-look-up", help="Ask Telegram who it is; nobody is called.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Shows what the trunk makes of a number, rule by rule, and what its PBX would see of a call from there.

    Example: teletrunk trunk test-number office 00491511234567
    """
    request = pb.TestNumberRequest(trunk=trunk, number=number, look_up=look_up)
    answer = ask(lambda admin: admin.TestNumber(request, timeout=DEADLINE_S))
    show(answer, as_json, lambda: say("\n".join(_tested(answer))))


def _tested(answer: pb.TestNumberResponse) -> list[str]:
    width = max(len(step.text) for step in answer.steps)
    lines = [f"{step.text:{width}}  {step.number}".rstrip() for step in answer.steps]
    if answer.refusal:
        lines.append(f"the PBX would read: {answer.refusal}  (teletrunk explain {answer.error_id})")
    if answer.not_looked_up:
        lines.append(f"not looked up: {answer.not_looked_up}")
    if answer.caller_id:
        lines += [f"caller ID from there:    {answer.caller_id}", f"caller name from there:  {answer.caller_name}"]
    if answer.objection:
        lines.append(f"a call from there does not ring this trunk: {answer.objection}")
    return lines


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
def reset_password(trunk: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Makes a new password and prints it this once."""
    login = _one(trunk).login
    confirm_at_terminal(f"The PBX that uses {login} is let in no more until it has the new password. Go on?", yes)
    request = pb.ResetTrunkPasswordRequest(trunk=trunk)
    answer = ask(lambda admin: admin.ResetTrunkPassword(request, timeout=DEADLINE_S))
    show(answer, as_json, lambda: say(f"password  {answer.password}"))


@app.command()
def remove(trunk: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Removes a trunk; its PBX is no longer let in."""
    confirm(f"The PBX that uses {_one(trunk).login} is let in no more, and its password is gone. Remove it?", yes)
    answer = ask(lambda admin: admin.RemoveTrunk(pb.RemoveTrunkRequest(trunk=trunk), timeout=DEADLINE_S))
    show(answer, as_json, lambda: say("Removed."))
