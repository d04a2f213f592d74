-- Renew the lease of a segment and set how many of its frames are done. Returns `ok` or `lost`.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local segments = require('segments')

local args = cjson.decode(ARGV[1])
local id, n = args.job_id, args.number
if not segments.holds(id, n, args.attempt) then return 'lost' end
redis.call('ZADD', keys.segment_leases, numbers.whole(clock.now_ms() + args.lease_ms), segments.unit(id, n))
segments.count_frames(id, n, args.frames_done)
segments.publish_progress(id)
return 'ok'
