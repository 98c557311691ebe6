"""The Manager: decides which account and which trunk carry a call, and keeps the records."""
