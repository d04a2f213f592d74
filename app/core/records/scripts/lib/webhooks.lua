-- Webhooks that wait to be sent. Each tells of one end of one subject, a job or a batch. Its id never changes, so
-- that a receiver can recognise a repeat. Only the first webhook of a subject has a time at which it is due: however
-- many wait behind it, they are no work for those who look for due ones.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')

local webhooks = {}

local function make_due(event_id) redis.call('ZADD', keys.webhooks, numbers.whole(clock.now_ms()), event_id) end

-- Let a webhook wait behind the earlier ones of its subject.
function webhooks.enter(event_id, subject)
  if redis.call('RPUSH', keys.webhook_turn .. subject, event_id) == 1 then make_due(event_id) end
end

-- Save a new webhook, which waits: its id, its type (`job.failed`, ...), the subject, the owner of the subject and the
-- address.
function webhooks.add(event_id, kind, subject, owner, url)
  redis.call('HSET', keys.webhook .. event_id, 'kind', kind, 'subject', subject, 'owner', owner, 'url', url,
    'happened_at', numbers.whole(clock.now_ms()), 'tries', 0)
  webhooks.enter(event_id, subject)
end

-- Remove a webhook from those that wait to be sent; the next one of its subject is due now. Returns whether it waited.
function webhooks.leave(event_id)
  if redis.call('ZREM', keys.webhooks, event_id) == 0 then return false end
  local turn = keys.webhook_turn .. redis.call('HGET', keys.webhook .. event_id, 'subject')
  redis.call('LREM', turn, 1, event_id)
  local following = redis.call('LINDEX', turn, 0)
  if following then make_due(following) end
  return true
end

return webhooks
