-- Returns the fields that a call is checked against: 'yes' or 'no' (there is such a key), digest, former, former_until,
-- doc. What a key lacks is taken from `decoy`, so that an unknown key costs the caller the same work as a known one.
local keys = require('keys')

local args = cjson.decode(ARGV[1])
local fields = redis.call('HMGET', keys.api_key .. args.key_id, 'digest', 'former', 'former_until', 'doc')
local found = {fields[4] and 'yes' or 'no'}
for place, decoy in ipairs(args.decoy) do found[place + 1] = fields[place] or decoy end
return found
