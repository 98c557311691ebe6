"""What a PBX dials, through rules and templates, to whom it means."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from teletrunk.destinations import called_of, text_of
from teletrunk.identifiers import parse_called
from teletrunk.v1 import call_pb2
from teletrunk.v1.trunk_pb2 import TrunkOptions
from teletrunk_manager.domain import dial_rules, templates, trunk_options
from teletrunk_manager.domain.callers import caller_id, caller_name, listed, objection
from teletrunk_manager.domain.dialling import Reading, read

PAGE = Path(__file__).parents[3] / "docs" / "operations" / "numbers.md"
FRIEND = call_pb2.Peer(user_id=700, first_name="Zoë", last_name="Ω", username="friend", phone="4915112345678")


def called(dialled: str, *rules: str, caller_ids: tuple[str, ...] = ()) -> tuple[str, str]:
    destination = read(dialled, TrunkOptions(dial_rules=rules, caller_ids=caller_ids)).destination
    assert destination is not None
    meant = called_of(destination, "")
    assert meant is not None
    return meant.kind, meant.value


@pytest.mark.parametrize(
    ("dialled", "whom"),
    [
        ("@friend", ("username", "friend")),
        ("%40friend", ("username", "friend")),
        ("tg#friend", ("username", "friend")),
        ("tg%23friend", ("username", "friend")),
        ("friend", ("username", "friend")),
        ("+4915112345678", ("phone", "4915112345678")),
        ("+49 (151) 123-456.78", ("phone", "4915112345678")),
        ("4915112345678", ("number", "4915112345678")),
        ("0700", ("user_id", "700")),
        ("+15550100200;npdi;rn=+15550109999", ("phone", "15550100200")),
        ("+15550100200%3Bnpdi;rn=1", ("phone", "15550100200")),
        ("5550100200;phone-context=+1", ("phone", "15550100200")),
        ("555-010-0200;ext=7;Phone-Context=%2B1", ("phone", "15550100200")),
        ("0301234567;phone-context=+49", ("user_id", "301234567")),  # its rules make a phone of it
        ("911;phone-context=+1", ("user_id", "911")),
        ("863-1234;phone-context=+1-914-555", ("number", "8631234")),  # RFC 3966's own: they do not add up
        ("+15550100200;phone-context=+44", ("phone", "15550100200")),
        ("4915112345678;phone-context=pbx.example.com", ("number", "4915112345678")),
        ("friend;phone-context=+1", ("username", "friend")),
    ],
)
def test_every_form_that_a_pbx_dials_is_read(dialled: str, whom: tuple[str, str]) -> None:
    assert called(dialled) == whom


def test_rules_rewrite_in_their_order_and_skip_what_they_do_not_match() -> None:
    national = ("^00=+", r"^0(\d+)$=+49\1", r"^(\d{4})$=+4930\g".replace(r"\g", r"555\1"))
    assert called("004915112345678", *national) == ("phone", "4915112345678")
    assert called("015112345678", *national) == ("phone", "4915112345678")
    assert called("1234", *national) == ("phone", "49305551234")
    assert called("@friend", *national) == ("username", "friend")
    assert called("01144205550100", "^011=+") == ("phone", "44205550100")
    assert called("200", "^200$=@friend") == ("username", "friend")
    assert called("9200", "^9=", "^200$=friend") == ("username", "friend")


def refused(reading: Reading) -> tuple[str, str]:
    assert reading.destination is None
    return reading.row, reading.why


def test_a_bare_pattern_must_match() -> None:
    rules = TrunkOptions(dial_rules=["^00=+", r"^\+49"])
    assert read("004915112345678", rules).destination is not None
    reading = read("001555010020", rules)
    assert refused(reading) == ("number-not-allowed", "dial rule 2 does not match")
    assert [step.number for step in reading.steps] == ["001555010020", "+1555010020", ""]
    assert refused(read("friend", TrunkOptions(dial_rules=[".*="]))) == (
        "number-not-allowed",
        "dial rule 1 leaves nothing of it",
    )
    assert refused(read("?!", TrunkOptions()))[0] == "user-not-found"
    assert refused(read("", TrunkOptions()))[0] == "user-not-found"
    assert refused(read("%00friend", TrunkOptions(dial_rules=["^.*$=friend"])))[0] == "user-not-found", "as at a call"


def test_the_templates_of_callers_read_what_is_dialled() -> None:
    assert called("0700", caller_ids=("0{userid}",)) == ("user_id", "700")
    assert called("4915112345678", caller_ids=("{phone}", "{username}")) == ("phone", "4915112345678")
    assert called("7004915112", caller_ids=("{userid}",)) == ("user_id", "7004915112")
    assert called("7004915112", caller_ids=("{phone}", "{userid}")) == ("number", "7004915112")
    assert called("*friend*700", caller_ids=("*{username}*{userid}",)) == ("user_id", "700")
    assert called("tg_friend", caller_ids=("tg_{username}",)) == ("username", "friend")
    assert called("@friend", caller_ids=("0{userid}",)) == ("username", "friend"), "explicit forms stay"


USERS = st.builds(
    call_pb2.Peer,
    user_id=st.integers(1, 2**52),
    username=st.just("") | st.from_regex(r"[A-Za-z][A-Za-z0-9_]{3,31}", fullmatch=True),
    phone=st.just("") | st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True),
    first_name=st.text(max_size=20),
    last_name=st.text(max_size=20),
)
LITERALS = st.text("+#*@-_.019axid", max_size=4)
LINES = st.lists(
    st.tuples(st.permutations(templates.ID_TAGS), st.integers(1, 3), LITERALS, LITERALS, LITERALS, LITERALS).map(
        lambda drawn: "".join(f"{drawn[2 + place]}{{{drawn[0][place]}}}" for place in range(drawn[1])) + drawn[5]
    ),
    max_size=4,
)


def identities(peer: call_pb2.Peer) -> set[tuple[str, str]]:
    """All that the user is called by; digits without a mark are a doubt that the page speaks of."""
    digits = (peer.phone, str(peer.user_id))
    return {("phone", peer.phone), ("username", peer.username), ("user_id", digits[1])} | {
        ("number", d) for d in digits
    }


@given(USERS, LINES)
@example(call_pb2.Peer(user_id=12345), ["{username}", "id{userid}"])
@example(call_pb2.Peer(user_id=7, username="id12345"), ["{username}", "id{userid}"])
@example(call_pb2.Peer(user_id=1234567890), ["0{phone}"])
@example(call_pb2.Peer(user_id=1234567890), ["0{phone}", "00{phone}"])
@example(call_pb2.Peer(user_id=5, phone="15550100200"), ["00-{phone}"])
@example(call_pb2.Peer(user_id=123456), ["1-{userid}"])
@example(call_pb2.Peer(user_id=5123456, phone="15550100200"), ["{phone}{userid}"])
@example(call_pb2.Peer(user_id=123, username="bobb"), ["{username}1{userid}"])
@example(call_pb2.Peer(user_id=5550100200), ["{phone}", "1{userid}"])
def test_who_calls_back_what_it_saw_reaches_the_caller(peer: call_pb2.Peer, lines: list[str]) -> None:
    trunk_options.checked(TrunkOptions(caller_ids=lines))
    destination = read(caller_id(peer, lines), TrunkOptions(caller_ids=lines)).destination
    meant = None if destination is None else called_of(destination, "")
    assert meant is None or (meant.kind, meant.value) in identities(peer)


def test_nobody_looks_like_somebody_else_by_a_username() -> None:
    lines = ["{username}", "id{userid}"]
    assert caller_id(call_pb2.Peer(user_id=12345), lines) == "id12345"
    assert caller_id(call_pb2.Peer(user_id=7, username="id12345"), lines) == "id7"
    assert caller_id(call_pb2.Peer(user_id=7, username="id12345")) == "id12345", "where no caller ID begins so"
    assert called("id12345", caller_ids=tuple(lines)) == ("user_id", "12345")
    assert called("@id12345", caller_ids=tuple(lines)) == ("username", "id12345")


def test_separators_stay_where_caller_ids_have_them() -> None:
    assert called("00-15550100200", caller_ids=("00-{phone}",)) == ("phone", "15550100200")
    assert called("+49 (151) 123-456.78", caller_ids=("00-{phone}",)) == ("phone", "4915112345678")
    reading = read("+49-151", TrunkOptions(caller_ids=["tg-{userid}"]))
    assert reading.steps[1].number == "+49151", "these look like no phone"


@given(USERS)
def test_so_does_who_has_the_usual_templates(peer: call_pb2.Peer) -> None:
    kind, value = called(caller_id(peer))
    known = {"phone": peer.phone, "username": peer.username, "user_id": str(peer.user_id)}
    assert known[kind] == value


@given(USERS)
def test_a_caller_always_has_a_number_and_a_name(peer: call_pb2.Peer) -> None:
    options = trunk_options.checked(
        TrunkOptions(caller_ids=["*{phone}*"], caller_names=["{name_ascii} (+{phone})", "{name_ascii}"])
    )
    number = caller_id(peer, options.caller_ids)
    name = caller_name(peer, options.caller_names, number)
    assert number and name
    if templates.tags_of(peer)["name_ascii"]:
        assert name.isascii() and name.isprintable()


@pytest.mark.parametrize(
    ("first", "last", "ascii"),
    [
        ("Пётр", "Чайковский", "Petr Chaykovskiy"),
        ("Zoë", "🙂", "Zoe"),
        ("אבג", "", "'vg"),
        ("🙂", "", ""),
        ("", "", ""),
        ("“”", "\u3164", ""),
        ("a\r\nX: y", "\u202eb", "a X: y b"),
    ],
)
def test_names_become_ascii(first: str, last: str, ascii: str) -> None:
    assert templates.tags_of(call_pb2.Peer(first_name=first, last_name=last))["name_ascii"] == ascii


def test_the_first_template_whose_tags_are_known_wins() -> None:
    hidden = call_pb2.Peer(user_id=700, first_name="Zoë")
    ids, names = ("{phone}", "0{userid}"), ("+{phone} ({name_ascii})", "{name}")
    assert (caller_id(FRIEND, ids), caller_id(hidden, ids)) == ("4915112345678", "0700")
    assert caller_name(FRIEND, names) == "+4915112345678 (Zoe O)"
    assert caller_name(hidden, names) == "Zoë"
    for unseen in ("\u3164", "\u200b", '"', "\u202e"):
        assert caller_name(call_pb2.Peer(user_id=700, first_name=unseen)) == "0700", "there is nothing to see"
    assert caller_name(call_pb2.Peer(user_id=700, first_name='A\u202e"', last_name="\r\nB")) == "A B", (
        "as in the INVITE"
    )
    assert caller_id(hidden, ["{phone}"]) == "0700", "no template fits: as without any"
    private = ["+{phone}", "anonymous"]
    assert (caller_id(FRIEND, private), caller_id(hidden, private)) == ("+4915112345678", "anonymous@anonymous.invalid")
    assert templates.read_back(private, "anonymous") is None, "that is nobody's"
    assert templates.read_back(private, "anonymous@anonymous.invalid") is None


@given(
    st.lists(
        st.sampled_from(
            ["^00=+", "(.*)=\\1\\1", ".=", "^.+$", "(a*)*$=b", "[0-9]", "(x|xx)+y=z", "$=1", "=", "(.)(.)=\\2\\1"]
        ),
        max_size=dial_rules.MOST_RULES,
    ).map(lambda rules: [rule for rule in rules if rule != "="]),
    st.text(max_size=300) | st.text("0123456789+@a", max_size=300),
)
@example([], "1" * 60_000 + "x")
@example([], "+" + "1-" * 30_000 + "x")
@example(["(.*)=\\1\\1\\1\\1\\1\\1\\1\\1\\1"] * 50, "4915112345678")
@example(["^(((a+)+)+)+$"], "a" * 255 + "!")
def test_whatever_the_rules_and_the_number_it_ends_soon_and_small(rules: list[str], number: str) -> None:
    began = time.process_time()
    reading = read(number, TrunkOptions(dial_rules=rules))
    assert time.process_time() - began < 0.5
    assert all(len(step.number) <= dial_rules.LONGEST_NUMBER for step in reading.steps[1:])
    assert (reading.destination is None) == bool(reading.row)


@given(st.text(max_size=40) | st.text(r"()[]{}*+?\^$|=0123456789d@a`", max_size=40))
def test_any_text_is_a_rule_or_is_refused_with_a_reason(text: str) -> None:
    try:
        kept = trunk_options.checked(TrunkOptions(dial_rules=[text.replace("\ud800", "")]))
    except ValueError as refusal:
        assert str(refusal)
    else:
        read("+4915112345678", kept)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (TrunkOptions(dial_rules=["("]), r"the dial rule's pattern \( cannot be used: missing \)"),
        (TrunkOptions(dial_rules=["(?=a)b"]), "cannot be used"),
        (TrunkOptions(dial_rules=["=x"]), "has no pattern"),
        (TrunkOptions(dial_rules=[r"^0=\1"]), r"\\1 is no group of its pattern"),
        (TrunkOptions(dial_rules=["^0=\\"]), "is no group"),
        (TrunkOptions(dial_rules=["0\n1"]), "on one line"),
        (TrunkOptions(dial_rules=["0" * 201]), "too long"),
        (TrunkOptions(dial_rules=["(a{1000}){1000}"]), "cannot be used"),
        (TrunkOptions(dial_rules=[r"\pL{1000}"]), "cannot be used"),
        (TrunkOptions(dial_rules=["0=1"] * 51), "too many dial rules: use up to 50"),
        (TrunkOptions(caller_ids=["{fone}"]), r"unknown tag \{fone\}: there are \{phone\}"),
        (TrunkOptions(caller_ids=["{name}"]), "unknown tag"),
        (TrunkOptions(caller_ids=["100"]), "at least one tag"),
        (TrunkOptions(caller_ids=["{phone}{phone}"]), "each once"),
        (TrunkOptions(caller_ids=["{phone}>"]), "beside tags use letters"),
        (TrunkOptions(caller_names=["{name} }"]), "a brace that belongs to no tag"),
        (TrunkOptions(caller_names=["x" * 101]), "too long"),
        (TrunkOptions(allowed_callers=["no one"]), r"write \+PHONE, @USERNAME or a user id"),
        (TrunkOptions(blocked_callers=[str(n) for n in range(1, 502)]), "too many callers: use up to 500"),
        (TrunkOptions(number_on_pbx="a b"), "use up to 64 letters"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_do(options: TrunkOptions, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        trunk_options.checked(options)


def test_options_are_kept_in_one_form() -> None:
    given = TrunkOptions(dial_rules=["`^00=+`"], allowed_callers=["@Friend", "+49 151 1234", "700", "@friend"])
    kept = trunk_options.checked(given)
    assert list(kept.dial_rules) == ["^00=+"]
    assert list(kept.allowed_callers) == ["@friend", "+491511234", "700"]
    assert trunk_options.read_for_workers(trunk_options.written(kept)) == TrunkOptions(), "nothing of it is theirs"


@pytest.mark.parametrize("form", ["+4915112345678", "@FRIEND", "700"])
def test_a_caller_is_found_in_a_list_by_whatever_it_is_called(form: str) -> None:
    allowed, blocked = TrunkOptions(allowed_callers=[listed(form)]), TrunkOptions(blocked_callers=[listed(form)])
    stranger = call_pb2.Peer(user_id=701)
    assert not objection(FRIEND, allowed) and objection(stranger, allowed)
    assert objection(FRIEND, blocked) and not objection(stranger, blocked)
    assert objection(FRIEND, TrunkOptions(allowed_callers=allowed.allowed_callers, blocked_callers=["700"]))


def test_a_caller_with_several_usernames_is_found_by_each() -> None:
    """Which one is shown first is the caller's own choice."""
    caller = call_pb2.Peer(user_id=700, username="showy", more_usernames=["Friend"])
    assert objection(caller, TrunkOptions(blocked_callers=["@friend"]))
    assert not objection(caller, TrunkOptions(allowed_callers=["@friend"]))


