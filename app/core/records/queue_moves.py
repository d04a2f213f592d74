"""Who may wait, whose turn it is, in which order all will be served: scripts on the keys of `app.core.records.moves`.

Owners take turns: a claim gets the first job of the owner whose turn it is, who then goes behind all others that wait.
Whoever begins to wait comes last in the round, so no job waits for more than one round per own job before it. A job
that is queued again keeps its `order`, and so its place.
"""

from __future__ import annotations

from typing import Final

from app.core.records.moves import PRELUDE

# ARGV: id, owner, doc, retention ms, lead ms, most queued jobs, most active jobs of an owner, idempotency key or '',
# fingerprint
CREATE: Final = (
    PRELUDE
    + """
local id, owner, retention, idem = ARGV[1], ARGV[2], tonumber(ARGV[4]), ARGV[8]
if redis.call('EXISTS', key(id)) == 1 then return {'created', id} end
if idem ~= '' then
  local bound = redis.call('HMGET', idem, 'id', 'fingerprint')
  if bound[1] and bound[2] == ARGV[9] then return {'replayed', bound[1]} end
  if bound[1] then return {'conflict', bound[1]} end
end
local refused = refusal(owner, ARGV[6], ARGV[7])
if refused then return {refused, ''} end
local time = time_us()
local last = redis.call('ZREVRANGE', 'lipsync:owner:' .. owner, 0, 0, 'WITHSCORES')
if last[2] then time = math.max(time, tonumber(last[2]) + 1) end
local ms = math.floor(time / 1000)
redis.call('HSET', key(id), 'doc', ARGV[3], 'owner', owner, 'status', 'queued', 'attempt', 0, 'losses', 0,
  'created_at', whole(ms), 'expires_at', whole(ms + retention), 'lead', ARGV[5],
  'order', whole(time - tonumber(ARGV[5]) * 1000))
redis.call('ZADD', 'lipsync:owner:' .. owner, whole(time), id)
redis.call('SADD', 'lipsync:active:' .. owner, id)
enter_queue(id, whole(ms))
redis.call('HINCRBY', 'lipsync:totals', 'created', 1)
if idem ~= '' then
  redis.call('HSET', idem, 'id', id, 'fingerprint', ARGV[9])
  redis.call('PEXPIRE', idem, whole(retention))
  redis.call('HSET', key(id), 'idem', idem)
end
return {'created', id}
"""
)

# ARGV: owner, most queued jobs, most active jobs of an owner, idempotency key or ''. Returns why a new job would be
# refused, or ''.
ROOM: Final = (
    PRELUDE
    + """
if ARGV[4] ~= '' and redis.call('EXISTS', ARGV[4]) == 1 then return '' end
return refusal(ARGV[1], ARGV[2], ARGV[3]) or ''
"""
)

# ARGV: worker, claim (a random word: the same claim sent twice is one claim), lease ms. Returns id and attempt, or
# nothing where no job waits.
CLAIM: Final = (
    PRELUDE
    + """
local held = redis.call('GET', 'lipsync:claim:' .. ARGV[2])
if held then
  local was = redis.call('HMGET', key(held), 'status', 'claim', 'attempt')
  if was[1] == 'running' and was[2] == ARGV[2] then return {held, was[3]} end
  return {}
end
local owner = redis.call('ZRANGE', 'lipsync:turns', 0, 0)[1]
if not owner then return {} end
local id = redis.call('ZRANGE', queue(owner), 0, 0)[1]
local time = now_ms()
leave_queue(id)
if redis.call('ZSCORE', 'lipsync:turns', owner) then go_last(owner) end
local attempt = redis.call('HINCRBY', key(id), 'attempt', 1)
redis.call('HSET', key(id), 'status', 'running', 'worker', ARGV[1], 'claim', ARGV[2], 'started_at', whole(time))
redis.call('ZADD', 'lipsync:leases', whole(time + tonumber(ARGV[3])), id)
redis.call('SET', 'lipsync:claim:' .. ARGV[2], id, 'PX', ARGV[3])
tell(id, 'status', 'status', 'running')
return {id, whole(attempt)}
"""
)

# ARGV: ids. Returns the place in line of each, from 1, in the order in which claims will take them; 0 where it does not
# wait. By the time that `ahead` own jobs were taken, every other owner has had as many turns, and one more where its
# turn comes first.
POSITIONS: Final = (
    PRELUDE
    + """
local turns = redis.call('ZRANGE', 'lipsync:turns', 0, -1, 'WITHSCORES')
local waiting, turn = {}, {}
for i = 1, #turns, 2 do
  waiting[turns[i]] = redis.call('ZCARD', queue(turns[i]))
  turn[turns[i]] = tonumber(turns[i + 1])
end
local places = {}
for i, id in ipairs(ARGV) do
  local owner = field(id, 'owner')
  local ahead = owner and redis.call('ZRANK', queue(owner), id)
  places[i] = 0
  if ahead then
    places[i] = ahead + 1
    for other, count in pairs(waiting) do
      if other ~= owner then
        local first = turn[other] < turn[owner] and 1 or 0
        places[i] = places[i] + math.min(count, ahead + first)
      end
    end
  end
end
return places
"""
)
