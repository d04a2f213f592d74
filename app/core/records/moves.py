"""The moves of a job as Redis scripts: each is atomic, so two processes can never both be right.

    lipsync:job:<id>      hash    doc (id, owner, input, options as JSON) and the changing fields
    lipsync:owner:<name>  zset    the owner's jobs by creation (microseconds, unique: the cursor of a listing)
    lipsync:active:<name> set     the owner's jobs that have not ended
    lipsync:queue:<name>  zset    the owner's waiting jobs by `order`: arrival less the lead of their priority
    lipsync:turns         zset    owners with waiting jobs by turn; lipsync:turn counts turns up
    lipsync:sent          zset    all waiting jobs by when a message was sent for them; 0 = to be sent
    lipsync:claim:<word>  string  the job that a claim got, for as long as the same claim may be sent again
    lipsync:events:<id>   stream  what happened to the job, for those who listen; of its progress only the latest
    lipsync:leases        zset    running jobs by when their lease ends
    lipsync:expiry        zset    ended jobs by when their files, later their record, go
    lipsync:idem:<..>     hash    an idempotency key's job and the request's fingerprint
    lipsync:workers       zset    live workers by when their announcement ends; lipsync:worker_facts: JSON each
    lipsync:totals        hash    counters that only grow

How jobs come to wait and whose turn it is: `app.core.records.queue_moves`. A long clip is done in segments that have
leases of their own: `app.core.records.segment_moves`.

Times are milliseconds by Redis' own clock: hosts need not agree on theirs. The attempt number fences: whoever lost its
lease finds another number and can no longer move the job. `losses` counts attempts that died; one that was handed back
in order is not a loss.
"""

from __future__ import annotations

from typing import Final

PRELUDE: Final = """
local function time_us()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
local function now_ms() return math.floor(time_us() / 1000) end
local function whole(number) return string.format('%.0f', number) end
local function key(id) return 'lipsync:job:' .. id end
local function parts(id) return 'lipsync:segments:' .. id end
local function field(id, name) return redis.call('HGET', key(id), name) end
local function events(id) return 'lipsync:events:' .. id end
local function tell(id, event, ...)
  local told = redis.call('XADD', events(id), 'MAXLEN', 100, '*', 'event', event, 'attempt', field(id, 'attempt'), ...)
  redis.call('HSET', key(id), 'event', told)
  return told
end
local function tell_progress(id)
  local now = redis.call('HMGET', key(id), 'stage', 'progress', 'progress_event')
  if now[3] then redis.call('XDEL', events(id), now[3]) end
  redis.call('HSET', key(id), 'progress_event', tell(id, 'progress', 'stage', now[1] or '', 'progress', now[2] or '{}'))
end
local function queue(owner) return 'lipsync:queue:' .. owner end
local function go_last(owner)
  redis.call('ZADD', 'lipsync:turns', whole(redis.call('INCR', 'lipsync:turn')), owner)
end
local function leave_queue(id)
  if redis.call('ZREM', 'lipsync:sent', id) == 0 then return end
  local owner = field(id, 'owner')
  redis.call('ZREM', queue(owner), id)
  if redis.call('ZCARD', queue(owner)) == 0 then redis.call('ZREM', 'lipsync:turns', owner) end
end
local function enter_queue(id, sent)
  local bound = redis.call('HMGET', key(id), 'owner', 'order')
  redis.call('ZREM', 'lipsync:leases', id)
  redis.call('HSET', key(id), 'status', 'queued')
  redis.call('HDEL', key(id), 'worker', 'claim', 'stage', 'progress')
  redis.call('ZADD', queue(bound[1]), bound[2], id)
  if not redis.call('ZSCORE', 'lipsync:turns', bound[1]) then go_last(bound[1]) end
  redis.call('ZADD', 'lipsync:sent', sent, id)
  tell(id, 'status', 'status', 'queued')
end
local function refusal(owner, most_queued, most_active)
  if redis.call('SCARD', 'lipsync:active:' .. owner) >= tonumber(most_active) then return 'busy' end
  if redis.call('ZCARD', 'lipsync:sent') >= tonumber(most_queued) then return 'full' end
end
local function end_segments(id)
  redis.call('ZREM', 'lipsync:split', id)
  redis.call('ZREM', 'lipsync:segment_sent', id .. '.join')
  for n = 0, tonumber(field(id, 'segments') or 0) - 1 do
    redis.call('ZREM', 'lipsync:segment_sent', id .. '.' .. n)
    redis.call('ZREM', 'lipsync:segment_leases', id .. '.' .. n)
  end
end
local function give_back(id)
  if not field(id, 'joining') then return enter_queue(id, 0) end
  redis.call('HDEL', key(id), 'joining', 'worker', 'claim')
  redis.call('HINCRBY', key(id), 'attempt', 1)
  redis.call('ZREM', 'lipsync:leases', id)
  redis.call('ZADD', 'lipsync:split', field(id, 'started_at'), id)
  redis.call('ZADD', 'lipsync:segment_sent', 0, id .. '.join')
end
local function finish(id, status, retention_ms)
  local time = now_ms()
  leave_queue(id)
  end_segments(id)
  redis.call('SREM', 'lipsync:active:' .. field(id, 'owner'), id)
  redis.call('ZREM', 'lipsync:leases', id)
  if status == 'succeeded' then tell_progress(id) end
  redis.call('HDEL', key(id), 'stage', 'joining')
  redis.call('HSET', key(id), 'status', status, 'finished_at', whole(time), 'expires_at', whole(time + retention_ms))
  redis.call('ZADD', 'lipsync:expiry', whole(time + retention_ms), id)
  redis.call('HINCRBY', 'lipsync:totals', status, 1)
  tell(id, 'status', 'status', status)
  tell(id, 'end', 'status', status, 'error', field(id, 'error') or '')
end
local function lose(id, most, retention_ms, error)
  if field(id, 'cancel') then
    finish(id, 'canceled', retention_ms)
  elseif redis.call('HINCRBY', key(id), 'losses', 1) >= most then
    redis.call('HSET', key(id), 'error', error)
    finish(id, 'failed', retention_ms)
  else
    give_back(id)
  end
  redis.call('HINCRBY', 'lipsync:totals', 'lost', 1)
end
local function is_current(id, attempt)
  return field(id, 'status') == 'running' and field(id, 'attempt') == attempt
    and redis.call('ZSCORE', 'lipsync:leases', id)
end
local function forget(id)
  local bound = redis.call('HMGET', key(id), 'owner', 'idem')
  if bound[1] then
    leave_queue(id)
    redis.call('ZREM', 'lipsync:owner:' .. bound[1], id)
    redis.call('SREM', 'lipsync:active:' .. bound[1], id)
  end
  if bound[2] and redis.call('HGET', bound[2], 'id') == id then redis.call('DEL', bound[2]) end
  end_segments(id)
  redis.call('ZREM', 'lipsync:leases', id)
  redis.call('ZREM', 'lipsync:expiry', id)
  redis.call('DEL', key(id), events(id), parts(id))
end
"""

