"""Accounts elsewhere: a folder for each kind, found by the registry."""
