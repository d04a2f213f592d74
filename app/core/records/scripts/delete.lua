-- Forget a job in whatever state. Returns the status it had, or ''.
local job = require('job')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
local status = job.get(args.job_id, 'status')
if status then moves.forget(args.job_id, args.retention_ms) end
return status or ''
