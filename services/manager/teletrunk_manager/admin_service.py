"""AdminService: what the `teletrunk` command asks."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import phonenumbers
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from teletrunk import rpc
from teletrunk.errors import Refusal
from teletrunk.v1 import admin_pb2 as pb, admin_pb2_grpc, call_pb2, manager_pb2, session_store_pb2, session_store_pb2_grpc
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.tables import Account, Call, Service, Trunk
from teletrunk_manager.domain import callers
from teletrunk_manager.live import Live
from teletrunk_manager.passwords import PasswordSeal, make_password

log = structlog.get_logger()

_SIGN_IN_DEADLINE_S = 45.0
_MOST_SIGN_INS = 100
_CODECS = ("PCMA", "PCMU", "G722")


class BadInput(Exception):
    """A person's mistake: one line that says what to do."""


def _explaining(method: Any) -> Any:
    """Mistakes, refusals and a Storage's own words reach the caller as one line."""

    async def serve(self: Any, request: Any, context: Any) -> Any:
        try:
            return await method(self, request, context)
        except BadInput as error:
            await rpc.abort_bad_input(context, str(error))
        except Refusal as refusal:
            await rpc.abort(context, refusal)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                await context.abort(error.code(), error.details() or "")
            await rpc.abort(context, Refusal("storage-unreachable"))

    return serve


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    def __init__(
        self, database: Database, live: Live, configurations: Configurations, seal: PasswordSeal, token: str
    ) -> None:
        self._database = database
        self._live = live
        self._configurations = configurations
        self._seal = seal
        self._token = token
        self._sign_ins: dict[str, str] = {}  # sign-in id to storage id

    # Accounts.

    @_explaining
    async def StartAddAccount(self, request: pb.StartAddAccountRequest, context: Any) -> pb.StartAddAccountResponse:
        phone = _phone(request.phone)
        storages = self._live.of_kind("storage")
        storage_id = request.storage_id or (storages[0].service_id if storages else "")
        if not storage_id:
            raise BadInput("no Session Storage is attached: start one first (teletrunk up)")
        async with self._storage(storage_id) as storage:
            answer = await storage.StartSignIn(
                session_store_pb2.StartSignInRequest(phone=phone), timeout=_SIGN_IN_DEADLINE_S
            )
        if len(self._sign_ins) >= _MOST_SIGN_INS:
            self._sign_ins.pop(next(iter(self._sign_ins)))
        self._sign_ins[answer.sign_in_id] = storage_id
        return pb.StartAddAccountResponse(sign_in_id=answer.sign_in_id, code_sent_by=answer.code_sent_by)

    @_explaining
    async def SubmitAccountCode(
        self, request: pb.SubmitAccountCodeRequest, context: Any
    ) -> pb.SubmitAccountCodeResponse:
        storage_id = self._sign_in(request.sign_in_id)
        async with self._storage(storage_id) as storage:
            answer = await storage.SubmitCode(
                session_store_pb2.SubmitCodeRequest(sign_in_id=request.sign_in_id, code=request.code),
                timeout=_SIGN_IN_DEADLINE_S,
            )
        if answer.WhichOneof("kind") == "password_needed":
            return pb.SubmitAccountCodeResponse(password_hint=answer.password_needed.hint)
        return pb.SubmitAccountCodeResponse(account=await self._keep_account(answer.signed_in, storage_id))

    @_explaining
    async def SubmitAccountPassword(
        self, request: pb.SubmitAccountPasswordRequest, context: Any
    ) -> pb.SubmitAccountPasswordResponse:
        storage_id = self._sign_in(request.sign_in_id)
        async with self._storage(storage_id) as storage:
            answer = await storage.SubmitPassword(
                session_store_pb2.SubmitPasswordRequest(sign_in_id=request.sign_in_id, password=request.password),
                timeout=_SIGN_IN_DEADLINE_S,
            )
        return pb.SubmitAccountPasswordResponse(account=await self._keep_account(answer.signed_in, storage_id))

    def _sign_in(self, sign_in_id: str) -> str:
        if sign_in_id not in self._sign_ins:
            raise BadInput("this sign-in is over: start again")
        return self._sign_ins[sign_in_id]

    async def _keep_account(self, signed_in: session_store_pb2.SignedIn, storage_id: str) -> pb.Account:
        user = signed_in.user
        async with self._database.transaction() as session:
            account = await session.scalar(sa.select(Account).where(Account.user_id == user.user_id))
            if account is None:
                account = Account(account_id=secrets.token_hex(6), user_id=user.user_id)
                session.add(account)
            account.phone, account.username = f"+{user.phone.lstrip('+')}", user.username
            account.name = f"{user.first_name} {user.last_name}".strip()
            account.session_id, account.storage_id = signed_in.session_id, storage_id
        await self._configurations.push()
        return self._account(account, 0)

    @_explaining
    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Any) -> pb.ListAccountsResponse:
        async with self._database.transaction() as session:
            accounts = (await session.scalars(sa.select(Account).order_by(Account.phone))).all()
            counted = await session.execute(sa.select(Trunk.account_id, sa.func.count()).group_by(Trunk.account_id))
            trunks: dict[str, int] = {row[0]: row[1] for row in counted}
        return pb.ListAccountsResponse(
            accounts=[self._account(account, trunks.get(account.account_id, 0)) for account in accounts]
        )

    @_explaining
    async def RemoveAccount(self, request: pb.RemoveAccountRequest, context: Any) -> pb.RemoveAccountResponse:
        async with self._database.transaction() as session:
            account = await _find_account(session, request.account)
        if self._live.find(account.storage_id) is None:
            raise BadInput("the Session Storage that holds this account is away: it could not be signed out")
        async with self._storage(account.storage_id) as storage:
            await storage.RemoveSession(
                session_store_pb2.RemoveSessionRequest(session_id=account.session_id), timeout=_SIGN_IN_DEADLINE_S
            )
        async with self._database.transaction() as session:
            await session.execute(sa.delete(Account).where(Account.account_id == account.account_id))
        await self._configurations.push()
        return pb.RemoveAccountResponse()

    def _account(self, account: Account, trunks: int) -> pb.Account:
        report = self._live.session(account.storage_id, account.session_id)
        return pb.Account(
            account_id=account.account_id,
            phone=account.phone,
            username=account.username,
            name=account.name,
            user_id=account.user_id,
            session_id=account.session_id,
            storage_id=account.storage_id,
            state=report.state if report else manager_pb2.SESSION_STATE_UNSPECIFIED,
            reason=report.reason if report else "",
            trunks=trunks,
        )

    @contextlib.asynccontextmanager
    async def _storage(self, storage_id: str) -> AsyncIterator[session_store_pb2_grpc.SessionStoreServiceAsyncStub]:
        attached = self._live.find(storage_id)
        if attached is None:
            raise BadInput(f"the Session Storage {storage_id} is not attached")
        async with rpc.dial(attached.address, self._token) as channel:
            yield session_store_pb2_grpc.SessionStoreServiceStub(channel)  # type: ignore[misc]

    # Trunks.

    @_explaining
    async def AddTrunk(self, request: pb.AddTrunkRequest, context: Any) -> pb.AddTrunkResponse:
        codecs = list(request.codecs) or list(_CODECS)
        if unknown := set(codecs) - set(_CODECS):
            raise BadInput(f"unknown codec {', '.join(sorted(unknown))}: there are {', '.join(_CODECS)}")
        password = make_password()
        async with self._database.transaction() as session:
            account = await _find_account(session, request.account)
            taken = set((await session.scalars(sa.select(Trunk.login))).all())
            if request.login in taken:
                raise BadInput(f"the login {request.login} is taken: choose another")
            trunk_id = secrets.token_hex(6)
            trunk = Trunk(
                trunk_id=trunk_id,
                login=request.login or callers.login_for(account.username, account.phone, taken),
                sealed_password=self._seal.close(password, trunk_id),
                account_id=account.account_id,
                priority=request.priority,
                comment=request.comment,
                codecs=",".join(codecs),
            )
            session.add(trunk)
        await self._configurations.push()
        return pb.AddTrunkResponse(trunk=self._trunk(trunk), password=password)

    @_explaining
    async def ListTrunks(self, request: pb.ListTrunksRequest, context: Any) -> pb.ListTrunksResponse:
        async with self._database.transaction() as session:
            trunks = (await session.scalars(sa.select(Trunk).order_by(Trunk.login))).all()
        return pb.ListTrunksResponse(trunks=[self._trunk(trunk) for trunk in trunks])

    @_explaining
    async def ResetTrunkPassword(
        self, request: pb.ResetTrunkPasswordRequest, context: Any
    ) -> pb.ResetTrunkPasswordResponse:
        password = make_password()
        async with self._database.transaction() as session:
            trunk = await _find_trunk(session, request.trunk)
            trunk.sealed_password = self._seal.close(password, trunk.trunk_id)
        return pb.ResetTrunkPasswordResponse(password=password)

    @_explaining
    async def RemoveTrunk(self, request: pb.RemoveTrunkRequest, context: Any) -> pb.RemoveTrunkResponse:
        async with self._database.transaction() as session:
            await session.delete(await _find_trunk(session, request.trunk))
        await self._configurations.push()
        return pb.RemoveTrunkResponse()

    def _trunk(self, trunk: Trunk) -> pb.Trunk:
        workers = self._live.of_kind("worker")
        return pb.Trunk(
            trunk_id=trunk.trunk_id,
            login=trunk.login,
            account_id=trunk.account_id,
            priority=trunk.priority,
            comment=trunk.comment,
            codecs=trunk.codecs.split(","),
            sip_address=workers[0].address if workers else "",
        )

    # Services and calls.

    @_explaining
    async def ListServices(self, request: pb.ListServicesRequest, context: Any) -> pb.ListServicesResponse:
        async with self._database.transaction() as session:
            rows = (await session.scalars(sa.select(Service).order_by(Service.kind, Service.name))).all()
        return pb.ListServicesResponse(services=[self._service(row) for row in rows])

    def _service(self, row: Service) -> pb.AttachedService:
        attached = self._live.find(row.service_id)
        beat = attached.heartbeat if attached else manager_pb2.Heartbeat()
        return pb.AttachedService(
            id=row.service_id,
            name=row.name,
            kind=row.kind,
            version=row.version,
            address=row.address,
            attached=attached is not None,
            last_seen=time.time() - (time.monotonic() - attached.seen) if attached else row.last_seen,
            active_calls=beat.active_calls,
            registrations=beat.registrations,
            sessions=len(beat.sessions),
        )

    @_explaining
    async def ListCalls(self, request: pb.ListCallsRequest, context: Any) -> pb.ListCallsResponse:
        async with self._database.transaction() as session:
            query = sa.select(Call.record).order_by(Call.invited_at.desc()).limit(min(request.limit or 20, 500))
            records = [call_pb2.CallRecord.FromString(blob) for blob in (await session.scalars(query)).all()]
        for record in records:
            del record.steps[:]
        return pb.ListCallsResponse(calls=records)

    @_explaining
    async def GetCall(self, request: pb.GetCallRequest, context: Any) -> pb.GetCallResponse:
        query = sa.select(Call.record).order_by(Call.invited_at.desc()).limit(2)
        if request.call_id != "last":
            query = query.where(Call.call_id.startswith(request.call_id, autoescape=True))
        async with self._database.transaction() as session:
            blobs = (await session.scalars(query)).all()
        if not blobs:
            raise BadInput(f"there is no call {request.call_id}: teletrunk call list shows them")
        if len(blobs) > 1 and request.call_id != "last":
            raise BadInput(f"several calls begin with {request.call_id}: give more of the id")
        return pb.GetCallResponse(record=call_pb2.CallRecord.FromString(blobs[0]))


def _phone(text: str) -> str:
    """The number in E.164; raises `BadInput`."""
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        raise BadInput(f"{text!r} is not a phone number: write it with + and the country code") from None
    if not phonenumbers.is_possible_number(number):
        raise BadInput(f"{text!r} is not a possible phone number: check its digits")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


async def _find_account(session: AsyncSession, text: str) -> Account:
    name = text.removeprefix("@")
    found = await session.scalar(
        sa.select(Account).where(
            sa.or_(
                Account.account_id == text,
                Account.phone == f"+{text.lstrip('+')}",
                sa.func.lower(Account.username) == name.lower(),
            )
        )
    )
    if found is None:
        raise BadInput(f"there is no account {text}: teletrunk account list shows them")
    return found


async def _find_trunk(session: AsyncSession, text: str) -> Trunk:
    found = await session.scalar(sa.select(Trunk).where(sa.or_(Trunk.trunk_id == text, Trunk.login == text)))
    if found is None:
        raise BadInput(f"there is no trunk {text}: teletrunk trunk list shows them")
    return found
