"""What the endpoints for clients share: parameters, the client's credentials, answers, and who may ask how often."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote_plus

import redis
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.views.decorators.csrf import csrf_exempt

from services.api.http.bodies import read_raw
from services.domain.errors import BodyTooLarge, Limited, MalformedBody, OAuthRefused, RateLimited
from services.domain.oauth.clients import Credentials
from services.kit.environment import environment
from services.kit.redisbus import client as redis_client

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
_VISIBLE = re.compile(r"[\x20-\x7e]*")
WINDOW_S = 3_600

View = Callable[[HttpRequest], HttpResponse]


def endpoint(method: str) -> Callable[[View], View]:
    """Make a view an endpoint for clients: errors in OAuth's form, nothing kept by caches, allowed pages let in.

    No session counts here, so nothing can be forged across sites.
    """

    def decorate(view: View) -> View:
        @csrf_exempt
        @functools.wraps(view)
        def answer(request: HttpRequest) -> HttpResponse:
            response = _answer(view, request, method)
            response["Cache-Control"] = "no-store"
            _let_in(request, response, method)
            return response

        return answer

    return decorate


def _answer(view: View, request: HttpRequest, method: str) -> HttpResponse:
    if request.method == "OPTIONS":
        return HttpResponse(status=204)
    if request.method != method and not (method == "GET" and request.method == "HEAD"):
        return HttpResponse(status=405, headers={"Allow": method})
    try:
        return view(request)
    except OAuthRefused as error:
        return refused(error)
    except Limited as error:
        limited = failure("temporarily_unavailable", error.message, 429)
        limited["Retry-After"] = str(int(error.retry_after_s or 60))
        return limited
    except (BodyTooLarge, MalformedBody):
        return failure("invalid_request", "The request cannot be read.", 400)


def refused(error: OAuthRefused) -> HttpResponse:
    """Answer a refusal. Source: RFC 6749, section 5.2."""
    if error.error != "invalid_client":
        return failure(error.error, error.message, 400)
    response = failure(error.error, error.message, 401)
    response["WWW-Authenticate"] = 'Basic realm="slipway"'
    return response


def failure(word: str, message: str, status: int) -> HttpResponse:
    """Answer an error in OAuth's form."""
    return JsonResponse({"error": word, "error_description": message}, status=status)


def _let_in(request: HttpRequest, response: HttpResponse, method: str) -> None:
    """Let the pages of allowed origins read the answer. Source: the Fetch standard, section 3.2."""
    origin = request.headers.get("Origin", "")
    response["Vary"] = "Origin"
    if origin not in environment().browser_origins():
        return
    response["Access-Control-Allow-Origin"] = origin
    # The service's own default would keep the answer from the page all the same.
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    if request.method == "OPTIONS":
        response["Access-Control-Allow-Methods"] = method
        response["Access-Control-Allow-Headers"] = "Authorization, Content-Type, MCP-Protocol-Version"
        response["Access-Control-Max-Age"] = "600"


def parameters(given: QueryDict) -> dict[str, str]:
    """Return parameters, each of which must be there once and be text. Raises: OAuthRefused.

    Source: RFC 6749, section 3.1.
    """
    found = {}
    for name, values in given.lists():
        if len(values) != 1:
            word = "invalid_target" if name == "resource" else "invalid_request"
            raise OAuthRefused(word, "A parameter is there more than once.")
        if not _VISIBLE.fullmatch(values[0]):
            raise OAuthRefused("invalid_request", "A parameter holds what it cannot hold.")
        found[name] = values[0]
    return found


def form(request: HttpRequest) -> dict[str, str]:
    """Return the fields of a form. Raises: OAuthRefused, BodyTooLarge, MalformedBody."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise OAuthRefused("invalid_request", "The body is a form, application/x-www-form-urlencoded.")
    raw = read_raw(request, max_bytes=MAX_BODY_BYTES)
    try:
        return parameters(QueryDict(raw.decode("ascii"), encoding="utf-8"))
    except UnicodeError as error:
        raise OAuthRefused("invalid_request", "The body is not a form.") from error


def credentials(request: HttpRequest, given: Mapping[str, str]) -> Credentials:
    """Return what a request says about its client, in the header or in the form. Raises: OAuthRefused.

    Source: RFC 6749, section 2.3.1.
    """
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return Credentials(given.get("client_id", ""), given.get("client_secret"))
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeError) as error:
        raise OAuthRefused("invalid_client", "The client is not known, or not by this secret.") from error
    shown = Credentials(unquote_plus(name), unquote_plus(secret))
    is_other = given.get("client_id", shown.client_id) != shown.client_id
    if is_other or "client_secret" in given or "\x00" in shown.client_id:
        raise OAuthRefused("invalid_request", "The client is named in more than one way.")
    return shown


def count_request(what: str, who: str, *, most: int) -> None:
    """Count a request within the hour. With Redis away nothing is counted. Raises: RateLimited."""
    key = f"slipway:oauth:{what}:{hashlib.sha256(who.encode()).hexdigest()}"
    try:
        with redis_client().pipeline(transaction=True) as pipe:
            pipe.incr(key)
            pipe.expire(key, WINDOW_S, nx=True)
            pipe.ttl(key)
            count, _, ttl = pipe.execute()
    except redis.RedisError as error:
        log.warning("requests to the authorization server are not counted: %s", error)
        return
    if count > most:
        raise RateLimited("Too many requests. Try again later.", retry_after_s=max(int(ttl), 1))


def address_of(request: HttpRequest) -> str:
    """Return whom to count a request for."""
    return str(request.META.get("REMOTE_ADDR", ""))
