"""Messages between two users: https://core.telegram.org/api/entities. They do not outlive a restart."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyrogram import raw
from pyrogram.raw.core import TLObject

from teletrunk_sandbox import tl
from teletrunk_sandbox.dispatch import Request, method
from teletrunk_sandbox.errors import bad_request, forbidden
from teletrunk_sandbox.state import User

if TYPE_CHECKING:
    from teletrunk_sandbox.call import Call
    from teletrunk_sandbox.updates import Updates

_TEXT_LIMIT = 4096
_PAGE_LIMIT = 100


@dataclass(slots=True, eq=False)
class Letter:
    """A message as it lies in one user's box."""

    id: int
    peer_id: int
    out: bool
    text: str
    date: int
    pts: int
    edit_date: int | None = None
    edit_pts: int = 0
    reply_to: int | None = None
    twin: Letter | None = None
    action: raw.types.MessageActionPhoneCall | None = None

    def as_message(self) -> raw.types.Message | raw.types.MessageService:
        """The message object of the box's owner."""
        if self.action:
            return tl.make(
                raw.types.MessageService,
                id=self.id,
                out=self.out,
                peer_id=raw.types.PeerUser(user_id=self.peer_id),
                date=self.date,
                action=self.action,
            )
        return tl.make(
            raw.types.Message,
            id=self.id,
            out=self.out,
            peer_id=raw.types.PeerUser(user_id=self.peer_id),
            date=self.date,
            message=self.text,
            edit_date=self.edit_date,
            reply_to=raw.types.MessageReplyHeader(reply_to_msg_id=self.reply_to) if self.reply_to else None,
        )


@dataclass(slots=True)
class Box:
    """One user's messages, numbered by the box's own count."""

    # pts must not fall back when the boxes are lost in a restart; the clock does not.
    pts: int = field(default_factory=lambda: int(time.time()))
    letters: dict[int, Letter] = field(default_factory=dict)
    random_ids: set[int] = field(default_factory=set)
    last_id: int = 0

    def put(self, peer_id: int, out: bool, text: str, original: Letter | None = None) -> Letter:
        """A new message, or one that replies to another of the box."""
        self.last_id += 1
        letter = Letter(self.last_id, peer_id, out, text, int(time.time()), self.advance())
        letter.reply_to = original.id if original else None
        self.letters[letter.id] = letter
        return letter

    def advance(self) -> int:
        """One event more."""
        self.pts += 1
        return self.pts


class Messages:
    """All boxes."""

    def __init__(self, updates: Updates) -> None:
        self._updates = updates
        self._boxes: dict[int, Box] = {}

    def box(self, user_id: int) -> Box:
        """A user's box."""
        return self._boxes.setdefault(user_id, Box())

    def note_call(self, call: Call) -> None:
        """A call has ended: both chats say so."""
        for owner in (call.admin, call.participant):
            box, other = self.box(owner.id), call.other(owner)
            letter = box.put(other.id, owner is call.admin, "")
            letter.action = raw.types.MessageActionPhoneCall(
                call_id=call.id, reason=call.as_discarded().reason, duration=call.duration, video=call.video
            )
            update = raw.types.UpdateNewMessage(message=letter.as_message(), pts=box.pts, pts_count=1)
            self._updates.push(owner, [update], {owner.id, other.id})


def _reachable(request: Request, user: User) -> User:
    if request.user.id in user.blocked:
        raise forbidden("USER_IS_BLOCKED")
    if user.deactivated:
        raise bad_request("INPUT_USER_DEACTIVATED")
    return user


def _tell(request: Request, owner: User, letter: Letter, edited: bool = False) -> raw.types.Updates:
    """Push a message to its owner's devices but the asking one; give what that one gets as its answer."""
    box = request.dc.messages.box(owner.id)
    kind = raw.types.UpdateEditMessage if edited else raw.types.UpdateNewMessage
    update = kind(message=letter.as_message(), pts=box.pts, pts_count=1)
    about = {owner.id, letter.peer_id}
    request.dc.updates.push(owner, [update], about, but=request.session)
    return request.dc.updates.compose(owner, [update], about)


@method(raw.functions.messages.SendMessage)
def send_message(request: Request, query: raw.functions.messages.SendMessage) -> tl.Answer:
    """messages.sendMessage: a text into both boxes."""
    peer = _reachable(request, request.dc.accounts.from_input(request.user, query.peer))
    box = request.dc.messages.box(request.user.id)
    if not query.message:
        raise bad_request("MESSAGE_EMPTY")
    if len(query.message) > _TEXT_LIMIT:
        raise bad_request("MESSAGE_TOO_LONG")
    if query.random_id in box.random_ids:
        raise bad_request("RANDOM_ID_DUPLICATE")
    box.random_ids.add(query.random_id)
    original = box.letters.get(getattr(query.reply_to, "reply_to_msg_id", 0))
    letter = box.put(peer.id, True, query.message, original)
    if peer is not request.user:
        theirs = original.twin if original else None
        twin = request.dc.messages.box(peer.id).put(request.user.id, False, query.message, theirs)
        letter.twin, twin.twin = twin, letter
        _tell(request, peer, twin)
    answer = _tell(request, request.user, letter)
    answer.updates.insert(0, raw.types.UpdateMessageID(id=letter.id, random_id=query.random_id))
    return answer


