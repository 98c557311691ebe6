"""The edge: the Worker's public SIP port.

It answers REGISTER and OPTIONS, challenges, and refuses, all by itself. A call that is let in is relayed, as a
record-routing proxy does (RFC 3261 16), to the SIP host that carries it, and stays on its way until it ends.
Who may do what is not decided here but asked of `Gatekeeper`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog
from teletrunk.background import BackgroundTasks
from teletrunk.errors import Refusal
from teletrunk.metrics import DIALOGS, EDGE_ERRORS, REFUSALS, REGISTERS

from teletrunk_worker.edge import messages
from teletrunk_worker.edge.bans import Bans
from teletrunk_worker.edge.dialogs import Dialog, Dialogs
from teletrunk_worker.edge.digest import ALGORITHMS, Credentials, Freshness, Nonces, credentials_of, is_for
from teletrunk_worker.edge.flows import Flow, TcpListener, UdpEndpoint
from teletrunk_worker.edge.registrar import SHORTEST_S, BadContact, IntervalTooBrief, Registrar
from teletrunk_worker.edge.relay import Relay
from teletrunk_worker.edge.throttle import Throttle
from teletrunk_worker.edge.transactions import ServerTransaction, ServerTransactions
from teletrunk_worker.sip.message import Message, Request, Response, parse
from teletrunk_worker.sip.scanner import Malformed

log = structlog.get_logger()

_MOST_QUESTIONS = 400  # that are under way at the Manager: at 200 a second, two seconds' worth
_BUSY_S = 5
_MOST_DETAIL = 24  # of a refusal in the log, where the row says the rest
_PACE_S = 0.1  # a wrong login and a wrong password take equally long, whatever was looked up
# Rows that say: this login is not to be used from there.
_NOT_THEIRS = frozenset({"wrong-password", "ip-not-allowed", "session-access-revoked", "login-not-found"})
_FIRST_OF_S = 60.0  # of errors that strangers can cause, one in so long is told whole
Answer = TypeVar("Answer")


class _Resting(Refusal):
    """The login is being guessed at: nobody was asked, and the login counts no further guess. The address does."""


@dataclass(frozen=True)
class Invite:
    """What the gatekeeper learns of a call that wants in."""

    credentials: Credentials
    source_address: str
    called: str


@dataclass(frozen=True)
class Admission:
    """A call that was let in, and the host that waits for it."""

    call_id: str
    host_port: int


class Gatekeeper(Protocol):
    """Decides. `register` and `admit` may raise `Refusal`."""

    async def register(self, credentials: Credentials, source_address: str) -> tuple[str, str]:
        """The trunk's id and login."""
        ...

    async def admit(self, invite: Invite) -> Admission: ...

    def heard(self, call_id: str, leg: str) -> None:
        """The leg's peer has answered something, if only 100."""
        ...

    def refused(self, call_id: str, leg: str, status: int, phrase: str) -> None:
        """A leg's INVITE was refused on its way, which its host may not know of."""
        ...


