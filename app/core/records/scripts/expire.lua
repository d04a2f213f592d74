-- Returns jobs whose files have to be removed now. The record of an expired job stays for one more retention time, then
-- it is forgotten.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
local time = clock.now_ms()
local expired = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', keys.expiry, '-inf', numbers.whole(time), 'LIMIT', 0, 100)) do
  if job.get(id, 'expired') or not job.get(id, 'status') then
    moves.forget(id, args.retention_ms)
  else
    job.set(id, 'expired', 1)
    redis.call('ZADD', keys.expiry, numbers.whole(time + args.retention_ms), id)
  end
  expired[#expired + 1] = id
end
return expired
