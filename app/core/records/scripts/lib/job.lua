-- The hash of one job.
local keys = require('keys')

local job = {}

-- Return the text of a field, or false.
function job.get(id, name) return redis.call('HGET', keys.job .. id, name) end

-- Return the texts of several fields in one table, with false for each missing one.
function job.get_all(id, ...) return redis.call('HMGET', keys.job .. id, ...) end

-- Set fields: name, value, name, value, ...
function job.set(id, ...) redis.call('HSET', keys.job .. id, ...) end

function job.unset(id, ...) redis.call('HDEL', keys.job .. id, ...) end

-- Add to a field that holds an integer; return the sum.
function job.add(id, name, number) return redis.call('HINCRBY', keys.job .. id, name, number) end

-- Return whether this is the latest attempt, counted from 1.
function job.is_latest(id, attempt) return tonumber(job.get(id, 'attempt')) == attempt end

-- Return whether this attempt holds the lease of the running job. An older attempt finds another number, so it can no
-- longer change the job.
function job.holds(id, attempt)
  return job.get(id, 'status') == 'running' and job.is_latest(id, attempt) and redis.call('ZSCORE', keys.leases, id)
end

return job
