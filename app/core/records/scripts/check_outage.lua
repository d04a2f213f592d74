-- Record that a reaper came by. Returns 1 while no lease may be called dead: for `settle_ms` after no reaper came by
-- for `outage_ms`. Other time since the last visit is counted for each job of which a segment is being done.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local segments = require('segments')

local args = cjson.decode(ARGV[1])
local time, last = clock.now_ms(), redis.call('GET', keys.reaped_at)
redis.call('SET', keys.reaped_at, numbers.whole(time))
local passed_ms = last and time - tonumber(last) or 0
if passed_ms > args.outage_ms then
  redis.call('SET', keys.settling, 1, 'PX', numbers.whole(args.settle_ms))
else
  local counted = {}
  for _, unit in ipairs(redis.call('ZRANGE', keys.segment_leases, 0, -1)) do
    local id = segments.parse(unit)
    if not counted[id] and job.get(id, 'status') == 'running' then job.add(id, 'ran_ms', passed_ms) end
    counted[id] = true
  end
end
return redis.call('EXISTS', keys.settling)