# ARGV: id, attempt, lease ms, stage, progress. Returns ok, cancel or lost.
BEAT: Final = (
    PRELUDE
    + """
local id = ARGV[1]
if not is_current(id, ARGV[2]) then return 'lost' end
redis.call('ZADD', 'lipsync:leases', whole(now_ms() + tonumber(ARGV[3])), id)
local was = redis.call('HMGET', key(id), 'stage', 'progress')
redis.call('HSET', key(id), 'stage', ARGV[4], 'progress', ARGV[5])
if was[1] ~= ARGV[4] or was[2] ~= ARGV[5] then tell_progress(id) end
if field(id, 'cancel') then return 'cancel' end
return 'ok'
"""
)

# ARGV: id, attempt, status, retention ms, then names and values of fields. Returns 1 where this attempt ended the job.
FINISH: Final = (
    PRELUDE
    + """
local id = ARGV[1]
if not is_current(id, ARGV[2]) then
  return (field(id, 'attempt') == ARGV[2] and field(id, 'status') == ARGV[3]) and 1 or 0
end
for i = 5, #ARGV, 2 do redis.call('HSET', key(id), ARGV[i], ARGV[i + 1]) end
finish(id, ARGV[3], tonumber(ARGV[4]))
return 1
"""
)

# ARGV: id, attempt. The worker gives the job back in order, with nothing counted against it.
HAND_BACK: Final = (
    PRELUDE
    + """
if not is_current(ARGV[1], ARGV[2]) then return 0 end
if field(ARGV[1], 'cancel') then return 0 end
give_back(ARGV[1])
return 1
"""
)

# ARGV: id, attempt, most losses, retention ms, error. An attempt that broke through nobody's fault is one that died.
LOSE: Final = (
    PRELUDE
    + """
if not is_current(ARGV[1], ARGV[2]) then return 0 end
lose(ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5])
return 1
"""
)

# ARGV: id, retention ms. Returns the status after it, or '' for no such job.
CANCEL: Final = (
    PRELUDE
    + """
local id = ARGV[1]
local status = field(id, 'status')
if status == 'queued' or redis.call('ZSCORE', 'lipsync:split', id) then
  finish(id, 'canceled', tonumber(ARGV[2]))
  return 'canceled'
end
if status == 'running' then redis.call('HSET', key(id), 'cancel', 1) end
return status or ''
"""
)

