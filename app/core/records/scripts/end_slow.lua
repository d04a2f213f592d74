-- Fail the split jobs whose segments were being done for longer than `max_ms`, with `error` (JSON). Returns their ids.
-- Time in which all segments of a job wait is not counted.
local keys = require('keys')
local job = require('job')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
local slow = {}
for _, id in ipairs(redis.call('ZRANGE', keys.split, 0, -1)) do
  if tonumber(job.get(id, 'ran_ms') or 0) > args.max_ms then
    moves.fail(id, args.error, args.retention_ms)
    slow[#slow + 1] = id
  end
end
return slow
