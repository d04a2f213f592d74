-- Webhooks that wait to be sent. Each tells of one end of one subject, a job or a batch. Its id never changes, so that a
-- receiver can recognise a repeat.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')

local webhooks = {}

-- Let a webhook wait: its id, its type (`job.failed`, ...), the subject, the owner of the subject and the address.
function webhooks.add(event_id, kind, subject, owner, url)
  local now = numbers.whole(clock.now_ms())
  redis.call('HSET', keys.webhook .. event_id, 'kind', kind, 'subject', subject, 'owner', owner, 'url', url,
    'happened_at', now, 'tries', 0)
  redis.call('ZADD', keys.webhooks, now, event_id)
  redis.call('RPUSH', keys.webhook_turn .. subject, event_id)
end

-- Return whether all earlier webhooks of the same subject have been sent or given up.
function webhooks.has_turn(event_id)
  local subject = redis.call('HGET', keys.webhook .. event_id, 'subject')
  return subject and redis.call('LINDEX', keys.webhook_turn .. subject, 0) == event_id
end

-- Remove a webhook from those that wait to be sent. Returns whether it waited.
function webhooks.leave(event_id)
  if redis.call('ZREM', keys.webhooks, event_id) == 0 then return false end
  redis.call('LREM', keys.webhook_turn .. redis.call('HGET', keys.webhook .. event_id, 'subject'), 1, event_id)
  return true
end

return webhooks