# ARGV: id, retention ms, most queued jobs, most active jobs of an owner. Returns `ok`, or why not: the status of a job
# that did not fail and was not canceled, `expired`, a refusal as of a new job, or '' for no such job. The attempts are
# counted on, so that no worker of before can move the job; its losses are not.
RETRY: Final = (
    PRELUDE
    + """
local id = ARGV[1]
local status = field(id, 'status')
if status ~= 'failed' and status ~= 'canceled' then return status or '' end
if field(id, 'expired') then return 'expired' end
local bound = redis.call('HMGET', key(id), 'owner', 'lead')
local refused = refusal(bound[1], ARGV[3], ARGV[4])
if refused then return refused end
local time = time_us()
local ms = math.floor(time / 1000)
redis.call('ZREM', 'lipsync:expiry', id)
redis.call('HDEL', key(id), 'error', 'cancel', 'started_at', 'finished_at', 'warnings', 'progress_event')
redis.call('HSET', key(id), 'losses', 0, 'expires_at', whole(ms + tonumber(ARGV[2])),
  'order', whole(time - tonumber(bound[2]) * 1000))
redis.call('SADD', 'lipsync:active:' .. bound[1], id)
redis.call('XTRIM', events(id), 'MAXLEN', 0)
enter_queue(id, whole(ms))
redis.call('HINCRBY', 'lipsync:totals', 'retried', 1)
return 'ok'
"""
)

# ARGV: most losses, retention ms, the error of a job that was lost too often. Returns id, status, id, status, ...
REAP: Final = (
    PRELUDE
    + """
local moved = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'lipsync:leases', '-inf', whole(now_ms()), 'LIMIT', 0, 100)) do
  if field(id, 'status') ~= 'running' then
    redis.call('ZREM', 'lipsync:leases', id)
  else
    lose(id, tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3])
    moved[#moved + 1] = id
    moved[#moved + 1] = field(id, 'status')
  end
end
return moved
"""
)

# ARGV: ms without a reaper that mean an outage, ms it takes to settle. Returns 1 while leases must be spared. Time that
# was no outage is counted to the jobs whose segments somebody is doing.
SETTLE: Final = (
    PRELUDE
    + """
local time, last = now_ms(), redis.call('GET', 'lipsync:reaped_at')
redis.call('SET', 'lipsync:reaped_at', whole(time))
local passed = last and time - tonumber(last) or 0
if passed > tonumber(ARGV[1]) then
  redis.call('SET', 'lipsync:settling', 1, 'PX', ARGV[2])
else
  local counted = {}
  for _, one in ipairs(redis.call('ZRANGE', 'lipsync:segment_leases', 0, -1)) do
    local id = string.match(one, '^(.*)%.')
    if not counted[id] and field(id, 'status') == 'running' then redis.call('HINCRBY', key(id), 'ran_ms', passed) end
    counted[id] = true
  end
end
return redis.call('EXISTS', 'lipsync:settling')
"""
)

# Returns the waiting jobs for which a message has to be sent, and marks them as sent now.
TAKE_UNSENT: Final = (
    PRELUDE
    + """
local ids = redis.call('ZRANGEBYSCORE', 'lipsync:sent', 0, 0, 'LIMIT', 0, 100)
for _, id in ipairs(ids) do redis.call('ZADD', 'lipsync:sent', 'XX', whole(now_ms()), id) end
return ids
"""
)

# ARGV: ms. Returns the waiting jobs whose message was sent longer ago than that, the longest first.
OVERDUE: Final = (
    PRELUDE
    + """
return redis.call('ZRANGEBYSCORE', 'lipsync:sent', 1, whole(now_ms() - tonumber(ARGV[1])))
"""
)

# ARGV: id. Returns the status it had, or ''.
DELETE: Final = (
    PRELUDE
    + """
local status = field(ARGV[1], 'status')
if status then forget(ARGV[1]) end
return status or ''
"""
)

# ARGV: retention ms. First the files of an ended job expire, as long again later its record.
EXPIRE: Final = (
    PRELUDE
    + """
local time = now_ms()
local bare = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'lipsync:expiry', '-inf', whole(time), 'LIMIT', 0, 100)) do
  if field(id, 'expired') or not field(id, 'status') then
    forget(id)
  else
    redis.call('HSET', key(id), 'expired', 1)
    redis.call('ZADD', 'lipsync:expiry', whole(time + tonumber(ARGV[1])), id)
  end
  bare[#bare + 1] = id
end
return bare
"""
)

# ARGV: name, facts, ms to live
ANNOUNCE: Final = (
    PRELUDE
    + """
redis.call('ZADD', 'lipsync:workers', whole(now_ms() + tonumber(ARGV[3])), ARGV[1])
redis.call('HSET', 'lipsync:worker_facts', ARGV[1], ARGV[2])
return 1
"""
)

# Returns the facts of each live worker; forgets the others.
LIVE_WORKERS: Final = (
    PRELUDE
    + """
for _, name in ipairs(redis.call('ZRANGEBYSCORE', 'lipsync:workers', '-inf', whole(now_ms()))) do
  redis.call('ZREM', 'lipsync:workers', name)
  redis.call('HDEL', 'lipsync:worker_facts', name)
end
return redis.call('HVALS', 'lipsync:worker_facts')
"""
)
