"""What is wrong with a value, in the words of this project: for settings, the command and the REST API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_LONGEST_SHOWN = 60

# By pydantic's names of what it found; `c` is what it was compared with.
_WORDS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "int_parsing": lambda c: "must be a whole number",
    "int_type": lambda c: "must be a whole number",
    "int_from_float": lambda c: "must be a whole number",
    "float_parsing": lambda c: "must be a number",
    "float_type": lambda c: "must be a number",
    "finite_number": lambda c: "must be a finite number",
    "bool_parsing": lambda c: "must be true or false",
    "bool_type": lambda c: "must be true or false",
    "string_type": lambda c: "must be a text",
    "list_type": lambda c: "must be a list",
    "dict_type": lambda c: "must be an object",
    "model_type": lambda c: "must be an object",
    "model_attributes_type": lambda c: "must be a JSON object",
    "json_invalid": lambda c: "must be JSON",
    "missing": lambda c: "is missing",
    "extra_forbidden": lambda c: "is not known here",
    "greater_than_equal": lambda c: f"must be {_number(c['ge'])} or more",
    "greater_than": lambda c: f"must be more than {_number(c['gt'])}",
    "less_than_equal": lambda c: f"must be {_number(c['le'])} or less",
    "less_than": lambda c: f"must be less than {_number(c['lt'])}",
    "string_too_long": lambda c: f"must have {c['max_length']} characters or fewer",
    "string_too_short": lambda c: f"must have {c['min_length']} characters or more",
    "too_long": lambda c: f"must have {c['max_length']} items or fewer",
    "literal_error": lambda c: f"must be one of {str(c['expected']).replace(' or ', ', ')}",
    "enum": lambda c: f"must be one of {str(c['expected']).replace(' or ', ', ')}",
    "string_pattern_mismatch": lambda c: _of_pattern(str(c["pattern"])),
}


def _number(limit: float) -> str:
    return str(int(limit)) if float(limit).is_integer() else f"{limit:g}"  # not 4.29497e+09


def in_words(error: Mapping[str, Any], *, hidden: bool = False) -> str:
    """One of pydantic's errors as one sentence without an end; the value is shown when it is short and no secret."""
    word = _WORDS.get(str(error["type"]))
    text = word(error.get("ctx") or {}) if word else str(error["msg"]).removeprefix("Value error, ")
    value = error.get("input")
    if hidden or not isinstance(value, str | int | float) or len(str(value)) > _LONGEST_SHOWN:
        return text
    return f"{text}, not {value!r}" if word and error["type"] != "extra_forbidden" else text


def _of_pattern(pattern: str) -> str:
    """`^(json|console)$` is a choice; what else a pattern asks for is only that some characters are not in it."""
    choice = re.fullmatch(r"\^\(([\w|-]+)\)\$", pattern)
    return f"must be one of {choice[1].replace('|', ', ')}" if choice else "has characters that are not allowed here"
