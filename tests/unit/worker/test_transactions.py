"""RFC 3261 17's tables in simulated time: what is said again, how often, and until when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from teletrunk_worker.sip import uas
from teletrunk_worker.sip.message import Request, Response, parse
from teletrunk_worker.sip.transaction import server
from teletrunk_worker.sip.transaction.client import ClientTransactions
from teletrunk_worker.sip.transaction.server import ServerTransactions

from tests.simulated_time import simulated

SHORT, LONG = [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5], 40.0


@dataclass
class Line:
    """A flow that notes when something was sent."""

    transport: str = "UDP"
    closed: bool = False
    sent: list[tuple[float, bytes]] = field(default_factory=list)
    token: str = "u-192.0.2.1-5060"
    peer: tuple[str, int] = ("192.0.2.1", 5060)

    def send(self, data: bytes) -> bool:
        if not self.closed:
            self.sent.append((asyncio.get_running_loop().time(), data))
        return not self.closed

    def prove(self, login: str) -> None: ...

    def ping(self) -> bool:
        return not self.closed

    def close(self) -> None:
        self.closed = True

    def times(self, what: bytes) -> list[float]:
        began = self.sent[0][0]
        return [round(at - began, 3) for at, data in self.sent if data.startswith(what)]


def request(method: str, branch: str = "z9hG4bK1", to_tag: str = "") -> Request:
    text = (
        f"{method} sip:a@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch={branch}\r\nMax-Forwards: 70\r\n"
        f"From: <sip:b@c>;tag=1\r\nTo: <sip:a@b>{to_tag}\r\nCall-ID: x\r\nCSeq: 1 {method}\r\n\r\n"
    )
    parsed = parse(text.encode())
    assert isinstance(parsed, Request)
    return parsed


def answer(method: str, code: int, phrase: str = "ours") -> Response:
    return uas.respond(request(method), code, phrase)


# 17.2, server transactions.


@pytest.mark.parametrize(("transport", "times"), [("UDP", SHORT), ("TCP", [0.0])])
def test_a_refused_invite_is_refused_until_it_is_acknowledged_or_64_t1_are_over(
    transport: str, times: list[float]
) -> None:
    async def life() -> Line:
        line = Line(transport)
        transaction = ServerTransactions().create(request("INVITE"), line)
        assert transaction is not None
        transaction.answer(answer("INVITE", 486))
        await asyncio.sleep(LONG)
        return line

    assert simulated(life()).times(b"SIP/2.0 486") == times


def test_an_ack_ends_the_repeating() -> None:
    async def life() -> Line:
        line, transactions = Line(), ServerTransactions()
        transaction = transactions.create(request("INVITE"), line)
        assert transaction is not None
        transaction.answer(answer("INVITE", 486))
        await asyncio.sleep(1.0)
        found = transactions.find(request("ACK"), "INVITE")
        assert found is transaction and found.ended
        found.acknowledged()
        await asyncio.sleep(LONG)
        return line

    assert simulated(life()).times(b"SIP/2.0 486") == [0.0, 0.5]


@pytest.mark.parametrize("method", ["REGISTER", "OPTIONS", "BYE"])
def test_the_answer_to_another_request_is_said_once_to_each_that_comes(method: str) -> None:
    async def life() -> Line:
        line, transactions = Line(), ServerTransactions()
        transaction = transactions.create(request(method), line)
        assert transaction is not None
        transaction.repeat()  # nothing has been answered yet: nothing is said
        transaction.answer(answer(method, 200))
        await asyncio.sleep(5.0)
        again = transactions.find(request(method))
        assert again is transaction
        again.repeat()
        await asyncio.sleep(LONG)
        return line

    assert simulated(life()).times(b"SIP/2.0 200") == [0.0, 5.0]


def test_one_final_answer_a_transaction_whoever_gives_it() -> None:
    async def life() -> Line:
        line = Line()
        transaction = ServerTransactions().create(request("BYE"), line)
        assert transaction is not None
        transaction.otherwise(5.0, lambda: answer("BYE", 200))
        await asyncio.sleep(6.0)
        assert not transaction.note(answer("BYE", 481)), "the host is late"
        transaction.answer(answer("BYE", 500))
        return line

    assert [data[:11] for _, data in simulated(life()).sent] == [b"SIP/2.0 200"]


def test_a_transaction_is_forgotten_after_64_t1_and_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_TRANSACTIONS", 10)

    async def life() -> None:
        line, transactions = Line(), ServerTransactions()
        for number in range(12):
            created = transactions.create(request("BYE", f"z9hG4bK{number}"), line)
            assert (created is None) == (number >= 10)
        await asyncio.sleep(33.0)
        assert transactions.create(request("BYE", "z9hG4bKnew"), line) is not None and len(transactions) == 1

    simulated(life())


def test_an_address_and_a_dialog_have_shares_of_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_OF_ADDRESS", 5)
    monkeypatch.setattr(server, "MOST_OF_DIALOG", 2)

    async def life() -> None:
        transactions, one, two = ServerTransactions(), Line(), Line(peer=("192.0.2.2", 5060))
        outside = [transactions.create(request("REGISTER", f"z9hG4bK{n}"), one) for n in range(3)]
        within = [transactions.create(request("INFO", f"z9hG4bK{n}", to_tag=";tag=2"), one) for n in range(3)]
        assert all(outside) and [made is not None for made in within] == [True, True, False]
        assert transactions.create(request("REGISTER", "z9hG4bKlast"), one) is None
        assert transactions.create(request("REGISTER", "z9hG4bKlast"), two) is not None
        again = transactions.create(request("REGISTER", "z9hG4bKlast"), two)
        assert again is not None and len(transactions) == 6
        await asyncio.sleep(33.0)
        assert all(transactions.create(request("REGISTER", f"z9hG4bKnew{n}"), one) for n in range(5))
        assert len(transactions) == 5

    simulated(life())


# 17.1.2, client transactions that are no INVITE.


@pytest.mark.parametrize(("transport", "times"), [("UDP", SHORT), ("TCP", [0.0])])
def test_a_request_of_ours_is_repeated_until_64_t1_are_over(transport: str, times: list[float]) -> None:
    async def life() -> Line:
        line, transactions = Line(transport), ClientTransactions()
        transactions.send(request("BYE"), line)
        await asyncio.sleep(LONG)
        assert len(transactions) == 0
        return line

    assert simulated(life()).times(b"BYE") == times


def test_a_provisional_answer_slows_it_and_a_final_one_ends_it() -> None:
    async def life() -> Line:
        line, transactions = Line(), ClientTransactions()
        transactions.send(request("BYE"), line)
        await asyncio.sleep(0.6)
        assert transactions.answered(answer("BYE", 100))
        await asyncio.sleep(6.0)
        assert transactions.answered(answer("BYE", 200)) and len(transactions) == 0
        assert not transactions.answered(answer("BYE", 200)), "that was an answer to nothing"
        await asyncio.sleep(LONG)
        return line

    assert simulated(life()).times(b"BYE") == [0.0, 0.5, 1.5, 5.5]


def test_a_flow_that_is_gone_ends_it() -> None:
    async def life() -> Line:
        line, transactions = Line(), ClientTransactions()
        transactions.send(request("BYE"), line)
        await asyncio.sleep(0.7)
        line.closed = True
        await asyncio.sleep(LONG)
        assert len(transactions) == 0
        return line

    assert simulated(life()).times(b"BYE") == [0.0, 0.5]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["answer 100", "answer 486", "note 180", "note 486", "repeat", "acknowledged"]),
            st.floats(0, 3),
        ),
        max_size=30,
    )
)
@settings(max_examples=100, deadline=None)
def test_whatever_happens_no_answer_follows_a_final_one_of_ours(events: list[tuple[str, float]]) -> None:
    async def life() -> Line:
        line = Line()
        transaction = ServerTransactions().create(request("INVITE"), line)
        assert transaction is not None
        for what, pause in events:
            verb, _, code = what.partition(" ")
            if verb == "answer":
                transaction.answer(answer("INVITE", int(code)))
            elif verb == "note":
                transaction.note(answer("INVITE", int(code), "the host's"))
            else:
                getattr(transaction, verb)()
            await asyncio.sleep(pause)
        await asyncio.sleep(LONG)
        return line

    line = simulated(life())
    finals = [place for place, (_, data) in enumerate(line.sent) if data.startswith(b"SIP/2.0 486 ours")]
    assert not finals or all(data == line.sent[finals[0]][1] for _, data in line.sent[finals[0] :])
