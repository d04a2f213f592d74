-- The changes of a job's state that several scripts share.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local events = require('events')
local queue = require('queue')
local segments = require('segments')
local webhooks = require('webhooks')
local batches = require('batches')

local moves = {}

-- End the job with this status; its files expire after the retention time.
function moves.finish(id, status, retention_ms)
  local time = clock.now_ms()
  local expires_at = numbers.whole(time + retention_ms)
  queue.leave(id)
  segments.end_all(id)
  redis.call('SREM', keys.active .. job.get(id, 'owner'), id)
  redis.call('ZREM', keys.leases, id)
  if status == 'succeeded' then events.add_progress(id) end
  job.unset(id, 'stage', 'joining')
  job.set(id, 'status', status, 'finished_at', numbers.whole(time), 'expires_at', expires_at)
  redis.call('ZADD', keys.expiry, expires_at, id)
  redis.call('HINCRBY', keys.totals, status, 1)
  events.add(id, 'status', 'status', status)
  local event_id = events.add(id, 'end', 'status', status, 'error', job.get(id, 'error') or '')
  local fields = job.get_all(id, 'owner', 'webhook', 'batch')
  if fields[2] then webhooks.add(id .. '-' .. event_id, 'job.' .. status, id, fields[1], fields[2]) end
  if fields[3] then batches.close_one(fields[3], 2 * retention_ms) end
end

-- End the job with an error (JSON).
function moves.fail(id, error, retention_ms)
  job.set(id, 'error', error)
  moves.finish(id, 'failed', retention_ms)
end

-- Let a running job be claimed again. If its segments were being joined, only the join waits again. No claim of the job
-- counts its attempt up then, so this is done here: the old holder of the lease has to be refused.
function moves.hand_back(id)
  if not job.get(id, 'joining') then return queue.enter(id, 0) end
  job.unset(id, 'joining', 'worker', 'claim')
  job.add(id, 'attempt', 1)
  redis.call('ZREM', keys.leases, id)
  redis.call('ZADD', keys.split, job.get(id, 'started_at'), id)
  segments.make_join_due(id)
end

-- Count an attempt that died. The job ends if it was to be canceled or was lost too often, else it is queued again.
function moves.lose(id, max_losses, retention_ms, error)
  if job.get(id, 'cancel') then
    moves.finish(id, 'canceled', retention_ms)
  elseif job.add(id, 'losses', 1) >= max_losses then
    moves.fail(id, error, retention_ms)
  else
    moves.hand_back(id)
  end
  redis.call('HINCRBY', keys.totals, 'lost', 1)
end

-- Count an attempt at a segment that died. The job fails if the segment was lost too often.
function moves.lose_segment(id, n, max_losses, retention_ms, error)
  redis.call('HINCRBY', keys.totals, 'lost', 1)
  if segments.add(id, n .. ':losses', 1) < max_losses then return segments.wait_again(id, n) end
  moves.fail(id, error, retention_ms)
end

-- Remove all that is known of the job; its batch may end with it. An idempotency key that belongs to another job by
-- now stays.
function moves.forget(id, retention_ms)
  local fields = job.get_all(id, 'owner', 'idem', 'batch')
  local owner, idem, batch = fields[1], fields[2], fields[3]
  local is_open = owner and redis.call('SISMEMBER', keys.active .. owner, id) == 1
  if owner then
    queue.leave(id)
    redis.call('ZREM', keys.owner .. owner, id)
    redis.call('SREM', keys.active .. owner, id)
  end
  if idem and redis.call('HGET', idem, 'id') == id then redis.call('DEL', idem) end
  segments.end_all(id)
  redis.call('ZREM', keys.leases, id)
  redis.call('ZREM', keys.expiry, id)
  if batch and is_open then batches.close_one(batch, retention_ms) end
  redis.call('DEL', keys.job .. id, keys.events .. id, keys.segments .. id)
end

return moves
