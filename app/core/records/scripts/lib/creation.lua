-- The creation of jobs, of one or of many at once.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local queue = require('queue')

local creation = {}

-- Return what an idempotency key made before: an outcome, `replayed` or `conflict` (another fingerprint), and the id;
-- nil for a key that made nothing yet. `idem` is the key that holds the idempotency key, '' for none.
function creation.made_before(idem, fingerprint)
  if idem == '' then return end
  local bound = redis.call('HMGET', idem, 'id', 'fingerprint')
  if bound[1] then return bound[2] == fingerprint and 'replayed' or 'conflict', bound[1] end
end

-- Remember for `kept_ms` that an idempotency key made this job or batch.
function creation.bind(idem, id, fingerprint, kept_ms)
  if idem == '' then return end
  redis.call('HSET', idem, 'id', id, 'fingerprint', fingerprint)
  redis.call('PEXPIRE', idem, numbers.whole(kept_ms))
end

-- Return a time in microseconds for the next job of an owner: unique, because listings continue from it.
local function next_time(owner)
  local newest = redis.call('ZREVRANGE', keys.owner .. owner, 0, 0, 'WITHSCORES')
  local time = clock.now_us()
  return newest[2] and math.max(time, tonumber(newest[2]) + 1) or time
end

-- Save a new queued job: `facts` has job_id, doc, lead_ms and webhook ('' for none). `is_sent`: its message is sent
-- by the caller; else the next reaper sends it.
function creation.add(owner, facts, kept_ms, is_sent)
  local id, time = facts.job_id, next_time(owner)
  local time_ms = math.floor(time / 1000)
  job.set(id, 'doc', facts.doc, 'owner', owner, 'status', 'queued', 'attempt', 0, 'losses', 0,
    'created_at', numbers.whole(time_ms), 'expires_at', numbers.whole(time_ms + kept_ms),
    'lead', numbers.whole(facts.lead_ms), 'order', numbers.whole(time - facts.lead_ms * 1000))
  if facts.webhook ~= '' then job.set(id, 'webhook', facts.webhook) end
  redis.call('ZADD', keys.owner .. owner, numbers.whole(time), id)
  redis.call('SADD', keys.active .. owner, id)
  queue.enter(id, is_sent and numbers.whole(time_ms) or 0)
  redis.call('HINCRBY', keys.totals, 'created', 1)
end

return creation
