"""teletrunk ban ...: addresses that Workers turn away because they guessed."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from teletrunk.cli.client import DEADLINE_S, ask_fleet, every
from teletrunk.cli.output import Json, say, show, table
from teletrunk.v1 import fleet_pb2 as pb

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_bans(as_json: Json = False) -> None:
    """The addresses that are banned now."""
    answer = ask_fleet(lambda fleet: every(fleet.ListBans, pb.ListBansRequest()))
    rows = [[ban.network, f"{ban.until - time.time():.0f} s", str(ban.times)] for ban in answer.bans]
    show(answer, as_json, lambda: table("bans", ["address", "left", "times"], rows))


@app.command()
def lift(address: Annotated[str, typer.Argument(help="An address, or a network as the list shows it.")]) -> None:
    """Lets an address in again at once."""
    ask_fleet(lambda fleet: fleet.LiftBan(pb.LiftBanRequest(address=address), timeout=DEADLINE_S))
    say(f"{address} is let in again.")
