"""AdminService: what the `teletrunk` command asks."""

from __future__ import annotations

from typing import Any

from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import admin_pb2_grpc

from teletrunk_manager import call_records
from teletrunk_manager.accounts import Accounts
from teletrunk_manager.administrators import Administrators
from teletrunk_manager.db.database import Database
from teletrunk_manager.mistakes import explaining
from teletrunk_manager.services import Services
from teletrunk_manager.tokens import Tokens
from teletrunk_manager.trial_number import TrialNumber
from teletrunk_manager.trunks import Trunks
from teletrunk_manager.webhooks import Webhooks


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    def __init__(
        self,
        database: Database,
        services: Services,
        accounts: Accounts,
        trunks: Trunks,
        administrators: Administrators,
        tokens: Tokens,
        webhooks: Webhooks,
        trial_number: TrialNumber,
    ) -> None:
        self._trial_number = trial_number
        self._administrators = administrators
        self._tokens = tokens
        self._webhooks = webhooks
        self._database = database
        self._services = services
        self._accounts = accounts
        self._trunks = trunks

    # Accounts.

    @explaining
    async def StartAddAccount(self, request: pb.StartAddAccountRequest, context: Any) -> pb.StartAddAccountResponse:
        return await self._accounts.start_sign_in(request)

    @explaining
    async def ResendAccountCode(
        self, request: pb.ResendAccountCodeRequest, context: Any
    ) -> pb.ResendAccountCodeResponse:
        return await self._accounts.resend_code(request)

    @explaining
    async def StartAddAccountByQr(
        self, request: pb.StartAddAccountByQrRequest, context: Any
    ) -> pb.StartAddAccountByQrResponse:
        return await self._accounts.start_by_qr(request)

    @explaining
    async def AwaitAccountQr(self, request: pb.AwaitAccountQrRequest, context: Any) -> pb.AwaitAccountQrResponse:
        return await self._accounts.await_qr(request)

    @explaining
    async def SubmitAccountCode(
        self, request: pb.SubmitAccountCodeRequest, context: Any
    ) -> pb.SubmitAccountCodeResponse:
        return await self._accounts.submit_code(request)

    @explaining
    async def SubmitAccountPassword(
        self, request: pb.SubmitAccountPasswordRequest, context: Any
    ) -> pb.SubmitAccountPasswordResponse:
        return await self._accounts.submit_password(request)

    @explaining
    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Any) -> pb.ListAccountsResponse:
        return await self._accounts.page(request)

    @explaining
    async def GetAccount(self, request: pb.GetAccountRequest, context: Any) -> pb.GetAccountResponse:
        return pb.GetAccountResponse(account=await self._accounts.one(request.account))

    @explaining
    async def CheckAccount(self, request: pb.CheckAccountRequest, context: Any) -> pb.CheckAccountResponse:
        return pb.CheckAccountResponse(call_audience=await self._accounts.call_audience(request.account))

    @explaining
    async def RetryAccount(self, request: pb.RetryAccountRequest, context: Any) -> pb.RetryAccountResponse:
        await self._accounts.retry(request.account)
        return pb.RetryAccountResponse()

    @explaining
    async def RemoveAccount(self, request: pb.RemoveAccountRequest, context: Any) -> pb.RemoveAccountResponse:
        await self._accounts.remove(request.account)
        return pb.RemoveAccountResponse()

    # Trunks.

    @explaining
    async def AddTrunk(self, request: pb.AddTrunkRequest, context: Any) -> pb.AddTrunkResponse:
        return await self._trunks.add(request)

    @explaining
    async def ListTrunks(self, request: pb.ListTrunksRequest, context: Any) -> pb.ListTrunksResponse:
        return await self._trunks.page(request)

    @explaining
    async def GetTrunk(self, request: pb.GetTrunkRequest, context: Any) -> pb.GetTrunkResponse:
        return pb.GetTrunkResponse(trunk=await self._trunks.one(request.trunk))

    @explaining
    async def ResetTrunkPassword(
        self, request: pb.ResetTrunkPasswordRequest, context: Any
    ) -> pb.ResetTrunkPasswordResponse:
        return pb.ResetTrunkPasswordResponse(password=await self._trunks.reset_password(request.trunk))

    @explaining
    async def ChangeTrunk(self, request: pb.ChangeTrunkRequest, context: Any) -> pb.ChangeTrunkResponse:
        return pb.ChangeTrunkResponse(trunk=await self._trunks.change(request))

    @explaining
    async def TestNumber(self, request: pb.TestNumberRequest, context: Any) -> pb.TestNumberResponse:
        return await self._trial_number.test(request)

    @explaining
    async def RemoveTrunk(self, request: pb.RemoveTrunkRequest, context: Any) -> pb.RemoveTrunkResponse:
        await self._trunks.remove(request.trunk)
        return pb.RemoveTrunkResponse()

    # Services and calls.

    @explaining
    async def ListServices(self, request: pb.ListServicesRequest, context: Any) -> pb.ListServicesResponse:
        return await self._services.page(request)

    @explaining
    async def GetService(self, request: pb.GetServiceRequest, context: Any) -> pb.GetServiceResponse:
        return pb.GetServiceResponse(service=await self._services.one(request.service_id))

    @explaining
    async def ListCalls(self, request: pb.ListCallsRequest, context: Any) -> pb.ListCallsResponse:
        async with self._database.transaction(reading=True) as session:
            return await call_records.page(session, request)

    @explaining
    async def GetCall(self, request: pb.GetCallRequest, context: Any) -> pb.GetCallResponse:
        async with self._database.transaction(reading=True) as session:
            return pb.GetCallResponse(record=await call_records.one(session, request.call_id))

    # Administrators, their tokens, and what they did.

    @explaining
    async def ShareAccount(self, request: pb.ShareAccountRequest, context: Any) -> pb.ShareAccountResponse:
        await self._administrators.share(request.account, request.administrator, on=True)
        return pb.ShareAccountResponse()

    @explaining
    async def UnshareAccount(self, request: pb.UnshareAccountRequest, context: Any) -> pb.UnshareAccountResponse:
        await self._administrators.share(request.account, request.administrator, on=False)
        return pb.UnshareAccountResponse()

    @explaining
    async def TransferAccount(self, request: pb.TransferAccountRequest, context: Any) -> pb.TransferAccountResponse:
        await self._administrators.transfer(request.account, request.administrator)
        return pb.TransferAccountResponse()

    @explaining
    async def ListChanges(self, request: pb.ListChangesRequest, context: Any) -> pb.ListChangesResponse:
        return await self._administrators.changes(request)

    @explaining
    async def AddToken(self, request: pb.AddTokenRequest, context: Any) -> pb.AddTokenResponse:
        return await self._tokens.add(request)

    @explaining
    async def GetToken(self, request: pb.GetTokenRequest, context: Any) -> pb.GetTokenResponse:
        return pb.GetTokenResponse(token=await self._tokens.one(request.name))

    @explaining
    async def ListTokens(self, request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        return await self._tokens.page(request)

    @explaining
    async def RemoveToken(self, request: pb.RemoveTokenRequest, context: Any) -> pb.RemoveTokenResponse:
        return await self._tokens.remove(request.name)

    @explaining
    async def AddWebhook(self, request: pb.AddWebhookRequest, context: Any) -> pb.AddWebhookResponse:
        return await self._webhooks.add(request.url)

    @explaining
    async def ListWebhooks(self, request: pb.ListWebhooksRequest, context: Any) -> pb.ListWebhooksResponse:
        return await self._webhooks.page(request)

    @explaining
    async def RemoveWebhook(self, request: pb.RemoveWebhookRequest, context: Any) -> pb.RemoveWebhookResponse:
        await self._webhooks.remove(request.webhook_id)
        return pb.RemoveWebhookResponse()

    @explaining
    async def TestWebhook(self, request: pb.TestWebhookRequest, context: Any) -> pb.TestWebhookResponse:
        return await self._webhooks.test(request.webhook_id)

    @explaining
    async def ListWebhookFailures(
        self, request: pb.ListWebhookFailuresRequest, context: Any
    ) -> pb.ListWebhookFailuresResponse:
        return await self._webhooks.failures(request)
