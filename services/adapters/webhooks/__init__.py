"""Calling the webhooks of organisations."""
