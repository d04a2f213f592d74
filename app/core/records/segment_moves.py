"""The moves of a job that is done in segments, as Redis scripts beside those of `app.core.records.moves`.

    lipsync:job:<id>          also: segments, plan (the attempt that planned), frames_total, split_at, joining, and
                                    ran_ms: for how long any of its segments was being done
    lipsync:segments:<id>     hash  <n>:state (waiting, running, done), <n>:attempt, <n>:losses, <n>:claim, <n>:worker,
                                    <n>:frames; done and frames: sums over all; base: frames that were done at the split
    lipsync:split             zset  jobs whose segments are being done or wait to be joined, by when they started
    lipsync:segment_leases    zset  <id>.<n> by when the lease ends
    lipsync:segment_sent      zset  <id>.<n> and <id>.join by when the message was sent; 0 = to be sent

A split job is running without a lease of its own; each segment has its lease and its attempts. Who finishes the last
one makes the join due in the same script. Who claims the join holds the job's own lease, under the job's own attempt.
Whatever ends the job ends its segments: their next heartbeat finds the lease lost.

Owners share the workers: only a few messages of segments are out at a time, and each next one is for the owner who has
the fewest segments out or under way. So the long job of one waits behind a few segments of the others, not behind all.
"""

from __future__ import annotations

from typing import Final

from app.core.records.moves import PRELUDE

_PRELUDE: Final = (
    PRELUDE
    + """
local function part(id, name) return redis.call('HGET', parts(id), name) end
local function set_part(id, name, value) redis.call('HSET', parts(id), name, value) end
local function is_split(id) return field(id, 'status') == 'running' and redis.call('ZSCORE', 'lipsync:split', id) end
local function holds(id, n, attempt)
  return is_split(id) and part(id, n .. ':state') == 'running' and part(id, n .. ':attempt') == attempt
end
local function count_frames(id, n, frames)
  redis.call('HINCRBY', parts(id), 'frames', frames - tonumber(part(id, n .. ':frames') or 0))
  set_part(id, n .. ':frames', frames)
end
local function publish_progress(id)
  local done, total = tonumber(part(id, 'frames') or 0), tonumber(field(id, 'frames_total'))
  local seconds = math.max(now_ms() - tonumber(field(id, 'split_at')), 1) / 1000
  local fps = math.max(done - tonumber(part(id, 'base') or 0), 0) / seconds
  local eta_s = fps > 0 and math.floor((total - done) / fps * 10) / 10 or cjson.null
  redis.call('HSET', key(id), 'progress', cjson.encode({
    percent = math.min(99.9, math.floor(1000 * done / total) / 10), frames_done = done, frames_total = total,
    fps = math.floor(fps * 100 + 0.5) / 100, eta_s = eta_s
  }))
  tell_progress(id)
end
local function wait_again(id, n)
  count_frames(id, n, 0)
  set_part(id, n .. ':state', 'waiting')
  redis.call('ZREM', 'lipsync:segment_leases', id .. '.' .. n)
  redis.call('ZADD', 'lipsync:segment_sent', 0, id .. '.' .. n)
end
local function lose_segment(id, n, most, retention_ms, error)
  redis.call('HINCRBY', 'lipsync:totals', 'lost', 1)
  if redis.call('HINCRBY', parts(id), n .. ':losses', 1) < most then return wait_again(id, n) end
  redis.call('HSET', key(id), 'error', error)
  finish(id, 'failed', retention_ms)
end
"""
)

# ARGV: id, attempt, attempt that planned, segments, frames, retention ms. Returns 1 where this attempt split the job.
SPLIT: Final = (
    _PRELUDE
    + """
local id = ARGV[1]
if field(id, 'attempt') == ARGV[2] and (is_split(id) or field(id, 'joining')) then return 1 end  -- asked once more
if not is_current(id, ARGV[2]) then return 0 end
if field(id, 'cancel') then
  finish(id, 'canceled', tonumber(ARGV[6]))
  return 0
end
if field(id, 'plan') ~= ARGV[3] then  -- by another plan, nothing that was finished fits
  for n = 0, tonumber(field(id, 'segments') or 0) - 1 do wait_again(id, n) end
  end_segments(id)
end
redis.call('ZREM', 'lipsync:leases', id)
redis.call('HSET', key(id), 'plan', ARGV[3], 'segments', ARGV[4], 'frames_total', ARGV[5],
  'split_at', whole(now_ms()), 'stage', 'synthesize')
redis.call('HDEL', key(id), 'ran_ms')
redis.call('ZADD', 'lipsync:split', field(id, 'started_at'), id)
local done = 0
for n = 0, tonumber(ARGV[4]) - 1 do
  if part(id, n .. ':state') == 'done' then
    done = done + 1
  else
    set_part(id, n .. ':losses', 0)
    wait_again(id, n)
  end
end
set_part(id, 'done', done)
set_part(id, 'base', part(id, 'frames') or 0)
if done == tonumber(ARGV[4]) then redis.call('ZADD', 'lipsync:segment_sent', 0, id .. '.join') end
publish_progress(id)
return 1
"""
)

