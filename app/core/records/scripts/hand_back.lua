-- Let a running job be claimed again, with nothing counted against it. Returns 1 if this attempt gave it back.
local job = require('job')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
if not job.holds(args.job_id, args.attempt) then return 0 end
if job.get(args.job_id, 'cancel') then return 0 end
moves.hand_back(args.job_id)
return 1