class Edge:
    """Binds the ports and dispatches what comes in."""

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        address: str,
        port: int,
        public_address: str,
        digest_algorithms: tuple[str, ...] = ALGORITHMS,
        bans: Bans | None = None,
    ) -> None:
        self._gatekeeper = gatekeeper
        self._address = address
        self._port = port
        self._public_address = public_address
        self._nonces = Nonces(digest_algorithms)
        self._transactions = ServerTransactions()
        self._admissions: dict[str, tuple[Request, asyncio.Task[None]]] = {}
        self._tasks = BackgroundTasks()
        self._asking = 0
        self._told_at = -_FIRST_OF_S
        self._dialogs = Dialogs()
        self.registrar = Registrar()
        self.bans = bans or Bans()
        self.throttle = Throttle()
        self.on_ban: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Raises OSError when a port is taken."""
        self._tcp = await TcpListener.bind(self._address, self._port, self.receive, self._on_tcp_close)
        # Port 0 asks for any free one; UDP then takes the same number.
        self.port = self._tcp._server.sockets[0].getsockname()[1] if self._tcp._server else self._port
        self._udp = await UdpEndpoint.bind(self._address, self.port, self.receive)
        self._inside = await UdpEndpoint.bind("127.0.0.1", 0, self._receive_from_host)
        self._relay = Relay(
            self._dialogs, self.registrar, self._inside, (self._public_address, self.port), self.flow_of
        )

    def _on_tcp_close(self) -> None:
        self.registrar.changed()  # who was bound to it cannot be reached any more

    @property
    def public(self) -> tuple[str, int]:
        """Host and port that PBXs know this edge by."""
        return self._public_address, self.port

    @property
    def inside_port(self) -> int:
        """The loopback port that SIP hosts use as their outbound proxy."""
        return self._inside.port

    async def close(self) -> None:
        await self._tasks.settle(0)
        self._relay.close()
        self._udp.close()
        self._inside.close()
        await self._tcp.close()

    def flow_of(self, token: str) -> Flow | None:
        if token.startswith("t-"):
            return self._tcp.find(token)
        kind, host, port = token.split("-")
        return self._udp.flow((host.replace("_", ":"), int(port))) if kind == "u" else None

    # What comes from outside.

    def receive(self, data: bytes, flow: Flow) -> None:
        """One message from a peer. Never raises: whatever a stranger sends must not stop the port."""
        if not data.strip():
            return
        try:
            message = parse(data)
        except Malformed as error:
            log.debug("malformed message dropped", peer=flow.peer[0], why=str(error))
            return
        try:
            messages.check(message)
            if isinstance(message, Response):
                self._response(message)
            else:
                messages.note_source(message, *flow.peer)
                self._request(message, flow)
        except Malformed as error:
            self._unreadable(message, flow, error)
        except Exception as error:
            self._failed(error, message, flow)

    def _response(self, response: Response) -> None:
        dialog = self._relay.response_from_peer(response)
        if dialog is not None:
            self._gatekeeper.heard(dialog.call_id, dialog.leg)
        self._watch(dialog)

    def _unreadable(self, message: Message, flow: Flow, error: Malformed) -> None:
        log.debug("message cannot be read", peer=flow.peer[0], why=messages.shown(str(error)))
        if isinstance(message, Request) and (answer := messages.bad_request(message, error)) is not None:
            self._answer(message, flow, answer)

    def _failed(self, error: Exception, message: Message, flow: Flow) -> None:
        """Our own mistake: counted, told once a minute, and the peer is not left without an answer."""
        EDGE_ERRORS.inc()
        if time.monotonic() - self._told_at >= _FIRST_OF_S:
            self._told_at = time.monotonic()
            log.error("a SIP message met an error of ours", peer=flow.peer[0], exc_info=error)
        error.__traceback__ = None  # it holds the message
        if isinstance(message, Request) and message.method != "ACK":
            self._answer(message, flow, messages.respond(message, 500, "Server Internal Error"))

    def _answer(self, request: Request, flow: Flow, answer: Response) -> None:
        """Through the request's transaction, if it got as far as to have one."""
        try:
            transaction = self._transactions.find(request)
        except Malformed:
            transaction = None
        if transaction is not None:
            transaction.answer(answer)
        else:
            flow.send(bytes(answer))

    def _request(self, request: Request, flow: Flow) -> None:
        if request.method == "ACK":
            self._ack(request)
        elif request.method == "CANCEL":
            self._cancel(request, flow)
        elif transaction := self._transactions.find(request):
            transaction.repeat()
        elif (dialog := self._dialogs.find(request.call_id)) and dialog.has(request):
            self._in_dialog(request, flow, dialog)
        else:
            self._new(request, flow)

    def _in_dialog(self, request: Request, flow: Flow, dialog: Dialog) -> None:
        answer: Response | None
        if (answer := messages.not_understood(request)) is not None and request.method != "ACK":
            pass
        elif dialog.finished_at and request.method not in ("BYE", "ACK"):
            answer = messages.respond(request, 481, "Call/Transaction Does Not Exist")
        elif request.method in messages.IN_DIALOG:
            answer = self._relay.request_from_peer(request, flow, dialog)
        else:  # a REFER, for one, would make the host call whoever is named
            answer = messages.respond(request, 405, "Method Not Allowed", [("Allow", messages.ALLOW)])
        if answer is not None:
            self._transactions.create(request, flow).answer(answer)

    def _new(self, request: Request, flow: Flow) -> None:
        transaction = self._transactions.create(request, flow)
        if (answer := self._plain_answer(request, flow)) is not None:
            transaction.answer(answer, repeats=False)
            return
        credentials = self._challenge(request, flow, transaction)
        if credentials is None:
            return
        if not self._transactions.ask(request):
            busy = Refusal("manager-unreachable", "too many requests at once", _BUSY_S)
            transaction.answer(messages.refuse(request, busy), repeats=False)
            return
        if not is_for(credentials, request):  # a captured answer is worth nothing for another number
            transaction.answer(messages.respond(request, 400, "Bad Request: the digest's uri is not the Request-URI"))
            return
        if request.method == "REGISTER":
            self._spawn(self._register(request, flow, transaction, credentials), request, flow)
            return
        if (refusal := self._relay.objection(request, flow)) is not None:
            transaction.answer(refusal)
            return
        transaction.answer(messages.respond(request, 100, "Trying"))
        task = self._spawn(self._invite(request, flow, transaction, credentials), request, flow)
        self._admissions[request.call_id] = (request, task)
        task.add_done_callback(lambda _: self._admissions.pop(request.call_id, None))

    def _plain_answer(self, request: Request, flow: Flow) -> Response | None:
        """The answer to what needs nobody to be asked; None for a REGISTER or INVITE that may be let in."""
        if (refusal := messages.not_understood(request)) is not None:
            return refusal
        dialog = self._dialogs.find(request.call_id)
        if request.to.tag:
            return messages.respond(request, 481, "Call/Transaction Does Not Exist")
        if request.method == "OPTIONS":
            headers = [("Allow", messages.ALLOW), ("Accept", "application/sdp")]
            return messages.respond(request, 200, "OK", headers)
        if left := self.bans.seconds_left(flow.peer[0]):
            # Told, not dropped: a PBX behind the same address shows its administrator what is wrong.
            banned = Refusal("ip-not-allowed", f"banned for {left} s after too many failures", left)
            return messages.refuse(request, banned)
        if request.method not in ("REGISTER", "INVITE"):
            return messages.respond(request, 405, "Method Not Allowed", [("Allow", messages.ALLOW)])
        pending = request.call_id in self._admissions or (dialog is not None and not dialog.finished_at)
        if request.method == "INVITE" and pending:  # it came by two ways (RFC 3261 8.2.2.2)
            return messages.respond(request, 482, "Loop Detected")
        return None

    def _spawn(self, work: Coroutine[Any, Any, None], request: Request, flow: Flow) -> asyncio.Task[None]:
        """What goes on with a request while others come in. Whatever it raises, the request is answered."""

        async def answered() -> None:
            try:
                await work
            except Malformed as error:
                self._unreadable(request, flow, error)
            except Exception as error:
                self._failed(error, request, flow)

        task = self._tasks.run(answered())
        task.add_done_callback(lambda _: work.close())  # of a task that was cancelled before it began
        return task

    def _challenge(self, request: Request, flow: Flow, transaction: ServerTransaction) -> Credentials | None:
        """The request's fresh credentials; else it is challenged, and the client will come again with some."""
        credentials = credentials_of(request)
        freshness = Freshness.FOREIGN
        if credentials is not None:
            freshness = self._nonces.check(credentials, flow.peer[0])
            if freshness is Freshness.FRESH:
                return credentials
        challenges = self._nonces.challenges(flow.peer[0], request, stale=freshness is Freshness.STALE)
        refusal = Refusal("unauthorized")
        challenge = messages.respond(request, 401, refusal.phrase, [*challenges, *refusal.sip_headers()])
        transaction.answer(challenge, repeats=False)
        return None

    async def _register(
        self, request: Request, flow: Flow, transaction: ServerTransaction, credentials: Credentials
    ) -> None:
        began = time.monotonic()
        try:
            question = self._gatekeeper.register(credentials, flow.peer[0])
            trunk_id, login = await self._asked(question, credentials, flow)
            bindings = self.registrar.register(request, trunk_id, login, flow)
        except Refusal as refusal:
            REGISTERS.labels(refusal.row.id).inc()
            if refusal.row.id in _NOT_THEIRS and not isinstance(refusal, _Resting):
                self.registrar.drop(credentials.username, flow)
            login = messages.shown(credentials.username)
            log.info("registration refused", login=login, peer=flow.peer[0], row=refusal.row.id)
            await self._refuse(request, flow, transaction, refusal, credentials, began)
        except IntervalTooBrief:
            transaction.answer(messages.respond(request, 423, "Interval Too Brief", [("Min-Expires", str(SHORTEST_S))]))
        except BadContact as error:
            transaction.answer(messages.respond(request, 400, str(error)))
        else:
            REGISTERS.labels("ok").inc()
            self.bans.succeeded(flow.peer[0])
            self.throttle.succeeded(login, flow.peer[0])
            contacts = [("Contact", f"<{b.contact.uri.text}>;expires={b.seconds_left}") for b in bindings]
            transaction.answer(messages.respond(request, 200, "OK", contacts))

    async def _asked(self, question: Coroutine[Any, Any, Answer], credentials: Credentials, flow: Flow) -> Answer:
        """A flood is refused at once instead of keeping everybody waiting. Raises `Refusal`."""
        left = self.throttle.seconds_left(credentials.username, flow.peer[0])
        if left and not self.bans.is_trusted(flow.peer[0]):
            question.close()
            raise _Resting("ip-not-allowed", f"too many wrong passwords for this login, wait {left} s", left)
        if self._asking >= _MOST_QUESTIONS:
            question.close()
            raise Refusal("manager-unreachable", "too many requests at once", _BUSY_S)
        self._asking += 1
        try:
            return await question
        finally:
            self._asking -= 1

    async def _refuse(
        self,
        request: Request,
        flow: Flow,
        transaction: ServerTransaction,
        refusal: Refusal,
        credentials: Credentials,
        began: float,
    ) -> None:
        """Answers with the row, and counts it when it looks like guessing."""
        REFUSALS.labels(refusal.row.id).inc()
        headers = refusal.sip_headers()
        if refusal.row.id == "unauthorized":  # the trunk wants no MD5: the client is asked for the better digest
            headers = [*self._nonces.challenges(flow.peer[0], md5=False), *headers]
        try:
            if refusal.row.counts_to_ban:
                self._count(credentials.username if not isinstance(refusal, _Resting) else None, flow)
                await asyncio.sleep(began + _PACE_S - time.monotonic())
        finally:  # also when a CANCEL comes meanwhile
            transaction.answer(messages.respond(request, refusal.row.sip_status, refusal.phrase, headers))

    def _count(self, login: str | None, flow: Flow) -> None:
        """A guess from this address, at this login if anybody was asked about it."""
        if login is not None:
            self.throttle.failed(login)
        if self.bans.failed(flow.peer[0]):
            log.warning("address banned", peer=flow.peer[0], seconds=self.bans.seconds_left(flow.peer[0]))
            self.on_ban()

    async def _invite(
        self, request: Request, flow: Flow, transaction: ServerTransaction, credentials: Credentials
    ) -> None:
        called = request.uri.user.partition(";")[0]  # what follows are parameters of the number (RFC 3966 3)
        began = time.monotonic()
        try:
            if not called.isprintable():
                raise Refusal("user-not-found", "not a phone, @username or user id")
            invite = Invite(credentials, flow.peer[0], called)
            admission = await self._asked(self._gatekeeper.admit(invite), credentials, flow)
        except Refusal as refusal:
            shown = messages.shown(request.call_id)
            log.info("call refused", sip_call_id=shown, row=refusal.row.id, why=refusal.detail[:_MOST_DETAIL])
            await self._refuse(request, flow, transaction, refusal, credentials, began)
            return
        dialog = Dialog(admission.call_id, "a", admission.host_port, flow, request, from_host=False)
        self._dialogs.add(dialog)
        self._relay.invite_to_host(request, flow, dialog)

    def _ack(self, request: Request) -> None:
        """For a refusal of our own it ends the repeating; for a relayed answer it belongs to the host."""
        own = self._transactions.find(request, "INVITE")
        if own is not None and own.final:
            own.acknowledged()
        elif (dialog := self._dialogs.find(request.call_id)) and dialog.has(request):
            self._relay.request_from_peer(request, dialog.flow, dialog)

    def _cancel(self, request: Request, flow: Flow) -> None:
        """On the branch of its INVITE (RFC 3261 9.1): a Call-ID alone ends nothing."""
        invite, admission = self._admissions.get(request.call_id, (None, None))
        dialog = self._dialogs.find(request.call_id)
        if dialog is not None and not dialog.from_host and messages.is_cancel_of(request, dialog.invite):
            if (answer := self._relay.request_from_peer(request, flow, dialog)) is not None:
                flow.send(bytes(answer))
        elif admission is not None and invite is not None and messages.is_cancel_of(request, invite):
            flow.send(bytes(messages.respond(request, 200, "OK")))
            # At once, and not by the task: one that has not begun yet is cancelled without a word.
            self._transactions.answer(invite, messages.respond(invite, 487, "Request Terminated"))
            admission.cancel()
        else:
            flow.send(bytes(messages.respond(request, 481, "Call/Transaction Does Not Exist")))

    # What comes from our own hosts.

    def _receive_from_host(self, data: bytes, flow: Flow) -> None:
        try:
            message = parse(data)
            if isinstance(message, Response):
                self._watch(self._relay.response_from_host(message))
                self._transactions.note(message)
            else:
                refusal = self._relay.request_from_host(message, flow)
                if refusal is not None:
                    flow.send(bytes(refusal))
        except Malformed as error:  # of what a peer has written, or Telegram's names
            log.warning("a SIP host says what cannot be read", why=messages.shown(str(error)))
        except Exception:
            log.exception("a SIP host's message met an error of ours")

    def _watch(self, dialog: Dialog | None) -> None:
        """An INVITE that was refused on its way: the call must know, whatever its host says."""
        if dialog is not None and dialog.finished_at and dialog.last_status >= 300:
            self._gatekeeper.refused(dialog.call_id, dialog.leg, dialog.last_status, dialog.last_phrase)

    def offered_telephone_event(self, call_id: str, leg: str) -> bool:
        """Whether the peer's SDP names RFC 4733's digits."""
        dialog = self._dialogs.of_leg(call_id, leg)
        said = (dialog.established if dialog.from_host else dialog.invite) if dialog is not None else None
        return said is not None and b"telephone-event" in said.body

    def speak_for_dead_host(self, call_id: str, leg: str, refusal: Refusal) -> None:
        """Ends a leg's dialog towards the peer when the host that carried it is gone, or does not end it."""
        dialog = self._dialogs.of_leg(call_id, leg)
        if dialog is not None and (answer := self._relay.end(dialog, refusal)) is not None:
            invite = dialog.invite  # its transaction may be forgotten: it has rung for long
            (self._transactions.find(invite) or self._transactions.create(invite, dialog.flow)).answer(answer)

    def leg_is_over(self, call_id: str, leg: str, *, elsewhere: bool = False) -> None:
        """The call has done with this leg: an INVITE of it that nobody has answered keeps no dialog."""
        if (dialog := self._dialogs.of_leg(call_id, leg)) is not None:
            dialog.elsewhere = elsewhere
            self._relay.release(dialog)

    def measure(self) -> None:
        """Sets the gauges."""
        DIALOGS.set(len(self._dialogs))


__all__ = ["Admission", "Edge", "Gatekeeper", "Invite"]
