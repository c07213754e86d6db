"""How fast a link and a chat may be written to: buckets in Redis that all workers share.

Nobody sleeps for a slot. Who must wait is given a time of its own, which is kept for it, so that a hundred who wait
do not wake up together, and go out in the order in which they asked. Without Redis everything goes out at once, and
the platform's own answer slows it down.
"""

from __future__ import annotations

import functools
import logging
import math
import uuid
from dataclasses import dataclass

import redis
from redis.commands.core import Script

from services.domain.ports.chat import ChatKind, Manifest
from services.kit.redisbus import client

log = logging.getLogger(__name__)

# Each bucket is the time at which it is empty again ("generic cell rate algorithm"). KEYS: whose slot, the chat's
# bucket, the link's if it has one; ARGV: 1 to keep a slot when there is none now, then of each bucket the interval in
# ms and the burst. The link is asked only when the chat's time has come, so that a slow chat takes nothing from others.
# A slot is kept for a day after its time: a delivery that did not use it by then has expired.
_TAKE = """
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
local function start_of(i)
  local full_at = tonumber(redis.call('GET', KEYS[i]) or '0')
  return math.max(now, full_at - tonumber(ARGV[i * 2 - 2]) * (tonumber(ARGV[i * 2 - 1]) - 1))
end
local function take(i, start)
  local full_at = math.max(tonumber(redis.call('GET', KEYS[i]) or '0'), start) + tonumber(ARGV[i * 2 - 2])
  redis.call('SET', KEYS[i], tostring(full_at), 'PX', math.ceil(full_at - now) + 1000)
end
local function keep(start, of_link)
  redis.call('SET', KEYS[1], tostring(start) .. ':' .. of_link, 'PX', math.ceil(start - now) + 86400000)
  return math.ceil(start - now)
end
local keeps, kept = ARGV[1] == '1', redis.call('GET', KEYS[1])
if kept then
  local start, of_link = string.match(kept, '([^:]+):(%d)')
  if tonumber(start) > now then return math.ceil(tonumber(start) - now) end
  redis.call('DEL', KEYS[1])
  if of_link == '1' then return 0 end
else
  local start = start_of(2)
  if start > now then
    if not keeps then return math.ceil(start - now) end
    take(2, start)
    return keep(start, 0)
  end
end
local start = now
if KEYS[3] then start = start_of(3) end
if start > now and not keeps then return math.ceil(start - now) end
if not kept then take(2, now) end
if KEYS[3] then take(3, start) end
if start > now then return keep(start, 1) end
return 0
"""

# The chat's bucket is empty until the platform's time is over, and the first slot after it is for whoever was told.
_HOLD = """
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
local interval, burst, wait = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = now + wait + interval * burst
redis.call('SET', KEYS[2], tostring(full_at), 'PX', math.ceil(full_at - now) + 1000)
redis.call('SET', KEYS[1], tostring(now + wait) .. ':0', 'PX', wait + 86400000)
return 1
"""


@dataclass(frozen=True, slots=True)
class Channel:
    """Where something goes: the link and the chat, whose buckets are asked."""

    link_id: uuid.UUID
    chat_id: uuid.UUID
    chat_kind: ChatKind


def take_slot(manifest: Manifest, channel: Channel, holder: str) -> float:
    """Return 0 when `holder` may go now, else in how many seconds; that time is kept for it."""
    return _take(manifest, channel, holder, keeps=True)


def find_slot(manifest: Manifest, channel: Channel) -> bool:
    """Take a slot if there is one now; nothing is kept for later."""
    return _take(manifest, channel, f"none:{channel.chat_id}", keeps=False) == 0


def hold_chat(manifest: Manifest, channel: Channel, holder: str, seconds: float) -> None:
    """Let nobody write to a chat for as long as its platform has said; `holder`, who was told, comes first then."""
    interval_ms, burst = _chat_rate(manifest, channel)
    try:
        _script(_HOLD)(
            keys=[_slot_key(holder), _chat_key(channel)],
            args=[interval_ms, burst, math.ceil(seconds * 1000)],
            client=client(),
        )
    except redis.RedisError as error:
        log.warning("a chat is not held back: %s", error)


def _take(manifest: Manifest, channel: Channel, holder: str, *, keeps: bool) -> float:
    interval_ms, burst = _chat_rate(manifest, channel)
    keys, args = [_slot_key(holder), _chat_key(channel)], [int(keeps), interval_ms, burst]
    if manifest.per_link_per_s:
        keys.append(f"slipway:rate:link:{channel.link_id}")
        args += [1000 / manifest.per_link_per_s, max(1, math.ceil(manifest.per_link_per_s))]
    try:
        wait_ms = int(_script(_TAKE)(keys=keys, args=args, client=client()))
    except redis.RedisError as error:
        log.warning("buckets not asked: %s", error)
        return 0.0
    return wait_ms / 1000


def _chat_rate(manifest: Manifest, channel: Channel) -> tuple[float, int]:
    """Return the milliseconds between two messages, 0 where no limit is known, and the burst."""
    is_direct = channel.chat_kind == ChatKind.DIRECT
    per_s = manifest.per_chat_per_s if is_direct else manifest.per_group_per_s or manifest.per_chat_per_s
    return (1000 / per_s, manifest.chat_burst) if per_s else (0.0, 1)


def _chat_key(channel: Channel) -> str:
    return f"slipway:rate:chat:{channel.chat_id}"


def _slot_key(holder: str) -> str:
    return f"slipway:rate:slot:{holder}"


@functools.cache
def _script(source: str) -> Script:
    return client().register_script(source)
