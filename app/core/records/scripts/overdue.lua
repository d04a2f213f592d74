-- Returns the waiting jobs whose message was sent longer ago than `older_than_ms`, the oldest first.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')

local args = cjson.decode(ARGV[1])
return redis.call('ZRANGEBYSCORE', keys.sent, 1, numbers.whole(clock.now_ms() - args.older_than_ms))
