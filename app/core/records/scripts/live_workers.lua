-- Returns the facts of each live worker, and forgets all others.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')

for _, name in ipairs(redis.call('ZRANGEBYSCORE', keys.workers, '-inf', numbers.whole(clock.now_ms()))) do
  redis.call('ZREM', keys.workers, name)
  redis.call('HDEL', keys.worker_facts, name)
end
return redis.call('HVALS', keys.worker_facts)
