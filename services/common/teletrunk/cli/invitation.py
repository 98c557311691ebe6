"""teletrunk invitation ...: those that no service has used yet."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from teletrunk.cli.client import DEADLINE_S, ask_fleet, every
from teletrunk.cli.output import Json, say, show, table
from teletrunk.v1 import fleet_pb2

app = typer.Typer(no_args_is_help=True)


@app.callback()
def invitations() -> None:
    """Invitations that no service has used yet."""


@app.command("list")
def list_invitations(as_json: Json = False) -> None:
    """Invitations that wait for their services."""
    answer = ask_fleet(lambda fleet: every(fleet.ListInvitations, fleet_pb2.ListInvitationsRequest()))
    rows = [
        [each.id, each.kind, time.strftime("%H:%M:%S", time.localtime(each.expires_at)), each.comment]
        for each in answer.invitations
    ]
    show(answer, as_json, lambda: table("invitations", ["id", "for a", "until", "comment"], rows))


@app.command("revoke")
def revoke_invitation(invitation: Annotated[str, typer.Argument(help="Its id, as `list` shows it.")]) -> None:
    """Takes an invitation back: nobody comes by it."""
    request = fleet_pb2.RevokeInvitationRequest(id=invitation)
    ask_fleet(lambda fleet: fleet.RevokeInvitation(request, timeout=DEADLINE_S))
    say(f"{invitation} is worth nothing any more.")
