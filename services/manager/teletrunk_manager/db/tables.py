"""What the Manager keeps. Times are Unix seconds."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    # Migrations can only change what has a name, and every database makes up its own.
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )


class Account(Base):
    __tablename__ = "accounts"

    account_id: Mapped[str] = mapped_column(String, primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    phone: Mapped[str] = mapped_column(String, default="")
    username: Mapped[str] = mapped_column(String, default="")
    name: Mapped[str] = mapped_column(String, default="")
    session_id: Mapped[str] = mapped_column(String, unique=True)
    storage_id: Mapped[str] = mapped_column(String)
    # None: no plan, no limits.
    subscription_id: Mapped[str | None] = mapped_column(
        ForeignKey("subscriptions.subscription_id", ondelete="SET NULL"), index=True
    )
    # The administrator whose session it is; empty: this installation's own.
    owner: Mapped[str] = mapped_column(String, default="")
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012  as SQLAlchemy wants it


class Trunk(Base):
    __tablename__ = "trunks"
    __table_args__ = (CheckConstraint("priority >= 0", name="priority"),)

    trunk_id: Mapped[str] = mapped_column(String, primary_key=True)
    login: Mapped[str] = mapped_column(String, unique=True)
    sealed_password: Mapped[bytes] = mapped_column(LargeBinary)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id", ondelete="CASCADE"), index=True)
    priority: Mapped[int] = mapped_column(Integer, default=0)
    comment: Mapped[str] = mapped_column(String, default="")
    codecs: Mapped[str] = mapped_column(String, default="PCMA,PCMU,G722")
    sha256_only: Mapped[bool] = mapped_column(Boolean, default=False)
    # A `TrunkOptions` (trunk.proto) as JSON.
    options: Mapped[str] = mapped_column(String, default="{}")
    # What an outbound trunk answers challenges with; empty when there is none.
    sealed_pbx_password: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    # Who uses the account with it; empty: this installation itself.
    administrator: Mapped[str] = mapped_column(String, default="")
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Service(Base):
    """A Worker or a Storage that has attached at least once."""

    __tablename__ = "services"
    __table_args__ = (CheckConstraint("kind IN ('worker', 'storage')", name="kind"),)

    service_id: Mapped[str] = mapped_column(String, primary_key=True)
    kind: Mapped[str] = mapped_column(String)
    name: Mapped[str] = mapped_column(String)
    version: Mapped[str] = mapped_column(String)
    address: Mapped[str] = mapped_column(String)
    last_seen: Mapped[float] = mapped_column(Float)


class Call(Base):
    __tablename__ = "calls"

    # Those with the id at their end serve the newest calls of one trunk, number or row.
    __table_args__ = (
        Index("ix_calls_account_id_invited_at", "account_id", "invited_at"),
        Index("ix_calls_trunk_id_call_id", "trunk_id", "call_id"),
        Index("ix_calls_caller_call_id", "caller", "call_id"),
        Index("ix_calls_called_call_id", "called", "call_id"),
        Index("ix_calls_error_id_call_id", "error_id", "call_id"),
    )

    call_id: Mapped[str] = mapped_column(String, primary_key=True)
    account_id: Mapped[str] = mapped_column(String, index=True)
    trunk_id: Mapped[str] = mapped_column(String, default="")
    worker_id: Mapped[str] = mapped_column(String, default="")
    to_telegram: Mapped[bool] = mapped_column(Boolean, default=True)
    caller: Mapped[str] = mapped_column(String, default="")
    called: Mapped[str] = mapped_column(String, default="")
    # 0 when it never came to that.
    invited_at: Mapped[float] = mapped_column(Float, index=True)
    ringing_at: Mapped[float] = mapped_column(Float, default=0.0)
    answered_at: Mapped[float] = mapped_column(Float, default=0.0)
    ended_at: Mapped[float] = mapped_column(Float, default=0.0)
    ended_by: Mapped[str] = mapped_column(String, default="")
    error_id: Mapped[str] = mapped_column(String, default="")
    sip_status: Mapped[int] = mapped_column(Integer, default=0)
    # False: refused before it was routed, as a Worker says that nobody checks.
    routed: Mapped[bool] = mapped_column(Boolean, server_default=true(), default=True)
    # The whole of it, ladder and figures included.
    record: Mapped[bytes] = mapped_column(LargeBinary)


class SipCallId(Base):
    """By what PBXs know a call: the Call-ID of each of its legs."""

    __tablename__ = "sip_call_ids"

    sip_call_id: Mapped[str] = mapped_column(String, primary_key=True)
    call_id: Mapped[str] = mapped_column(ForeignKey("calls.call_id", ondelete="CASCADE"), primary_key=True, index=True)


class Invitation(Base):
    __tablename__ = "invitations"
    __table_args__ = (CheckConstraint("kind IN ('worker', 'storage')", name="kind"),)

    secret_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    kind: Mapped[str] = mapped_column(String)
    comment: Mapped[str] = mapped_column(String, default="")
    expires_at: Mapped[float] = mapped_column(Float)


class JoinToken(Base):
    """A secret that services enrol with again and again, while fewer than `places` members live by it."""

    __tablename__ = "join_tokens"
    __table_args__ = (
        CheckConstraint("kind IN ('worker', 'storage')", name="kind"),
        CheckConstraint("places > 0", name="places"),
    )

    join_id: Mapped[str] = mapped_column(String, primary_key=True)
    kind: Mapped[str] = mapped_column(String)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    places: Mapped[int] = mapped_column(Integer)
    comment: Mapped[str] = mapped_column(String, default="")
    created_at: Mapped[float] = mapped_column(Float)
    # None: no end of its own.
    expires_at: Mapped[float | None] = mapped_column(Float)
    # By the Managers' join file, which alone changes it.
    declared: Mapped[bool] = mapped_column(Boolean, default=False)


class Member(Base):
    """A service that has enrolled. A revoked one stays, so that its id is never given again; a retired one stays
    until its last certificate has ended, so that nobody else takes its id meanwhile."""

    __tablename__ = "members"
    __table_args__ = (CheckConstraint("kind IN ('worker', 'storage')", name="kind"),)

    service_id: Mapped[str] = mapped_column(String, primary_key=True)
    kind: Mapped[str] = mapped_column(String)
    comment: Mapped[str] = mapped_column(String, default="")
    enrolled_at: Mapped[float] = mapped_column(Float)
    revoked: Mapped[bool] = mapped_column(Boolean, default=False)
    # The join token's id, or account/NAMESPACE/NAME; empty: by an invitation, for one machine that a person chose.
    came_by: Mapped[str] = mapped_column(String, default="", index=True)
    # Of the public key in its last certificate, and when that ends; empty and 0: of a time when nobody kept it.
    key_fingerprint: Mapped[str] = mapped_column(String, default="")
    certified_until: Mapped[float] = mapped_column(Float, default=0.0)
    retired_at: Mapped[float | None] = mapped_column(Float)
    # Of what a Storage shows of its vault; empty: nothing yet.
    vault_hash: Mapped[bytes] = mapped_column(LargeBinary, server_default="", default=b"")


class ManagerAddress(Base):
    """Where a Manager is reached. One that has not been seen for a while is gone."""

    __tablename__ = "managers"

    address: Mapped[str] = mapped_column(String, primary_key=True)
    seen_at: Mapped[float] = mapped_column(Float)


class Drain(Base):
    """A Worker that shall let nobody in any more."""

    __tablename__ = "drains"

    worker_id: Mapped[str] = mapped_column(String, primary_key=True)


class ServiceName(Base):
    """What people call a service whose machine is called something else."""

    __tablename__ = "service_names"

    service_id: Mapped[str] = mapped_column(String, primary_key=True)
    name: Mapped[str] = mapped_column(String)


class TrustedAddress(Base):
    """An address or subnet that a trunk may be used from. A trunk without any may be used from everywhere."""

    __tablename__ = "trusted_addresses"

    trunk_id: Mapped[str] = mapped_column(ForeignKey("trunks.trunk_id", ondelete="CASCADE"), primary_key=True)
    network: Mapped[str] = mapped_column(String, primary_key=True)


class RefusedRegistration(Base):
    """How often a trunk's registration was refused for one reason from one address."""

    __tablename__ = "refused_registrations"

    trunk_id: Mapped[str] = mapped_column(ForeignKey("trunks.trunk_id", ondelete="CASCADE"), primary_key=True)
    error_id: Mapped[str] = mapped_column(String, primary_key=True)
    source: Mapped[str] = mapped_column(String, primary_key=True)
    worker_id: Mapped[str]
    count: Mapped[int]
    first_at: Mapped[float]
    last_at: Mapped[float]
    # What followed the row's phrase the last time. An older Manager says nothing of it.
    detail: Mapped[str] = mapped_column(String, server_default="", default="")
    # A `RefusalCause`; 0: none, or not said.
    cause: Mapped[int] = mapped_column(Integer, server_default="0", default=0)


