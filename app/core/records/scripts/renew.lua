-- Renew the lease of a job and set its stage and progress (JSON). Returns `ok`, `cancel` or `lost`.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local events = require('events')

local args = cjson.decode(ARGV[1])
local id = args.job_id
if not job.holds(id, args.attempt) then return 'lost' end
redis.call('ZADD', keys.leases, numbers.whole(clock.now_ms() + args.lease_ms), id)
local before = job.get_all(id, 'stage', 'progress')
job.set(id, 'stage', args.stage, 'progress', args.progress)
if before[1] ~= args.stage or before[2] ~= args.progress then events.add_progress(id) end
if job.get(id, 'cancel') then return 'cancel' end
return 'ok'
