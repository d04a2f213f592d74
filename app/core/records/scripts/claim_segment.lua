-- Take a waiting segment under a lease. Returns the number of the attempt at the segment, or 0. The same claim sent
-- twice is one claim.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local segments = require('segments')

local args = cjson.decode(ARGV[1])
local id, n = args.job_id, args.number
if not segments.is_split(id) then return 0 end
local state = segments.get(id, n .. ':state')
if state == 'running' and segments.get(id, n .. ':claim') == args.claim then
  return tonumber(segments.get(id, n .. ':attempt'))
end
if state ~= 'waiting' then return 0 end
redis.call('ZREM', keys.segment_sent, segments.unit(id, n))
local attempt = segments.add(id, n .. ':attempt', 1)
segments.set(id, n .. ':state', 'running', n .. ':worker', args.worker, n .. ':claim', args.claim)
redis.call('ZADD', keys.segment_leases, numbers.whole(clock.now_ms() + args.lease_ms), segments.unit(id, n))
return attempt
