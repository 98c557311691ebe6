"""What the data centre remembers over a restart: users and auth keys, in one SQLite file."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_FIRST_USER_ID = 7_000_000_001


@dataclass(slots=True)
class Password:
    """A 2FA password as the SRP server keeps it: salts and verifier, never the text."""

    salt1: str
    salt2: str
    verifier: str


@dataclass(slots=True)
class User:
    """An account."""

    id: int
    phone: str
    first_name: str
    last_name: str = ""
    username: str | None = None
    password: Password | None = None
    deactivated: bool = False
    one_call_only: bool = False
    home_dc: int = 2
    contacts: list[int] = field(default_factory=list)
    blocked: list[int] = field(default_factory=list)
    privacy: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    more_usernames: list[str] = field(default_factory=list)

    @property
    def usernames(self) -> list[str]:
        return [*filter(None, [self.username]), *self.more_usernames]


@dataclass(slots=True)
class Authorization:
    """An auth key and who is signed in with it.

    `refusal` is the 401 that its requests get since the authorization was ended from outside.
    """

    key_id: bytes
    auth_key: bytes
    hash: int
    created: int
    user_id: int | None = None
    refusal: str | None = None
    call_requests_disabled: bool = False
    device: dict[str, Any] = field(default_factory=dict)


class State:
    """Users by id and authorizations by auth key id; a change lasts once it is saved."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "dc.sqlite"
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # it holds auth keys
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "CREATE TABLE IF NOT EXISTS user (id INTEGER PRIMARY KEY, body TEXT NOT NULL);"
            "CREATE TABLE IF NOT EXISTS authorization (key_id BLOB PRIMARY KEY, auth_key BLOB NOT NULL,"
            " body TEXT NOT NULL);"
            "CREATE TABLE IF NOT EXISTS secret (value BLOB NOT NULL);"
        )
        self.secret = self._load_secret()
        self.users = self._load_users()
        self.authorizations = self._load_authorizations()

    def add_user(self, phone: str, first_name: str, last_name: str = "") -> User:
        """A new account with the next free id."""
        user = User(max(self.users, default=_FIRST_USER_ID - 1) + 1, phone, first_name, last_name)
        self.users[user.id] = user
        self.save_user(user)
        return user

    def save_user(self, user: User) -> None:
        """Write a user's present state."""
        self._database.execute("REPLACE INTO user VALUES (?, ?)", (user.id, json.dumps(asdict(user))))

    def add_authorization(self, key_id: bytes, auth_key: bytes) -> Authorization:
        """A new auth key that nobody is signed in with."""
        authorization = Authorization(key_id, auth_key, secrets.randbits(62), int(time.time()))
        self.authorizations[key_id] = authorization
        self.save_authorization(authorization)
        return authorization

    def save_authorization(self, authorization: Authorization) -> None:
        """Write an authorization's present state."""
        body = asdict(authorization)
        key_id, auth_key = body.pop("key_id"), body.pop("auth_key")
        self._database.execute("REPLACE INTO authorization VALUES (?, ?, ?)", (key_id, auth_key, json.dumps(body)))

    def forget_authorization(self, authorization: Authorization) -> None:
        """Destroy an auth key."""
        self.authorizations.pop(authorization.key_id, None)
        self._database.execute("DELETE FROM authorization WHERE key_id = ?", (authorization.key_id,))

    def authorizations_of(self, user_id: int) -> list[Authorization]:
        """The devices that a user is signed in on."""
        return [found for found in self.authorizations.values() if found.user_id == user_id]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _load_secret(self) -> bytes:
        row = self._database.execute("SELECT value FROM secret").fetchone()
        if row is None:
            row = (secrets.token_bytes(32),)
            self._database.execute("INSERT INTO secret VALUES (?)", row)
        return bytes(row[0])

    def _load_users(self) -> dict[int, User]:
        users = {}
        for user_id, body in self._database.execute("SELECT id, body FROM user"):
            fields = json.loads(body)
            if fields["password"]:
                fields["password"] = Password(**fields["password"])
            users[user_id] = User(**fields)
        return users

    def _load_authorizations(self) -> dict[bytes, Authorization]:
        rows = self._database.execute("SELECT key_id, auth_key, body FROM authorization")
        return {key_id: Authorization(key_id, auth_key, **json.loads(body)) for key_id, auth_key, body in rows}
