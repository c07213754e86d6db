"""The agent images, for builds on them."""

from __future__ import annotations

from services.adapters.sandbox.tests.conftest import agent_images

__all__ = ["agent_images"]
