"""How the command talks to the Manager."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from teletrunk import rpc
from teletrunk.config import ServiceSettings, load
from teletrunk.v1 import admin_pb2_grpc

Answer = TypeVar("Answer")
Admin = Any  # the generated stub's asynchronous form
DEADLINE_S = 60.0


def ask(work: Callable[[Admin], Awaitable[Answer]]) -> Answer:
    """Runs `work` with the Manager's AdminService. A failure is one line on standard error and exit code 1."""
    settings = load(ServiceSettings)

    async def run() -> Answer:
        async with rpc.dial(settings.manager_address, settings.token()) as channel:
            return await work(admin_pb2_grpc.AdminServiceStub(channel))

    try:
        return asyncio.run(run())
    except grpc.aio.AioRpcError as error:
        away = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        if away and not rpc.refusal_of(error):
            fail(f"the Manager at {settings.manager_address} does not answer: is it running? (teletrunk up)")
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            fail(f"the Manager at {settings.manager_address} belongs to another data directory: set TELETRUNK_DATA")
        fail(error.details() or error.code().name)
        raise AssertionError from None  # fail does not return


def fail(text: str) -> None:
    sys.stderr.write(f"teletrunk: {text}\n")
    raise typer.Exit(1)


def show(message: Message, as_json: bool, human: Callable[[], None]) -> None:
    """Prints an answer as one JSON document, or as `human` does."""
    if as_json:
        fields = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        sys.stdout.write(json.dumps(fields) + "\n")
    else:
        human()


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table for people; says so when it is empty."""
    if not rows:
        Console().print(f"No {title}.")
        return
    drawn = Table(*columns)
    for row in rows:
        drawn.add_row(*row)
    Console().print(drawn)
