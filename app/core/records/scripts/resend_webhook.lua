-- Let a webhook that was put aside wait again, with all tries before it. Returns 1, or 0 if this owner has no such one.
local keys = require('keys')
local webhooks = require('webhooks')

local args = cjson.decode(ARGV[1])
local key = keys.webhook .. args.event_id
if redis.call('ZREM', keys.failed_webhooks .. args.owner, args.event_id) == 0 then return 0 end
local subject = redis.call('HGET', key, 'subject')
if not subject then return 0 end
redis.call('PERSIST', key)
redis.call('HSET', key, 'tries', 0)
webhooks.enter(args.event_id, subject)
return 1
