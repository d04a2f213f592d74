-- Returns uploads whose files have to be removed now, and forgets them.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')

local ids = redis.call('ZRANGEBYSCORE', keys.uploads, '-inf', numbers.whole(clock.now_ms()), 'LIMIT', 0, 100)
for _, id in ipairs(ids) do redis.call('ZREM', keys.uploads, id) end
return ids
