"""Telegram accounts: signing in at a Storage, listing, removing."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from typing import Any

import grpc
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from teletrunk.remedies import LIST_ACCOUNTS, Shows
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2, manager_pb2
from teletrunk.v1 import session_store_pb2 as store

from teletrunk_manager.audiences import Audiences
from teletrunk_manager.configurations import Configurations
from teletrunk_manager.db.audit import NOBODY, WHO, asker, delete_whole
from teletrunk_manager.db.database import Database
from teletrunk_manager.db.pages import paged
from teletrunk_manager.db.tables import Account, Assignment, Share, Subscription, Trunk
from teletrunk_manager.domain.phones import e164
from teletrunk_manager.live import Live
from teletrunk_manager.mistakes import Mistake, NotNow, NotYours, Unknown
from teletrunk_manager.qr_codes import qr_code
from teletrunk_manager.sign_ins import SignIn, SignIns
from teletrunk_manager.storages import DEADLINE_S, Storages
from teletrunk_manager.telegram_pace import A_LOOK, TelegramPace
from teletrunk_manager.vaults import have_one_vault

log = structlog.get_logger()

_LONGEST = 256  # of what a Storage says of a user
_ANOTHERS = "that Telegram account is another administrator's: ask its owner for a share of it"


class Accounts:
    def __init__(
        self,
        database: Database,
        live: Live,
        configurations: Configurations,
        storages: Storages,
        sign_ins: SignIns,
        pace: TelegramPace,
    ) -> None:
        self._database = database
        self._live = live
        self._configurations = configurations
        self._storages = storages
        self._audiences = Audiences(live, storages)
        self._sign_ins = sign_ins
        self._pace = pace

    # Signing in.

    async def start_sign_in(self, request: pb.StartAddAccountRequest) -> pb.StartAddAccountResponse:
        """Lets Telegram send a code. Raises `Mistake`, and what the Storage answers."""
        phone = e164(request.phone)
        if phone is None:
            raise Mistake(f'"{request.phone}" is not a phone number: write it with + and country code')
        storage_id, moves = self._chosen(request.storage_id), await self._own(phone)
        async with self._storages.dial(storage_id) as storage:
            answer = await storage.StartSignIn(store.StartSignInRequest(phone=phone), timeout=DEADLINE_S)
        sign_in_id = self._sign_ins.begun(storage_id, answer.sign_in_id, moves)
        return pb.StartAddAccountResponse(sign_in_id=sign_in_id, code_sent_by=answer.code_sent_by)

    async def start_by_qr(self, request: pb.StartAddAccountByQrRequest) -> pb.StartAddAccountByQrResponse:
        """Lets Telegram make a code to be scanned. Raises `Mistake`, and what the Storage answers."""
        storage_id = self._chosen(request.storage_id)
        async with self._storages.dial(storage_id) as storage:
            answer = await storage.StartQrSignIn(store.StartQrSignInRequest(), timeout=DEADLINE_S)
        sign_in_id = self._sign_ins.begun(storage_id, answer.sign_in_id)
        return pb.StartAddAccountByQrResponse(sign_in_id=sign_in_id, code=qr_code(answer.code))

    async def _own(self, phone: str) -> str:
        """The id of the asker's own account with this number, which who signs it in may mean to move; or empty."""
        own = (Account.owner == asker(),) if asker() else ()
        async with self._database.transaction(reading=True) as session:
            return await session.scalar(sa.select(Account.account_id).where(Account.phone == phone, *own)) or ""

    def _chosen(self, wanted: str) -> str:
        """The Storage for one more sign-in. Raises `TooOften`, and `NotNow`."""
        self._pace.require_sign_in()
        return self._storages.choose(wanted)

    def _next_step(self, sign_in_id: str, cost: float = 1.0) -> SignIn:
        """Of a sign-in of the asker's own. Raises `Unknown`, `TooOften`."""
        step = self._sign_ins.find(sign_in_id)
        self._pace.require(cost=cost)
        return step

    async def await_qr(self, request: pb.AwaitAccountQrRequest) -> pb.AwaitAccountQrResponse:
        """Signs in once the code has been scanned, unless Telegram wants the two-step password too."""
        step = self._next_step(request.sign_in_id, A_LOOK)
        question = store.AwaitQrSignInRequest(sign_in_id=step.sign_in_id, wait_s=request.wait_s)
        async with self._storages.dial(step.storage_id) as storage:
            answer = await storage.AwaitQrSignIn(question, timeout=DEADLINE_S)
        match answer.WhichOneof("kind"):
            case "code":
                return pb.AwaitAccountQrResponse(code=qr_code(answer.code))
            case "password_needed":
                return pb.AwaitAccountQrResponse(password_hint=answer.password_needed.hint)
        return pb.AwaitAccountQrResponse(account=await self._signed_in(step, answer.signed_in))

    async def resend_code(self, request: pb.ResendAccountCodeRequest) -> pb.ResendAccountCodeResponse:
        """Lets Telegram send another code, by another way."""
        step = self._next_step(request.sign_in_id)
        async with self._storages.dial(step.storage_id) as storage:
            answer = await storage.ResendCode(store.ResendCodeRequest(sign_in_id=step.sign_in_id), timeout=DEADLINE_S)
        return pb.ResendAccountCodeResponse(code_sent_by=answer.code_sent_by)

    async def submit_code(self, request: pb.SubmitAccountCodeRequest) -> pb.SubmitAccountCodeResponse:
        """Signs in, or says that Telegram wants the two-step password too."""
        step = self._next_step(request.sign_in_id)
        question = store.SubmitCodeRequest(sign_in_id=step.sign_in_id, code=request.code)
        async with self._storages.dial(step.storage_id) as storage:
            answer = await storage.SubmitCode(question, timeout=DEADLINE_S)
        if answer.WhichOneof("kind") == "password_needed":
            return pb.SubmitAccountCodeResponse(password_hint=answer.password_needed.hint)
        return pb.SubmitAccountCodeResponse(account=await self._signed_in(step, answer.signed_in))

    async def submit_password(self, request: pb.SubmitAccountPasswordRequest) -> pb.SubmitAccountPasswordResponse:
        step = self._next_step(request.sign_in_id)
        question = store.SubmitPasswordRequest(sign_in_id=step.sign_in_id, password=request.password)
        async with self._storages.dial(step.storage_id) as storage:
            answer = await storage.SubmitPassword(question, timeout=DEADLINE_S)
        return pb.SubmitAccountPasswordResponse(account=await self._signed_in(step, answer.signed_in))

    async def _signed_in(self, step: SignIn, signed_in: store.SignedIn) -> pb.Account:
        """Raises `NotYours`, `NotNow` for an account that is another's, or that is not known to have moved there."""
        try:
            account, before = await self._keep(step, signed_in)
        except (NotYours, NotNow):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._end_session(step.storage_id, signed_in.session_id)
            raise
        log.info("account signed in", account_id=account.account_id, storage_id=step.storage_id)
        if before is not None and before[0] != step.storage_id:
            # Within one Storage it has been replaced there; a session left in another would run on unseen.
            await self._end_session(*before)
        self._configurations.changed()
        async with self._database.transaction(reading=True) as session:
            seen = sa.select(Account.account_id).where(
                Account.account_id == account.account_id, visible(Account.account_id)
            )
            if await session.scalar(seen) is None:
                raise NotYours(_ANOTHERS)
            return (await self._messages(session, [account]))[0]

    async def _keep(self, step: SignIn, signed_in: store.SignedIn) -> tuple[Account, tuple[str, str] | None]:
        """The account as it is now, and the place of the session that it had before."""
        user, before = signed_in.user, None
        _require_sensible(signed_in)
        async with self._database.transaction() as session:
            taken = sa.select(Account.account_id).where(
                Account.session_id == signed_in.session_id, Account.user_id != user.user_id
            )
            if await session.scalar(taken) is not None:
                raise Mistake("the Session Storage names another account's session: nothing was changed")
            account = await session.scalar(sa.select(Account).where(Account.user_id == user.user_id))
            if account is None:
                account = Account(account_id=secrets.token_hex(6), user_id=user.user_id, owner=asker())
                session.add(account)
            else:
                await _require_may_move(session, account, step)
                before = (account.storage_id, account.session_id)
            account.phone = f"+{user.phone.lstrip('+')}" if user.phone else ""
            account.username = user.username
            account.name = f"{user.first_name} {user.last_name}".strip()
            account.session_id, account.storage_id = signed_in.session_id, step.storage_id
        return account, before

    # Those that there are.

    async def page(self, request: pb.ListAccountsRequest) -> pb.ListAccountsResponse:
        """Those that the asker may see, by id."""
        query = sa.select(Account).where(visible(Account.account_id))
        async with self._database.transaction(reading=True) as session:
            rows, following = await paged(session, query, Account.account_id, request, after=request.after)
            return pb.ListAccountsResponse(accounts=await self._messages(session, rows), next=following)

    async def one(self, name: str) -> pb.Account:
        """Raises `Unknown`."""
        async with self._database.transaction(reading=True) as session:
            return (await self._messages(session, [await find_account(session, name)]))[0]

    async def _messages(self, session: AsyncSession, found: Sequence[Account]) -> list[pb.Account]:
        ids = [account.account_id for account in found]
        counted = await session.execute(
            sa.select(Trunk.account_id, sa.func.count()).where(Trunk.account_id.in_(ids)).group_by(Trunk.account_id)
        )
        trunks: dict[str, int] = {row[0]: row[1] for row in counted}
        shares = await _by_account(session, Share.account_id, Share.administrator, ids)
        workers = await _by_account(session, Assignment.account_id, Assignment.worker_id, ids)
        plans = {account.subscription_id for account in found} - {None}
        named = sa.select(Subscription.subscription_id, Subscription.name).where(
            Subscription.subscription_id.in_(plans)
        )
        names: dict[str | None, str] = {row[0]: row[1] for row in await session.execute(named)}
        return [
            self._message(
                account,
                trunks=trunks.get(account.account_id, 0),
                shared_with=shares.get(account.account_id, []),
                worker_ids=workers.get(account.account_id, []),
                subscription=names.get(account.subscription_id, ""),
            )
            for account in found
        ]

    async def call_audience(self, name: str) -> call_pb2.CallAudience.ValueType:
        """Who may call the account, as Telegram says now to the command on this machine, and once a minute to others.

        Raises `Unknown`, and what the Storage answers.
        """
        async with self._database.transaction(reading=True) as session:
            account = await find_account(session, name)
        return await self._audiences.of(account, afresh=WHO.get() == NOBODY)

    async def retry(self, name: str) -> None:
        """Lets Telegram be asked although it did not want to be. Raises `Unknown`, and what the Storage answers."""
        async with self._database.transaction(reading=True) as session:
            account = await find_account(session, name)
            require_owner(account)
        self._pace.require(account.account_id)
        place = self._live.place(account.session_id, account.storage_id)
        question = store.ForgetFloodWaitsRequest(session_id=account.session_id)
        async with self._storages.dial(place.service_id if place else account.storage_id) as storage:
            await storage.ForgetFloodWaits(question, timeout=DEADLINE_S)

    async def remove(self, name: str) -> None:
        """Signs the account out at Telegram and forgets it with its trunks. Raises `Unknown`.

        With its Storage away it is forgotten here only; the log says which session is left.
        """
        async with self._database.transaction() as session:
            account = await find_account(session, name)
            require_owner(account)
        place = self._live.place(account.session_id, account.storage_id)
        await self._end_session(place.service_id if place else account.storage_id, account.session_id)
        async with self._database.transaction() as session:
            await delete_whole(session, await find_account(session, account.account_id))
        self._configurations.changed()

    async def _end_session(self, storage_id: str, session_id: str) -> None:
        if not self._storages.is_attached(storage_id):
            log.warning("not signed out at Telegram: its storage is away", storage_id=storage_id, session_id=session_id)
            return
        async with self._storages.dial(storage_id) as storage:
            await storage.RemoveSession(store.RemoveSessionRequest(session_id=session_id), timeout=DEADLINE_S)

    def _message(self, account: Account, **more: Any) -> pb.Account:
        session = account.session_id
        report = self._live.session(session, account.storage_id) or self._live.held_back(session)
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
            owner=account.owner,
            **more,
        )