# ARGV: id, segment, worker, claim, lease ms. Returns the segment's attempt or 0.
CLAIM_SEGMENT: Final = (
    _PRELUDE
    + """
local id, n = ARGV[1], ARGV[2]
if not is_split(id) then return 0 end
local state = part(id, n .. ':state')
if state == 'running' and part(id, n .. ':claim') == ARGV[4] then return tonumber(part(id, n .. ':attempt')) end
if state ~= 'waiting' then return 0 end
redis.call('ZREM', 'lipsync:segment_sent', id .. '.' .. n)
local attempt = redis.call('HINCRBY', parts(id), n .. ':attempt', 1)
redis.call('HSET', parts(id), n .. ':state', 'running', n .. ':worker', ARGV[3], n .. ':claim', ARGV[4])
redis.call('ZADD', 'lipsync:segment_leases', whole(now_ms() + tonumber(ARGV[5])), id .. '.' .. n)
return attempt
"""
)

# ARGV: id, segment, attempt, lease ms, frames done. Returns ok or lost.
BEAT_SEGMENT: Final = (
    _PRELUDE
    + """
local id, n = ARGV[1], ARGV[2]
if not holds(id, n, ARGV[3]) then return 'lost' end
redis.call('ZADD', 'lipsync:segment_leases', whole(now_ms() + tonumber(ARGV[4])), id .. '.' .. n)
count_frames(id, n, tonumber(ARGV[5]))
publish_progress(id)
return 'ok'
"""
)

# ARGV: id, segment, attempt, frames. Returns 1 where this attempt did the segment; the last one makes the join due.
FINISH_SEGMENT: Final = (
    _PRELUDE
    + """
local id, n = ARGV[1], ARGV[2]
if not holds(id, n, ARGV[3]) then
  return (part(id, n .. ':state') == 'done' and part(id, n .. ':attempt') == ARGV[3]) and 1 or 0
end
redis.call('ZREM', 'lipsync:segment_leases', id .. '.' .. n)
set_part(id, n .. ':state', 'done')
count_frames(id, n, tonumber(ARGV[4]))
publish_progress(id)
if redis.call('HINCRBY', parts(id), 'done', 1) == tonumber(field(id, 'segments')) then
  redis.call('ZADD', 'lipsync:segment_sent', 0, id .. '.join')
end
return 1
"""
)

# ARGV: id, segment, attempt. The worker gives the segment back in order, with nothing counted against it.
HAND_BACK_SEGMENT: Final = (
    _PRELUDE
    + """
if not holds(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
wait_again(ARGV[1], ARGV[2])
return 1
"""
)

# ARGV: id, segment, attempt, most losses, retention ms, error. The attempt broke through nobody's fault, as if it died.
LOSE_SEGMENT: Final = (
    _PRELUDE
    + """
if not holds(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
lose_segment(ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6])
return 1
"""
)

# ARGV: id, segment, attempt, retention ms, error. Returns 1 where the job failed by this attempt at a segment.
FAIL_SEGMENT: Final = (
    _PRELUDE
    + """
if not holds(ARGV[1], ARGV[2], ARGV[3]) then
  return (part(ARGV[1], ARGV[2] .. ':attempt') == ARGV[3] and field(ARGV[1], 'error') == ARGV[5]) and 1 or 0
end
redis.call('HSET', key(ARGV[1]), 'error', ARGV[5])
finish(ARGV[1], 'failed', tonumber(ARGV[4]))
return 1
"""
)

