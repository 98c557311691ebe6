"""docs/errors.md and `teletrunk explain`: both come out of the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from teletrunk.causes import CAUSES, Cause
from teletrunk.cli import metrics_doc
from teletrunk.cli.errors_doc import document
from teletrunk.cli.explain import find
from teletrunk.cli.main import app
from teletrunk.cli.pbx_words import SAYINGS
from teletrunk.errors import TABLE, Refusal
from typer.testing import CliRunner

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == document(), "run `make errors-doc` and commit docs/errors.md"


def test_the_page_of_metrics_is_what_they_say() -> None:
    page = PAGE.with_name("metrics.md").read_text()
    assert page == metrics_doc.document(), "run `make errors-doc` and commit docs/metrics.md"


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.id)
def test_every_row_says_what_it_means_and_what_to_do(row) -> None:  # type: ignore[no-untyped-def]
    for text in (row.essence, row.remedy):
        assert text.endswith(".") and "\n" not in text
    assert row.essence.count(". ") == 0, "the essence is one sentence"


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.id)
def test_a_row_is_found_by_all_that_stands_on_the_wire(row) -> None:  # type: ignore[no-untyped-def]
    refusal = Refusal(row.id, "DETAIL", retry_after=37)
    headers = dict(refusal.sip_headers()[-2:])
    assert find(row.id) == [row]
    assert find(headers["Warning"]) == [row]
    assert find(f"{row.sip_status} {refusal.phrase}") == [row]
    assert find(f"SIP/2.0 {row.sip_status} {refusal.phrase.upper()}") == [row]
    assert row in find(row.phrase)
    assert row in find(str(row.sip_status))


def test_a_code_that_several_rows_share_lists_them_all() -> None:
    assert [row.id for row in find("404")] == ["login-not-found", "user-not-found", "not-registered"]
    assert [row.id for row in find("session storage is")] == ["storage-off", "storage-unreachable"]
    assert find("486") == find("no such words") == []


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("486", "486 Busy Here"),
        ("486 Busy Here", "486 Busy Here"),
        ('Got SIP response 486 "Busy Here" back from 192.0.2.1:5060', "486 Busy Here"),
        ("DIALSTATUS=CHANUNAVAIL", "FreePBX: All circuits are busy now"),
        ("Everyone is busy/congested at this time (1:0/1/0)", "FreePBX: All circuits are busy now"),
        ("No response received from 'sip:192.0.2.1:5060' on registration attempt to 'sip:office@192.0.2.1'", "No resp"),
        ("No matching endpoint found", "No matching endpoint"),
        ("Endpoint teletrunk is now Unreachable", "is now Unreachable"),
        ("USER_BUSY", "486 Busy Here"),
        ("INCOMPATIBLE_DESTINATION", "488"),
    ],
)
def test_what_pbxs_print_is_known(printed: str, words: str) -> None:
    status, out, errors = run(printed)
    assert (status, errors) == (0, "")
    assert words in out and "What to do:" in out


@pytest.mark.parametrize(
    ("printed", "code"),
    [
        ("403 Forbidden", 403),
        ("SIP/2.0 503 Service Unavailable", 503),
        ("Fatal response '403' received from 'sip:192.0.2.1' on registration attempt, stopping registration", 403),
        ('-- Got SIP response 404 "Not Found" back from 192.0.2.1', 404),
    ],
)
def test_a_code_with_the_standard_s_own_phrase_lists_its_rows(printed: str, code: int) -> None:
    assert find(printed) == [row for row in TABLE.values() if row.sip_status == code]


def test_the_rows_behind_a_saying_exist() -> None:
    assert {row for saying in SAYINGS for row in saying.rows} <= set(TABLE)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_a_cause_belongs_to_a_row_and_is_a_sentence(cause: Cause) -> None:
    assert cause.row in TABLE
    for text in (cause.essence, cause.remedy):
        assert text.endswith(".") and "\n" not in text


def test_what_follows_a_phrase_says_which_cause_it_was() -> None:
    said = run("488 No common codec: offered SRTP (RTP/SAVP); this trunk has it off")[1]
    assert "--srtp optional" in said and "--codecs" not in said
    assert "--codecs" in run("488 No common codec: offered G729; this trunk has PCMA")[1]


def test_a_telegram_caller_is_told_nothing_of_what_others_have_to_mend() -> None:
    for row in TABLE.values():
        said = Refusal(row.id, "a DETAIL").for_caller()
        assert said.startswith(f"{row.sip_status} {row.phrase}\n") and "DETAIL" not in said
        assert "teletrunk" not in said and "TELETRUNK" not in said


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["explain", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_for_people_and_for_programs() -> None:
    row = TABLE["manager-unreachable"]
    status, out, errors = run("manager-unreachable")
    assert (status, errors) == (0, "")
    assert out.startswith("503 Manager unreachable  (manager-unreachable)\n")
    assert row.essence in out and row.remedy in out and "Retry after: 60 s" in out
    status, out, errors = run("404", "--json")
    assert (status, errors) == (0, "")
    assert [found["sip_status"] for found in json.loads(out)["refusals"]] == [404, 404, 404]
    assert len(json.loads(run("--json")[1])["refusals"]) == len(TABLE)
    assert all(row_id in run()[1] for row_id in TABLE)


def test_what_was_seen_is_explained_as_it_is_typed() -> None:
    assert run("403", "Forbidden") == run("403 Forbidden")
    assert run("488", "Not", "Acceptable", "Here")[0] == 0
    assert run("Q.850;cause=88")[1].startswith("488 No common codec"), "a header that we send"


@pytest.mark.parametrize("arguments", [["299"], ["nonsense"], ["404", "--call", "last"]])
def test_what_cannot_be_explained_is_one_line(arguments: list[str]) -> None:
    status, out, errors = run(*arguments)
    assert (status, out, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("teletrunk: ")
