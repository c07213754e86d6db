"""Webhooks of organisations: what happens, told to addresses of their own."""