class UnknownLogin(Base):
    """A login that no trunk has, with which somebody wanted to register lately."""

    __tablename__ = "unknown_logins"

    login: Mapped[str] = mapped_column(String, primary_key=True)
    source: Mapped[str]
    count: Mapped[int]
    last_at: Mapped[float]


class Assignment(Base):
    """A Worker that may use an account. An account without any may be used by all."""

    __tablename__ = "assignments"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id", ondelete="CASCADE"), primary_key=True)
    worker_id: Mapped[str] = mapped_column(String, primary_key=True)


class Share(Base):
    """An administrator, other than its owner, who may use an account."""

    __tablename__ = "shares"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.account_id", ondelete="CASCADE"), primary_key=True)
    administrator: Mapped[str] = mapped_column(String, primary_key=True)


class Subscription(Base):
    """A plan. What is None is not limited."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        CheckConstraint("lines IS NULL OR lines >= 0", name="lines"),
        CheckConstraint(
            "(total_seconds IS NULL AND failed_calls IS NULL) OR window_seconds > 0",
            name="window",
        ),
    )

    subscription_id: Mapped[str] = mapped_column(String, primary_key=True)
    name: Mapped[str] = mapped_column(String, unique=True)
    lines: Mapped[int | None] = mapped_column(Integer)
    valid_until: Mapped[float | None] = mapped_column(Float)
    total_seconds: Mapped[int | None] = mapped_column(Integer)
    failed_calls: Mapped[int | None] = mapped_column(Integer)
    window_seconds: Mapped[int | None] = mapped_column(Integer)
    call_seconds: Mapped[int | None] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class BannedAddress(Base):
    """An address that guessed. It stays a week beyond its ban: the next one is longer."""

    __tablename__ = "bans"

    network: Mapped[str] = mapped_column(String, primary_key=True)
    until: Mapped[float] = mapped_column(Float, index=True)
    times: Mapped[int] = mapped_column(Integer)


class Change(Base):
    """One change that a person made: who, what, before and after, without secrets."""

    __tablename__ = "changes"

    number: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    at: Mapped[float] = mapped_column(Float, index=True)
    who: Mapped[str] = mapped_column(String)
    action: Mapped[str] = mapped_column(String)  # insert, update, delete
    kind: Mapped[str] = mapped_column(String)  # the table
    key: Mapped[str] = mapped_column(String)
    name: Mapped[str] = mapped_column(String, default="", server_default="")  # what people called it then
    before: Mapped[str] = mapped_column(String)  # JSON
    after: Mapped[str] = mapped_column(String)


class ApiToken(Base):
    """A key to the REST API. Its name is an administrator's."""

    __tablename__ = "api_tokens"
    __table_args__ = (CheckConstraint("role IN ('owner', 'administrator', 'viewer')", name="role"),)

    name: Mapped[str] = mapped_column(String, primary_key=True)
    role: Mapped[str] = mapped_column(String)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[float] = mapped_column(Float)
    sees_all: Mapped[bool] = mapped_column(Boolean, default=False)
    # Unix times; 0: never.
    expires_at: Mapped[float] = mapped_column(Float, default=0.0)
    last_used_at: Mapped[float] = mapped_column(Float, default=0.0)