@method(raw.functions.messages.EditMessage)
def edit_message(request: Request, query: raw.functions.messages.EditMessage) -> tl.Answer:
    """messages.editMessage: the sender changes the text in both boxes."""
    peer = request.dc.accounts.from_input(request.user, query.peer)
    letter = request.dc.messages.box(request.user.id).letters.get(query.id)
    if letter is None or not letter.out or letter.peer_id != peer.id:
        raise bad_request("MESSAGE_ID_INVALID")
    if not query.message or query.message == letter.text:
        raise bad_request("MESSAGE_EMPTY" if not query.message else "MESSAGE_NOT_MODIFIED")
    if letter.twin:
        _edit(request, peer, letter.twin, query.message)
    return _edit(request, request.user, letter, query.message)


def _edit(request: Request, owner: User, letter: Letter, text: str) -> raw.types.Updates:
    letter.text, letter.edit_date = text, int(time.time())
    letter.edit_pts = request.dc.messages.box(owner.id).advance()
    return _tell(request, owner, letter, edited=True)


@method(raw.functions.messages.DeleteMessages)
def delete_messages(request: Request, query: raw.functions.messages.DeleteMessages) -> tl.Answer:
    """messages.deleteMessages: from the own box, and with `revoke` from the other one too."""
    own = request.dc.messages.box(request.user.id)
    gone = [own.letters[number] for number in query.id if number in own.letters]
    for letter in gone:
        if query.revoke and letter.twin:
            _delete(request, request.dc.accounts.by_id(letter.peer_id), letter.twin)
        _delete(request, request.user, letter)
    return raw.types.messages.AffectedMessages(pts=own.pts, pts_count=len(gone))


def _delete(request: Request, owner: User, letter: Letter) -> None:
    box = request.dc.messages.box(owner.id)
    if box.letters.pop(letter.id, None):
        update = raw.types.UpdateDeleteMessages(messages=[letter.id], pts=box.advance(), pts_count=1)
        request.dc.updates.push(owner, [update], (), but=request.session)


@method(raw.functions.messages.GetMessages)
def get_messages(request: Request, query: raw.functions.messages.GetMessages) -> tl.Answer:
    """messages.getMessages: single messages of the own box; a reply names the message whose original is meant."""
    letters = request.dc.messages.box(request.user.id).letters
    found = [_meant(letters, asked) for asked in tl.boxed(query.id)]
    return tl.make(
        raw.types.messages.Messages,
        messages=[letter.as_message() for letter in found if letter],
        users=request.dc.users_for(request.user, {request.user.id, *(letter.peer_id for letter in found if letter)}),
    )


def _meant(letters: dict[int, Letter], asked: TLObject[Any]) -> Letter | None:
    letter = letters.get(getattr(asked, "id", 0))
    if letter and isinstance(asked, raw.types.InputMessageReplyTo):
        return letters.get(letter.reply_to or 0)
    return letter


@method(raw.functions.messages.GetHistory)
def get_history(request: Request, query: raw.functions.messages.GetHistory) -> tl.Answer:
    """messages.getHistory: one chat's messages, the newest first."""
    peer = request.dc.accounts.from_input(request.user, query.peer)
    letters = [
        letter
        for letter in request.dc.messages.box(request.user.id).letters.values()
        if letter.peer_id == peer.id and (not query.offset_id or letter.id < query.offset_id)
    ]
    page = letters[::-1][: min(max(query.limit, 0), _PAGE_LIMIT)]
    return tl.make(
        raw.types.messages.Messages,
        messages=[letter.as_message() for letter in page],
        users=request.dc.users_for(request.user, {request.user.id, peer.id}),
    )


@method(raw.functions.messages.ReadHistory)
def read_history(request: Request, query: raw.functions.messages.ReadHistory) -> tl.Answer:
    """messages.readHistory: taken note of, nothing more."""
    request.dc.accounts.from_input(request.user, query.peer)
    return raw.types.messages.AffectedMessages(pts=request.dc.messages.box(request.user.id).pts, pts_count=0)


@method(raw.functions.messages.SetTyping)
def set_typing(request: Request, query: raw.functions.messages.SetTyping) -> tl.Answer:
    """messages.setTyping: accepted; nobody is shown it."""
    request.dc.accounts.from_input(request.user, query.peer)
    return True
