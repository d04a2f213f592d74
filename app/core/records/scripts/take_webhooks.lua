-- Returns the ids of webhooks that are due, at most `limit`, and lends each to the caller: it is due again after
-- `lease_ms`, unless the caller says before that what became of it.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')

local args = cjson.decode(ARGV[1])
local now = clock.now_ms()
local taken = redis.call('ZRANGEBYSCORE', keys.webhooks, '-inf', numbers.whole(now), 'LIMIT', 0, args.limit)
for _, event_id in ipairs(taken) do redis.call('ZADD', keys.webhooks, numbers.whole(now + args.lease_ms), event_id) end
return taken
