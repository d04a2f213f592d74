-- Fail the whole job with the error (JSON) of an attempt at a segment. Returns 1 if this attempt failed the job, now or
-- by the same call before.
local job = require('job')
local segments = require('segments')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
local id, n = args.job_id, args.number
if not segments.holds(id, n, args.attempt) then
  return (segments.is_latest(id, n, args.attempt) and job.get(id, 'error') == args.error) and 1 or 0
end
moves.fail(id, args.error, args.retention_ms)
return 1
