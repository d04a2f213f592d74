-- Queue a failed or canceled job again. Returns `ok`, or why not: the status of any other job, `expired`, `busy` or
-- `full` as for a new job, or '' for no such job.
--
-- The number of the attempt goes on, so that no worker of an earlier attempt can change the job. Its losses start at 0.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local queue = require('queue')
local batches = require('batches')

local args = cjson.decode(ARGV[1])
local id = args.job_id
local status = job.get(id, 'status')
if status ~= 'failed' and status ~= 'canceled' then return status or '' end
if job.get(id, 'expired') then return 'expired' end
local fields = job.get_all(id, 'owner', 'lead')
local owner, lead_ms = fields[1], tonumber(fields[2])
local refused = queue.refusal(owner, args.max_queued, args.max_active, 1)
if refused then return refused end

local time = clock.now_us()
local time_ms = math.floor(time / 1000)
redis.call('ZREM', keys.expiry, id)
job.unset(id, 'error', 'cancel', 'started_at', 'finished_at', 'warnings', 'progress_event')
job.set(id, 'losses', 0, 'expires_at', numbers.whole(time_ms + args.retention_ms),
  'order', numbers.whole(time - lead_ms * 1000))
redis.call('SADD', keys.active .. owner, id)
redis.call('XTRIM', keys.events .. id, 'MAXLEN', 0)
queue.enter(id, numbers.whole(time_ms))
local batch = job.get(id, 'batch')
if batch then batches.reopen_one(batch) end
redis.call('HINCRBY', keys.totals, 'retried', 1)
return 'ok'
