-- Count a failed try of a webhook. It is due again after the next of `pauses_ms`, but not before `least_ms`; after the
-- last it is put aside until it is sent again on request or `kept_ms` have passed. Returns the milliseconds until it is
-- due again, 0 if it was put aside, or -1 if it no longer waited.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local webhooks = require('webhooks')

local args = cjson.decode(ARGV[1])
local key = keys.webhook .. args.event_id
if not redis.call('ZSCORE', keys.webhooks, args.event_id) then return -1 end
local now = clock.now_ms()
local tries = redis.call('HINCRBY', key, 'tries', 1)
redis.call('HSET', key, 'answer', args.answer, 'tried_at', numbers.whole(now))
local pause_ms = args.pauses_ms[tries]
if pause_ms then
  local wait_ms = math.max(tonumber(pause_ms), args.least_ms)
  redis.call('ZADD', keys.webhooks, numbers.whole(now + wait_ms), args.event_id)
  return wait_ms
end
webhooks.leave(args.event_id)
redis.call('PEXPIRE', key, numbers.whole(args.kept_ms))
local failed = keys.failed_webhooks .. redis.call('HGET', key, 'owner')
redis.call('ZADD', failed, numbers.whole(now), args.event_id)
-- Lasts as long as the longest of them: webhooks that were put aside when they were kept for longer end later.
if redis.call('PTTL', failed) < args.kept_ms then redis.call('PEXPIRE', failed, numbers.whole(args.kept_ms)) end
return 0
