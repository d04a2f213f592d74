-- End a job with a status and further fields. Returns 1 if this attempt ended the job, now or by the same call before.
local job = require('job')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
local id = args.job_id
if not job.holds(id, args.attempt) then
  return (job.is_latest(id, args.attempt) and job.get(id, 'status') == args.status) and 1 or 0
end
for name, value in pairs(args.fields) do job.set(id, name, value) end
moves.finish(id, args.status, args.retention_ms)
return 1
