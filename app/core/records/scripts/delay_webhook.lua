-- Count a failed try of a webhook. It is due again after the next of `pauses_ms`, but not before `least_ms`; after the
-- last it is put aside until it is sent again on request or `kept_ms` have passed. Returns 1 if it was put aside, or 0.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local webhooks = require('webhooks')

local args = cjson.decode(ARGV[1])
local key = keys.webhook .. args.event_id
if not redis.call('ZSCORE', keys.webhooks, args.event_id) then return 0 end
local now = clock.now_ms()
local tries = redis.call('HINCRBY', key, 'tries', 1)
redis.call('HSET', key, 'answer', args.answer, 'tried_at', numbers.whole(now))
local pause_ms = args.pauses_ms[tries]
if pause_ms then
  redis.call('ZADD', keys.webhooks, numbers.whole(now + math.max(tonumber(pause_ms), args.least_ms)), args.event_id)
  return 0
end
webhooks.leave(args.event_id)
redis.call('PEXPIRE', key, numbers.whole(args.kept_ms))
redis.call('ZADD', keys.failed_webhooks .. redis.call('HGET', key, 'owner'), numbers.whole(now), args.event_id)
return 1
