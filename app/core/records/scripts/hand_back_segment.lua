-- Let a running segment be claimed again, with nothing counted against it. Returns 1 if this attempt gave it back.
local segments = require('segments')

local args = cjson.decode(ARGV[1])
if not segments.holds(args.job_id, args.number, args.attempt) then return 0 end
segments.wait_again(args.job_id, args.number)
return 1
