-- Waiting jobs and the turns of their owners.
--
-- A claim takes the first job of the owner whose turn it is. This owner then goes behind all other owners with waiting
-- jobs. An owner whose first job arrives goes last, too. So a job waits for at most one round per own job before it. A
-- job that is queued again keeps its `order`, and with it its place.
local keys = require('keys')
local numbers = require('numbers')
local job = require('job')
local events = require('events')

local queue = {}

-- Give the owner the last turn.
function queue.move_owner_last(owner)
  redis.call('ZADD', keys.turns, numbers.whole(redis.call('INCR', keys.turn)), owner)
end

-- Remove the job if it waits, and the turn of its owner if no other job of the owner waits.
function queue.leave(id)
  if redis.call('ZREM', keys.sent, id) == 0 then return end
  local owner = job.get(id, 'owner')
  redis.call('ZREM', keys.queue .. owner, id)
  if redis.call('ZCARD', keys.queue .. owner) == 0 then redis.call('ZREM', keys.turns, owner) end
end

-- Let the job wait; `sent` is when its message was sent (milliseconds), 0 if the message has yet to be sent.
function queue.enter(id, sent)
  local fields = job.get_all(id, 'owner', 'order')
  local owner, order = fields[1], fields[2]
  redis.call('ZREM', keys.leases, id)
  job.set(id, 'status', 'queued')
  job.unset(id, 'worker', 'claim', 'stage', 'progress')
  redis.call('ZADD', keys.queue .. owner, order, id)
  if not redis.call('ZSCORE', keys.turns, owner) then queue.move_owner_last(owner) end
  redis.call('ZADD', keys.sent, sent, id)
  events.add(id, 'status', 'status', 'queued')
end

-- Return why `count` more jobs of this owner are refused: `busy` (the owner has too many), `full` (too many wait), or
-- nil.
function queue.refusal(owner, max_queued, max_active, count)
  if redis.call('SCARD', keys.active .. owner) + count > max_active then return 'busy' end
  if redis.call('ZCARD', keys.sent) + count > max_queued then return 'full' end
end

return queue