def test_a_phone_without_its_plus_is_blocked_and_lets_nobody_in() -> None:
    assert objection(FRIEND, TrunkOptions(blocked_callers=[listed("4915112345678")]))
    assert objection(FRIEND, TrunkOptions(allowed_callers=[listed("4915112345678")])), "it is a user id there"
    assert not objection(call_pb2.Peer(user_id=701), TrunkOptions(blocked_callers=["700"])), "whose phone is hidden"


@given(st.sampled_from(["+{}", "{}", "@a{}bcd", "0{}"]), st.integers(1, 10**14))
def test_an_older_storage_reads_the_same(form: str, number: int) -> None:
    reading = read(form.format(number), TrunkOptions())
    if reading.destination is not None:
        assert parse_called(text_of(reading.destination)) == called_of(reading.destination, "")


EXAMPLES = re.findall(
    r"^\| ((?:`[^|]+`(?:, )?|`[^`]*`)+) \| `([^`]+)` \| (`[^`]+`|refused) \|$", PAGE.read_text(), re.M
)


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) == 10


@pytest.mark.parametrize(("rules", "dialled", "becomes"), EXAMPLES)
def test_the_pages_examples_are_true(rules: str, dialled: str, becomes: str) -> None:
    written = [rule.replace("\\|", "|") for rule in re.findall(r"`([^`]+)`", rules)]
    options = trunk_options.checked(TrunkOptions(dial_rules=written))
    destination = read(dialled, options).destination
    assert (f"`{destination.number}`" if destination is not None else "refused") == becomes
