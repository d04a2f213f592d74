-- Take one call from the bucket of an API key, which holds the calls of a minute and fills evenly. Returns 0, or the
-- milliseconds until the next call is allowed.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')

local args = cjson.decode(ARGV[1])
local key, rate = keys.rate .. args.key_id, args.rate_per_min
local now = clock.now_ms()
local bucket = redis.call('HMGET', key, 'calls', 'at')
local calls = rate
if bucket[1] then calls = math.min(rate, tonumber(bucket[1]) + (now - tonumber(bucket[2])) * rate / 60000) end
if calls < 1 then return -math.floor(-(1 - calls) * 60000 / rate) end
redis.call('HSET', key, 'calls', string.format('%.6f', calls - 1), 'at', numbers.whole(now))
redis.call('PEXPIRE', key, 60000)
return 0
