-- Count each attempt whose lease ended as dead; `error` (JSON) is for a job that was lost too often.
-- Returns id, status, id, status, ...
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
local moved = {}
local time = numbers.whole(clock.now_ms())
for _, id in ipairs(redis.call('ZRANGEBYSCORE', keys.leases, '-inf', time, 'LIMIT', 0, 100)) do
  if job.get(id, 'status') ~= 'running' then
    redis.call('ZREM', keys.leases, id)
  else
    moves.lose(id, args.max_losses, args.retention_ms, args.error)
    moved[#moved + 1] = id
    moved[#moved + 1] = job.get(id, 'status')
  end
end
return moved
