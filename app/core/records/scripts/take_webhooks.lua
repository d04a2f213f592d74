-- Returns the ids of webhooks that are due and lends each to the caller: it is due again after `lease_ms`, unless the
-- caller says before that what became of it. A webhook waits until all earlier ones of its subject are done.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local webhooks = require('webhooks')

local args = cjson.decode(ARGV[1])
local now = clock.now_ms()
local taken = {}
for _, event_id in ipairs(redis.call('ZRANGEBYSCORE', keys.webhooks, '-inf', numbers.whole(now), 'LIMIT', 0, 500)) do
  if #taken == args.limit then break end
  if webhooks.has_turn(event_id) then
    redis.call('ZADD', keys.webhooks, numbers.whole(now + args.lease_ms), event_id)
    taken[#taken + 1] = event_id
  end
end
return taken