# ARGV: id, worker, claim, lease ms. Returns the job's attempt or 0; whoever claims the join holds the job's lease.
CLAIM_JOIN: Final = (
    _PRELUDE
    + """
local id = ARGV[1]
if is_current(id, field(id, 'attempt')) and field(id, 'claim') == ARGV[3] then return tonumber(field(id, 'attempt')) end
if not is_split(id) or part(id, 'done') ~= field(id, 'segments') then return 0 end
redis.call('ZREM', 'lipsync:split', id)
redis.call('ZREM', 'lipsync:segment_sent', id .. '.join')
redis.call('HSET', key(id), 'worker', ARGV[2], 'claim', ARGV[3], 'joining', 1)
redis.call('ZADD', 'lipsync:leases', whole(now_ms() + tonumber(ARGV[4])), id)
return tonumber(field(id, 'attempt'))
"""
)

# ARGV: most losses, retention ms, the error of a segment that was lost too often. Returns id.n, the job's status, ...
REAP_SEGMENTS: Final = (
    _PRELUDE
    + """
local moved = {}
for _, one in ipairs(redis.call('ZRANGEBYSCORE', 'lipsync:segment_leases', '-inf', whole(now_ms()), 'LIMIT', 0, 100)) do
  local id, n = string.match(one, '^(.*)%.(.*)$')
  redis.call('ZREM', 'lipsync:segment_leases', one)
  if is_split(id) and part(id, n .. ':state') == 'running' then
    lose_segment(id, n, tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3])
    moved[#moved + 1] = one
    moved[#moved + 1] = field(id, 'status')
  end
end
return moved
"""
)

# ARGV: retention ms, most ms that segments may take, the error. Returns the split jobs that failed for their time;
# while all segments of a job wait, for those of others or for a worker, it uses none.
REAP_SLOW: Final = (
    _PRELUDE
    + """
local slow = {}
for _, id in ipairs(redis.call('ZRANGE', 'lipsync:split', 0, -1)) do
  if tonumber(field(id, 'ran_ms') or 0) > tonumber(ARGV[2]) then
    redis.call('HSET', key(id), 'error', ARGV[3])
    finish(id, 'failed', tonumber(ARGV[1]))
    slow[#slow + 1] = id
  end
end
return slow
"""
)

# Returns <id>.<n> and <id>.join for which a message has to be sent, and marks them as sent now. Two messages a worker,
# and four more, keep every worker busy until the next call.
TAKE_UNSENT_SEGMENTS: Final = (
    _PRELUDE
    + """
local time = whole(now_ms())
local out = redis.call('ZRANGEBYSCORE', 'lipsync:segment_sent', '(0', '+inf')
local room = 2 * redis.call('ZCOUNT', 'lipsync:workers', time, '+inf') + 4 - #out
if room <= 0 then return {} end
local load, owners, jobs = {}, {}, {}
local function count(unit)
  local owner = field(string.match(unit, '^(.*)%.'), 'owner')
  if owner then load[owner] = (load[owner] or 0) + 1 end
end
for _, unit in ipairs(out) do count(unit) end
for _, unit in ipairs(redis.call('ZRANGE', 'lipsync:segment_leases', 0, -1)) do count(unit) end
for _, id in ipairs(redis.call('ZRANGE', 'lipsync:split', 0, -1)) do
  local owner = field(id, 'owner')
  if not jobs[owner] then
    jobs[owner] = {}
    owners[#owners + 1] = owner
  end
  table.insert(jobs[owner], {id = id, n = 0, segments = tonumber(field(id, 'segments'))})
end
local function is_unsent(unit) return tonumber(redis.call('ZSCORE', 'lipsync:segment_sent', unit) or 1) == 0 end
local function next_unit(owner)
  while jobs[owner][1] do
    local job = jobs[owner][1]
    while job.n <= job.segments do
      local unit = job.id .. '.' .. (job.n == job.segments and 'join' or job.n)
      job.n = job.n + 1
      if is_unsent(unit) then return unit end
    end
    table.remove(jobs[owner], 1)
  end
end
local taken = {}
while #taken < room do
  local least
  for _, owner in ipairs(owners) do
    if jobs[owner][1] and (not least or (load[owner] or 0) < (load[least] or 0)) then least = owner end
  end
  if not least then break end
  local unit = next_unit(least)
  if unit then
    redis.call('ZADD', 'lipsync:segment_sent', 'XX', time, unit)
    load[least] = (load[least] or 0) + 1
    taken[#taken + 1] = unit
  end
end
return taken
"""
)

# ARGV: ms. Returns <id>.<n> and <id>.join whose message was sent longer ago than that.
OVERDUE_SEGMENTS: Final = (
    _PRELUDE
    + """
return redis.call('ZRANGEBYSCORE', 'lipsync:segment_sent', 1, whole(now_ms() - tonumber(ARGV[1])))
"""
)
