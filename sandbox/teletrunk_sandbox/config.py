"""What a client asks about the data centre itself: https://core.telegram.org/api/config."""

from __future__ import annotations

import time

from pyrogram import raw

from teletrunk_sandbox import tl
from teletrunk_sandbox.dispatch import Request, method

DC_ID, OTHER_DC_ID = 2, 4
_CONFIG_SECONDS = 3600
_CONNECT_SECONDS = 30.0
_PACKET_SECONDS = 10.0


@method(raw.functions.help.GetConfig, public=True)
def get_config(request: Request, query: raw.functions.help.GetConfig) -> tl.Answer:
    """help.getConfig: this data centre, where the client has found it; it plays the other one, too."""
    now = int(time.time())
    address, port = request.dc.settings.public_address, request.connection.local[1]
    timeouts = request.dc.calls.timeouts
    return tl.make(
        raw.types.Config,
        date=now,
        expires=now + _CONFIG_SECONDS,
        test_mode=False,
        this_dc=DC_ID,
        dc_options=[
            raw.types.DcOption(id=dc_id, ip_address=address, port=port, ipv6=":" in address)
            for dc_id in (DC_ID, OTHER_DC_ID)
        ],
        dc_txt_domain_name="localhost",
        chat_size_max=200,
        megagroup_size_max=200_000,
        forwarded_count_max=100,
        edit_time_limit=172_800,
        revoke_time_limit=2_147_483_647,
        revoke_pm_time_limit=2_147_483_647,
        call_receive_timeout_ms=int(timeouts.receive * 1000),
        call_ring_timeout_ms=int(timeouts.ring * 1000),
        call_connect_timeout_ms=int(_CONNECT_SECONDS * 1000),
        call_packet_timeout_ms=int(_PACKET_SECONDS * 1000),
        me_url_prefix="https://t.me/",
        caption_length_max=1024,
        message_length_max=4096,
        webfile_dc_id=DC_ID,
    )


@method(raw.functions.help.GetAppConfig, public=True)
def get_app_config(request: Request, query: raw.functions.help.GetAppConfig) -> tl.Answer:
    """help.getAppConfig: nothing out of the ordinary."""
    return raw.types.help.AppConfig(hash=1, config=raw.types.JsonObject(value=[]))


@method(raw.functions.help.GetNearestDc, public=True)
def get_nearest_dc(request: Request, query: raw.functions.help.GetNearestDc) -> tl.Answer:
    """help.getNearestDc: this one."""
    return raw.types.NearestDc(country="", this_dc=DC_ID, nearest_dc=DC_ID)


@method(raw.functions.help.GetTermsOfServiceUpdate, public=True)
def get_terms_update(request: Request, query: raw.functions.help.GetTermsOfServiceUpdate) -> tl.Answer:
    """help.getTermsOfServiceUpdate: there is none."""
    return raw.types.help.TermsOfServiceUpdateEmpty(expires=int(time.time()) + _CONFIG_SECONDS)


@method(raw.functions.langpack.GetLangPack, public=True)
def get_lang_pack(request: Request, query: raw.functions.langpack.GetLangPack) -> tl.Answer:
    """langpack.getLangPack: an empty pack."""
    return raw.types.LangPackDifference(lang_code=query.lang_code, from_version=0, version=1, strings=[])


@method(raw.functions.account.UpdateStatus)
def update_status(request: Request, query: raw.functions.account.UpdateStatus) -> tl.Answer:
    """account.updateStatus: accepted; nobody is shown it."""
    return True