async def _by_account(session: AsyncSession, account_id: Any, value: Any, ids: Sequence[str]) -> dict[str, list[str]]:
    """The values of those rows that belong to these accounts, in order."""
    found: dict[str, list[str]] = {}
    for owner, each in await session.execute(sa.select(account_id, value).where(account_id.in_(ids)).order_by(value)):
        found.setdefault(owner, []).append(each)
    return found


async def _require_may_move(session: AsyncSession, account: Account, step: SignIn) -> None:
    """A Storage may say that it has signed anybody in: an account leaves another one only for its owner, who has named
    its number, or within one vault. Raises `NotYours`, `NotNow`."""
    if account.storage_id == step.storage_id:
        return  # it has replaced the session already, and could have ended it anyway
    if asker() not in ("", account.owner):
        raise NotYours(_ANOTHERS)
    if account.account_id != step.moves and not await have_one_vault(session, account.storage_id, step.storage_id):
        raise NotNow(
            f"that account is signed in at {account.storage_id}, which has another vault: "
            "to move it, sign it in by its phone number"
        )


def _require_sensible(signed_in: store.SignedIn) -> None:
    """Raises `Mistake`."""
    user = signed_in.user
    texts = user.phone, user.username, user.first_name, user.last_name, signed_in.session_id
    known = user.user_id > 0 and signed_in.session_id.isprintable() and signed_in.session_id
    if not known or any(len(text) > _LONGEST or "\0" in text for text in texts):
        raise Mistake("the Session Storage names no user that there can be: nothing was changed")


async def find_account(session: AsyncSession, text: str) -> Account:
    """By id, phone or @username, of those that the asker may see. Raises `Unknown`."""
    name = text.strip().removeprefix("@").lower()
    conditions = [
        Account.account_id == text,
        Account.phone == (e164(text) or f"+{text.lstrip('+')}"),
        sa.and_(Account.username != "", sa.func.lower(Account.username) == name),
    ]
    for condition in conditions:
        query = sa.select(Account).where(condition, visible(Account.account_id))
        if (found := await session.scalar(query)) is not None:
            return found
    raise Unknown(f"there is no account {text}: ", Shows(LIST_ACCOUNTS))


def visible(account_id: Any) -> sa.ColumnElement[bool]:
    """The accounts that the asker may see: its own and those shared with it."""
    if not asker():
        return sa.true()
    own = sa.select(Account.account_id).where(Account.owner == asker())
    shared = sa.select(Share.account_id).where(Share.administrator == asker())
    return sa.or_(account_id.in_(own), account_id.in_(shared))


def require_owner(account: Account) -> None:
    """Raises `NotYours` when the administrator who asks only has a share of it."""
    if asker() not in ("", account.owner):
        raise NotYours("only its owner can do that")
