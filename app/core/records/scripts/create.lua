-- Save a new queued job. Returns an outcome and the id of the job:
-- `created`; `replayed` (the idempotency key made this job before); `conflict` (it was used with another fingerprint);
-- `busy` or `full` (see lib/queue.lua). `idem` is the key that holds the idempotency key, '' for none.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local queue = require('queue')

local args = cjson.decode(ARGV[1])
local id, owner, idem = args.job_id, args.owner, args.idem
if redis.call('EXISTS', keys.job .. id) == 1 then return {'created', id} end
if idem ~= '' then
  local bound = redis.call('HMGET', idem, 'id', 'fingerprint')
  if bound[1] and bound[2] == args.fingerprint then return {'replayed', bound[1]} end
  if bound[1] then return {'conflict', bound[1]} end
end
local refused = queue.refusal(owner, args.max_queued, args.max_active)
if refused then return {refused, ''} end

local time = clock.now_us()
local newest = redis.call('ZREVRANGE', keys.owner .. owner, 0, 0, 'WITHSCORES')
if newest[2] then time = math.max(time, tonumber(newest[2]) + 1) end -- unique per owner: listings continue from it
local time_ms = math.floor(time / 1000)
job.set(id, 'doc', args.doc, 'owner', owner, 'status', 'queued', 'attempt', 0, 'losses', 0,
  'created_at', numbers.whole(time_ms), 'expires_at', numbers.whole(time_ms + args.retention_ms),
  'lead', numbers.whole(args.lead_ms), 'order', numbers.whole(time - args.lead_ms * 1000))
if args.webhook ~= '' then job.set(id, 'webhook', args.webhook) end
redis.call('ZADD', keys.owner .. owner, numbers.whole(time), id)
redis.call('SADD', keys.active .. owner, id)
queue.enter(id, numbers.whole(time_ms))
redis.call('HINCRBY', keys.totals, 'created', 1)
if idem ~= '' then
  redis.call('HSET', idem, 'id', id, 'fingerprint', args.fingerprint)
  redis.call('PEXPIRE', idem, numbers.whole(args.retention_ms))
  job.set(id, 'idem', idem)
end
return {'created', id}
