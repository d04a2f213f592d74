-- Returns two lists: for each job all its fields (name, text, name, text, ...), and its place in the queue, 0 for a job
-- that does not wait.
local keys = require('keys')
local places = require('places')

local args = cjson.decode(ARGV[1])
local records = {}
for i, id in ipairs(args.job_ids) do records[i] = redis.call('HGETALL', keys.job .. id) end
return {records, places.of(args.job_ids)}
