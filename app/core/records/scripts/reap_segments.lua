-- Count each attempt at a segment whose lease ended as dead; `error` (JSON) is for a job that lost a segment too often.
-- Returns unit, the job's status, unit, status, ...
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local segments = require('segments')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
local moved = {}
local time = numbers.whole(clock.now_ms())
for _, unit in ipairs(redis.call('ZRANGEBYSCORE', keys.segment_leases, '-inf', time, 'LIMIT', 0, 100)) do
  local id, n = segments.parse(unit)
  redis.call('ZREM', keys.segment_leases, unit)
  if segments.is_split(id) and segments.get(id, n .. ':state') == 'running' then
    moves.lose_segment(id, n, args.max_losses, args.retention_ms, args.error)
    moved[#moved + 1] = unit
    moved[#moved + 1] = job.get(id, 'status')
  end
end
return moved
