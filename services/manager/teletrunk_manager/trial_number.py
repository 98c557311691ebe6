"""What a trunk makes of a number: shown to whoever writes its rules, by the code that a call goes through."""

from __future__ import annotations

import grpc
from teletrunk import rpc
from teletrunk.errors import Refusal
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2
from teletrunk.v1 import session_store_pb2 as store
from teletrunk.v1.trunk_pb2 import TrunkOptions

from teletrunk_manager.accounts import find_account
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account
from teletrunk_manager.domain import callers, dialling, trunk_options
from teletrunk_manager.live import Live
from teletrunk_manager.mistakes import NotNow
from teletrunk_manager.storages import Storages
from teletrunk_manager.telegram_pace import TelegramPace
from teletrunk_manager.trunks import find_trunk

_LOOK_UP_S = 10.0


class TrialNumber:
    def __init__(self, database: Database, live: Live, storages: Storages, pace: TelegramPace) -> None:
        self._pace = pace
        self._database = database
        self._live = live
        self._storages = storages

    async def test(self, request: pb.TestNumberRequest) -> pb.TestNumberResponse:
        """Raises `Unknown`, `TooOften`. Nobody is called."""
        async with self._database.transaction(reading=True) as session:
            trunk = await find_trunk(session, request.trunk)
            account = await find_account(session, trunk.account_id)
            options = trunk_options.read(trunk.options)
        reading = dialling.read(request.number, options)
        answer = pb.TestNumberResponse(
            steps=[pb.NumberStep(text=step.text, number=step.number) for step in reading.steps],
            destination=reading.destination,
        )
        if reading.destination is None:
            _refuse(answer, Refusal(reading.row, reading.why))
            return answer
        user = _told(reading.destination)
        if request.look_up:
            self._pace.require(account.account_id)
            user = await self._looked_up(account, reading.destination, answer) or user
        _show(answer, user, options)
        return answer

    async def _looked_up(
        self, account: Account, destination: call_pb2.Destination, answer: pb.TestNumberResponse
    ) -> call_pb2.Peer | None:
        """Whom Telegram finds. When it finds nobody, so would a call, and the answer says what the PBX would read."""
        question = store.ResolveRequest(
            session_id=account.session_id, called=destination.number, destination=destination
        )
        place = self._live.place(account.session_id, account.storage_id)
        try:
            async with self._storages.dial(place.service_id if place else account.storage_id) as storage:
                found: store.ResolveResponse = await storage.Resolve(question, timeout=_LOOK_UP_S)
        except NotNow as why:
            answer.not_looked_up = str(why)
        except grpc.aio.AioRpcError as error:
            if (refusal := rpc.refusal_of(error)) is not None:
                _refuse(answer, refusal)
            else:
                answer.not_looked_up = f"the Session Storage does not answer: {error.code().name}"
        else:
            return found.peer
        return None


def _refuse(answer: pb.TestNumberResponse, refusal: Refusal) -> None:
    answer.refusal, answer.error_id = f"{refusal.row.sip_status} {refusal.phrase}", refusal.row.id


def _told(destination: call_pb2.Destination) -> call_pb2.Peer:
    """What the number itself tells of a user. Digits that may be either are taken for a phone."""
    user = call_pb2.Peer()
    match destination.kind:
        case call_pb2.DESTINATION_KIND_USERNAME:
            user.username = destination.value
        case call_pb2.DESTINATION_KIND_USER_ID:
            user.user_id = int(destination.value)
        case _:
            user.phone = destination.value
    return user


def _show(answer: pb.TestNumberResponse, user: call_pb2.Peer, options: TrunkOptions) -> None:
    answer.user.CopyFrom(user)
    answer.caller_id = callers.caller_id(user, options.caller_ids)
    answer.caller_name = callers.caller_name(user, options.caller_names, answer.caller_id)
    answer.objection = callers.objection(user, options)
