-- Returns waiting jobs for which a message has to be sent, and marks them as sent now.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')

local ids = redis.call('ZRANGEBYSCORE', keys.sent, 0, 0, 'LIMIT', 0, 100)
for _, id in ipairs(ids) do redis.call('ZADD', keys.sent, 'XX', numbers.whole(clock.now_ms()), id) end
return ids
