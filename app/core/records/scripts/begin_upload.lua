-- Save an upload of `bytes` bytes that lasts `lasts_ms`. Returns the time at which it expires, or 0 if the owner would
-- have more than `most` uploads or more than `most_bytes` bytes in them.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')

local args = cjson.decode(ARGV[1])
local now, own = clock.now_ms(), keys.uploads_of .. args.owner
redis.call('ZREMRANGEBYSCORE', own, '-inf', numbers.whole(now))
local ids, bytes = redis.call('ZRANGE', own, 0, -1), args.bytes
for _, id in ipairs(ids) do bytes = bytes + tonumber(redis.call('HGET', keys.upload .. id, 'bytes') or 0) end
if #ids >= args.most or bytes > args.most_bytes then return 0 end
local expires_at, key = now + args.lasts_ms, keys.upload .. args.upload_id
local expires = numbers.whole(expires_at)
redis.call('HSET', key, 'owner', args.owner, 'bytes', numbers.whole(args.bytes), 'expires_at', expires)
redis.call('PEXPIREAT', key, expires)
redis.call('ZADD', own, expires, args.upload_id)
redis.call('PEXPIREAT', own, expires)
redis.call('ZADD', keys.uploads, expires, args.upload_id)
return expires_at
