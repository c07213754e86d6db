"""What opens an account, as it is kept: see `domain/oauth_grants`."""

from __future__ import annotations

from services.domain.errors import AccountUnauthorised
from services.domain.integrations.models import Integration
from services.domain.integrations.telling import how_to_connect, tell_state
from services.domain.oauth_grants.keeping import GrantKeeper

ACCOUNT_GRANTS = GrantKeeper(
    Integration,
    nobody="The account",
    refusal=AccountUnauthorised,
    how_to_connect=how_to_connect,
    tell=tell_state,
)
