"""QR codes as people get them: as text and as pictures."""

from __future__ import annotations

import io

from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import session_store_pb2 as store

_DOTS = 8  # a side of one module in the PNG


def qr_code(code: store.LoginCode) -> pb.QrCode:
    import segno  # seldom wanted

    drawn, png, svg = segno.make_qr(code.url), io.BytesIO(), io.BytesIO()
    drawn.save(png, kind="png", scale=_DOTS)
    drawn.save(svg, kind="svg", omitsize=True, xmldecl=False, nl=False)
    return pb.QrCode(url=code.url, expires_at=code.expires_at, png=png.getvalue(), svg=svg.getvalue().decode())
