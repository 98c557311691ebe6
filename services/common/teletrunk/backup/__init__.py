"""Backup and restore: one sealed file with everything that an installation needs to come up again elsewhere."""
