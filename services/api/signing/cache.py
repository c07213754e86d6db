"""The cache that attempts are counted in. With Redis away nothing is counted, and nobody is locked out."""

from __future__ import annotations

import logging
from typing import Any

import redis
from django.core.cache.backends.redis import RedisCache

log = logging.getLogger(__name__)


class ForgivingRedisCache(RedisCache):
    """Django's own cache over Redis, whose failures are misses."""

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        """Return what is kept, or the default."""
        try:
            return super().get(key, default, version)
        except redis.RedisError as error:
            return self._missed(error, default)

    def set(self, *args: Any, **kwargs: Any) -> None:
        """Keep a value, if that is possible."""
        try:
            super().set(*args, **kwargs)
        except redis.RedisError as error:
            self._missed(error, None)

    def add(self, *args: Any, **kwargs: Any) -> bool:
        """Keep a value where there is none; true as well when that is not possible."""
        try:
            return bool(super().add(*args, **kwargs))
        except redis.RedisError as error:
            return bool(self._missed(error, True))

    def delete(self, *args: Any, **kwargs: Any) -> bool:
        """Forget a value, if that is possible."""
        try:
            return bool(super().delete(*args, **kwargs))
        except redis.RedisError as error:
            return bool(self._missed(error, False))

    def _missed(self, error: redis.RedisError, answer: Any) -> Any:
        log.warning("the cache is not reached: %s", error)
        return answer
