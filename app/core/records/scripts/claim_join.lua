-- Take the job's own lease, to join its segments. Returns the job's attempt, or 0 if the join is not due.
-- The same claim sent twice is one claim.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local segments = require('segments')

local args = cjson.decode(ARGV[1])
local id = args.job_id
local attempt = tonumber(job.get(id, 'attempt'))
if job.holds(id, attempt) and job.get(id, 'claim') == args.claim then return attempt end
if not segments.is_split(id) or tonumber(segments.get(id, 'done')) ~= segments.count(id) then return 0 end
redis.call('ZREM', keys.split, id)
redis.call('ZREM', keys.segment_sent, segments.join_unit(id))
job.set(id, 'worker', args.worker, 'claim', args.claim, 'joining', 1)
redis.call('ZADD', keys.leases, numbers.whole(clock.now_ms() + args.lease_ms), id)
return attempt
