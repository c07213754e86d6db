"""Accounts elsewhere that agents use through the gateway: who owns them, who may, and what opens them."""
