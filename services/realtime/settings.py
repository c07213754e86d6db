"""The Django settings of this service: the shared ones, and nothing of the web pages."""

from services.domain.django_base import *  # noqa: F403

# The api service signs people in; this is the cookie that it sets.
SESSION_COOKIE_NAME = "slipway_session"