class Repeatable(Base):
    """The answer to a request with an idempotency key; empty while it is being made."""

    __tablename__ = "repeatables"

    key: Mapped[str] = mapped_column(String, primary_key=True)
    digest: Mapped[str] = mapped_column(String)
    at: Mapped[float] = mapped_column(Float, index=True)
    status: Mapped[int] = mapped_column(Integer, default=0)
    sealed_body: Mapped[bytes] = mapped_column(LargeBinary, default=b"")


class Upgrade(Base):
    """When this installation has come to know what services of the version before do not; never for a new one."""

    __tablename__ = "upgrades"

    what: Mapped[str] = mapped_column(String, primary_key=True)
    at: Mapped[float] = mapped_column(Float)


class Webhook(Base):
    __tablename__ = "webhooks"

    webhook_id: Mapped[str] = mapped_column(String, primary_key=True)
    url: Mapped[str] = mapped_column(String)
    sealed_secret: Mapped[bytes] = mapped_column(LargeBinary)


class Delivery(Base):
    """An event that a webhook has not acknowledged yet, or that was given up."""

    __tablename__ = "deliveries"

    delivery_id: Mapped[str] = mapped_column(String, primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.webhook_id", ondelete="CASCADE"), index=True)
    body: Mapped[str] = mapped_column(String)
    due_at: Mapped[float] = mapped_column(Float, index=True)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    failure: Mapped[str] = mapped_column(String, default="")  # of the last attempt
    last_at: Mapped[float] = mapped_column(Float, default=0.0)
    given_up: Mapped[bool] = mapped_column(Boolean, default=False)
