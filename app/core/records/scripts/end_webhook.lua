-- Forget a webhook that was received. Returns 1, or 0 if it no longer waited.
local keys = require('keys')
local webhooks = require('webhooks')

local args = cjson.decode(ARGV[1])
if not webhooks.leave(args.event_id) then return 0 end
redis.call('DEL', keys.webhook .. args.event_id)
return 1
