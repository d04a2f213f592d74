-- Batches: jobs that were created together. A batch ends when none of its jobs waits or runs.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local webhooks = require('webhooks')

local batches = {}

-- Save a batch of jobs that wait; `webhook` is the address that is told its end, '' for none.
function batches.begin(id, owner, job_ids, webhook)
  redis.call('HSET', keys.batch .. id, 'owner', owner, 'jobs', cjson.encode(job_ids), 'open', #job_ids, 'ends', 0,
    'webhook', webhook, 'created_at', numbers.whole(clock.now_ms()))
end

-- Count a job of a batch that ended or was deleted before its end. The batch is kept for `kept_ms` after its end.
function batches.close_one(id, kept_ms)
  local key = keys.batch .. id
  if redis.call('EXISTS', key) == 0 or redis.call('HINCRBY', key, 'open', -1) > 0 then return end
  local number = redis.call('HINCRBY', key, 'ends', 1)
  local fields = redis.call('HMGET', key, 'owner', 'webhook')
  if fields[2] ~= '' then webhooks.add(id .. '-' .. number, 'batch.ended', id, fields[1], fields[2]) end
  redis.call('PEXPIRE', key, numbers.whole(kept_ms))
end

-- Count a job of a batch that is retried.
function batches.reopen_one(id)
  local key = keys.batch .. id
  if redis.call('EXISTS', key) == 0 then return end
  redis.call('HINCRBY', key, 'open', 1)
  redis.call('PERSIST', key)
end

return batches
