"""Sign-in of programs without a browser: the endpoint that they begin at, and the grant. Source: RFC 8628."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse, JsonResponse

from services.api.oauth.requests import address_of, count_request, endpoint, form
from services.domain.errors import OAuthRefused
from services.domain.identity.devices import (
    DEVICE_LIFE,
    INTERVAL_S,
    all_tenants_redeem_device,
    ask_for_device,
)
from services.domain.oauth.resources import issuer
from services.kit.clock import now

DEVICE_PATH, ACTIVATE_PATH = "/oauth/device_authorization", "/activate"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CLI_CLIENT_ID = "slipway-cli"
"""The one client of this grant: the command `slipway`, which has no secret and proves nothing by its name."""
MAX_BEGUN = 120


@endpoint("POST")
def begin(request: HttpRequest) -> HttpResponse:
    """Give a program its codes. Source: RFC 8628, section 3.2. `client_name` is what it calls itself."""
    count_request("device", address_of(request), most=MAX_BEGUN)
    given = form(request)
    _require_client(given)
    codes = ask_for_device(
        given.get("client_name", "") or "slipway",
        given.get("scope", "").split(),
        address=address_of(request),
    )
    page = f"{issuer()}{ACTIVATE_PATH}"
    return JsonResponse(
        {
            "device_code": codes.device_code,
            "user_code": codes.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?code={codes.user_code}",
            "expires_in": int(DEVICE_LIFE.total_seconds()),
            "interval": INTERVAL_S,
        }
    )


def trade_device_code(given: Mapping[str, str]) -> HttpResponse:
    """Answer a program that asks whether it was let in. Raises: OAuthRefused. Source: RFC 8628, section 3.4."""
    _require_client(given)
    token, text = all_tenants_redeem_device(given.get("device_code", ""))
    return JsonResponse(
        {
            "access_token": text,
            "token_type": "Bearer",
            "expires_in": int((token.expires_at - now()).total_seconds()),
            "scope": " ".join(token.scopes),
            "token_id": str(token.id),
        }
    )


def _require_client(given: Mapping[str, str]) -> None:
    if given.get("client_id") != CLI_CLIENT_ID:
        raise OAuthRefused("invalid_client", "This client does not sign in by device.")
