-- Count a running attempt as dead; `error` (JSON) is the job's if that was one loss too many. Returns 1 if it ran.
local job = require('job')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
if not job.holds(args.job_id, args.attempt) then return 0 end
moves.lose(args.job_id, args.max_losses, args.retention_ms, args.error)
return 1
