"""The Django settings of the api service: the shared ones, the web pages and the admin."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

from services.api.admin_desk.config import UNFOLD  # noqa: F401  # Django reads it from here
from services.api.signing.config import APPS as ALLAUTH_APPS
from services.api.signing.config import allauth_settings
from services.domain.django_base import *  # noqa: F403
from services.domain.django_base import ALLOWED_HOSTS as _NAMED_HOSTS
from services.domain.django_base import DOMAIN_APPS
from services.domain.django_base import LOGGING as _LOGGING
from services.kit.environment import environment

_env = environment()
_public = urlsplit(_env.public_url)
_realtime = urlsplit(_env.realtime_public_url)
_is_https = _public.scheme == "https"
_MEBIBYTE = 1024 * 1024

ALLOWED_HOSTS = sorted({*_NAMED_HOSTS, _public.hostname or "127.0.0.1"})

INSTALLED_APPS = [
    # unfold replaces templates of the admin, so it comes first.
    "unfold",
    "django.contrib.admin",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *DOMAIN_APPS,
    "rest_framework",
    "services.api",
    "services.api.v1",
    "services.api.dashboard",
    *ALLAUTH_APPS,
    # After those whose desks it takes away.
    "services.api.admin_desk",
]

MIDDLEWARE = [
    "services.api.middleware.RequestMarks",
    "services.api.middleware.Traced",
    "services.api.middleware.SecurityHeaders",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "services.api.signing.sessions.SeenSessions",
]

AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("email", "display_name")},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
CACHES = {
    "default": {
        "BACKEND": "services.api.signing.cache.ForgivingRedisCache",
        "LOCATION": _env.redis_url.get_secret_value(),
        "KEY_PREFIX": "slipway:cache",
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 1},
    }
}
globals().update(allauth_settings(_env, is_https=_is_https))

ROOT_URLCONF = "services.api.urls"
WSGI_APPLICATION = "services.api.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

STATIC_URL = "/static/"
# The files are served from where the apps keep them: nothing has to be collected before a start.
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 3_600 if _env.env == "production" else 0

LOGIN_URL = "/sign-in"
LOGIN_REDIRECT_URL = "/"
SESSION_COOKIE_NAME = "slipway_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = _is_https
SESSION_COOKIE_AGE = 14 * 24 * 3600
CSRF_COOKIE_NAME = "slipway_csrf"
# The dashboard puts the token into its pages, so that no script has to read the cookie.
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = _is_https
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 30 * 24 * 3600 if _is_https else 0
X_FRAME_OPTIONS = "DENY"
# Where a page's scripts may connect to besides the page's own origin: the realtime service, by WebSocket and SSE.
CSP_CONNECT = (
    f"{_realtime.scheme}://{_realtime.netloc}",
    f"{_realtime.scheme.replace('ws', 'http', 1)}://{_realtime.netloc}",
)

# Where a form's answer may lead to besides the page's own origin: the identity providers.
CSP_FORM_TARGETS = tuple(
    sorted({origin for provider in _env.oidc_providers for origin in provider.origins()})
)

LOGGING = {
    **_LOGGING,
    "loggers": {
        **cast("dict[str, Any]", _LOGGING["loggers"]),
        # A stranger chooses the Host header; what they send must not fill the log with tracebacks.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}

MAX_BODY_BYTES = 2 * _MEBIBYTE
MAX_HOOK_BODY_BYTES = _MEBIBYTE
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
FILE_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1_000

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "services.api.http.authentication.HandoverAuthentication",
        "services.api.http.authentication.SignatureAuthentication",
        "services.api.http.authentication.BearerAuthentication",
        "services.api.http.authentication.SessionAuthentication",
    ],
    # Permission is the actions' business: each asks for the scope and the role that it needs.
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "services.api.http.negotiation.AlwaysJson",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "services.api.http.failures.answer_failure",
    "UNAUTHENTICATED_USER": None,
}
