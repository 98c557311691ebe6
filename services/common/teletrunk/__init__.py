"""Teletrunk: a Telegram account as a SIP trunk. This package is what the three services share."""

__version__ = "0.1.0"
