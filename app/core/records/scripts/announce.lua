-- Record that a worker is alive, with its facts (JSON), for `live_ms`.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')

local args = cjson.decode(ARGV[1])
redis.call('ZADD', keys.workers, numbers.whole(clock.now_ms() + args.live_ms), args.worker)
redis.call('HSET', keys.worker_facts, args.worker, args.facts)
return 1
