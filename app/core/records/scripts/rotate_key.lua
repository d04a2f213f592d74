-- Give an API key a new secret; the one before it works for `overlap_s` seconds more. Returns 1, or 0 if there is no
-- such key.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')

local args = cjson.decode(ARGV[1])
local key = keys.api_key .. args.key_id
local former = redis.call('HGET', key, 'digest')
if not former then return 0 end
local until_s = math.floor(clock.now_ms() / 1000) + args.overlap_s
redis.call('HSET', key, 'digest', args.digest, 'former', former, 'former_until', numbers.whole(until_s))
return 1
