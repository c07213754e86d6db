"""The Django settings of this service: the shared ones, and nothing of the web pages."""

from services.domain.django_base import *  # noqa: F403
