"""The ports of a call in a Worker: made of its hosts, its edge and its links to the Storages."""

from __future__ import annotations

import contextlib

import structlog
from teletrunk.errors import Refusal
from teletrunk.telemetry import of_call
from teletrunk.v1 import call_pb2, manager_pb2
from teletrunk.v1 import session_store_pb2 as pb

from teletrunk_worker.call import events as on
from teletrunk_worker.call.inbox import Put
from teletrunk_worker.call.media import HostedMedia
from teletrunk_worker.call.ports import Media, Signalling, SipLeg
from teletrunk_worker.call.record import Recorder
from teletrunk_worker.call.signalling import StorageSignalling
from teletrunk_worker.call.sip_leg import HostedLeg
from teletrunk_worker.call.state import CALLER_LEG
from teletrunk_worker.call.surroundings import CallContext, Surroundings
from teletrunk_worker.legs.ring import RingPair

log = structlog.get_logger()


class WorkerPorts:
    """One call's: of `session`, to `destination`, or from the Telegram user `caller_id`.

    `called` is the same in words, all that there is when an older Manager has said no destination.
    """

    def __init__(
        self,
        around: Surroundings,
        recorder: Recorder,
        rings: RingPair,
        session: manager_pb2.SessionAssignment,
        *,
        called: str = "",
        offered: tuple[str, ...] | None = None,
        destination: call_pb2.Destination | None = None,
        caller_id: int = 0,
    ) -> None:
        self._around = around
        self._session = session
        self._called = called
        self._destination = destination
        self._caller_id = caller_id
        self._context = CallContext(recorder.record.call_id, recorder, rings, around.tasks, offered)

    def await_invite(self, put: Put) -> SipLeg:
        return HostedLeg(CALLER_LEG, self._context, self._around.sip_hosts, self._around.edge, put)

    def dial(self, target: on.Target, put: Put) -> SipLeg:
        return HostedLeg(target.leg, self._context, self._around.sip_hosts, self._around.edge, put, target)

    def start_call(self, put: Put) -> Signalling:
        start = pb.StartCall(
            session_id=self._session.session_id,
            call_id=self._context.call_id,
            called=self._called,
            destination=self._destination,
            account_id=self._session.account_id,
            trunk_id=self._context.recorder.record.trunk_id,
        )
        return StorageSignalling(self._context, self._around.storages, self._session, start, put)

    def take_call(self, phone_call_id: int, put: Put) -> Signalling:
        take = pb.TakeCall(
            session_id=self._session.session_id,
            call_id=self._context.call_id,
            phone_call_id=phone_call_id,
            account_id=self._session.account_id,
        )
        return StorageSignalling(self._context, self._around.storages, self._session, take, put)

    def open_media(self, terms: object, put: Put) -> Media:
        assert isinstance(terms, pb.CallReady)
        return HostedMedia(self._context, self._around.telegram_hosts, terms, put)

    def tell_caller(self, refusal: Refusal) -> None:
        self._around.tasks.run(self._tell_caller(refusal))

    async def _tell_caller(self, refusal: Refusal) -> None:
        try:
            await self._around.storages.send_message(self._session.session_id, self._caller_id, refusal.for_caller())
        except Refusal as failed:
            log.warning(
                "caller could not be told",
                **of_call(self._context.recorder.record),
                row=refusal.row.id,
                why=failed.row.id,
            )

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self._context.rings.close()
