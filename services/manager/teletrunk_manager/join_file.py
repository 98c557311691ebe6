"""The file in which a chart, or whoever sets machines up, declares join tokens: a list of kind, secret and count."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, field_validator
from teletrunk.config import ConfigurationError
from teletrunk.errors import Refusal

log = structlog.get_logger()

_LOOK_S: Final = 5.0  # reading a small file costs less than being told of its change
_SHORTEST = 32
_FEWEST_LETTERS = 10  # different ones: "xxxx..." is a sample
_SAMPLES = ("changeme", "change-me", "example", "placeholder", "your-secret")


class Declared(BaseModel):
    """One join token of the file."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["worker", "storage"]
    secret: SecretStr
    count: Annotated[int, Field(ge=1, le=100_000)]

    @field_validator("secret")
    @classmethod
    def _is_secret(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        is_sample = len(set(text)) < _FEWEST_LETTERS or any(sample in text.lower() for sample in _SAMPLES)
        if len(text) < _SHORTEST or is_sample:
            raise ValueError(f"must be a random text of {_SHORTEST} characters or more, not a sample")
        return value


_FILE = TypeAdapter(list[Declared])


def read(path: Path) -> list[Declared]:
    """Raises `ConfigurationError` with one line."""
    try:
        declared = _FILE.validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"TELETRUNK_JOIN_FILE: {path}: {error.strerror}") from None
    except ValidationError as error:
        raise ConfigurationError(f"TELETRUNK_JOIN_FILE: {path}: {_line(error)}") from None
    if len({each.secret.get_secret_value() for each in declared}) < len(declared):
        raise ConfigurationError(f"TELETRUNK_JOIN_FILE: {path}: each secret must stand there once")
    return declared


def _line(error: ValidationError) -> str:
    """Without what was given: it may be a secret."""
    first = error.errors(include_input=False, include_url=False)[0]
    number, *rest = first["loc"] or (0,)
    where = f"entry {int(number) + 1}: {'.'.join(str(part) for part in rest)}: " if rest else ""
    return where + str(first["msg"]).removeprefix("Value error, ")


async def keep_declared(
    path: Path | None, known: Sequence[Declared], declare: Callable[[Sequence[Declared]], Awaitable[None]]
) -> None:
    """Declares what the file holds whenever that is not what was known. Runs until cancelled.

    What cannot be read then is said once, and what was declared before stays.
    """
    if path is None:
        return
    said = ""
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            if known != (current := read(path)):
                await declare(current)
                log.info("join tokens declared", count=len(current))
                known, said = current, ""
        except ConfigurationError as error:
            if said != (said := str(error)):
                log.error("the join file cannot be used", error=said)
        except Refusal:
            pass  # the database is away: the next look tries again
