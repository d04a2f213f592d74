-- Count a running attempt at a segment as dead; `error` (JSON) is the job's if that was one loss too many. Returns 1 if
-- the attempt ran.
local segments = require('segments')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
if not segments.holds(args.job_id, args.number, args.attempt) then return 0 end
moves.lose_segment(args.job_id, args.number, args.max_losses, args.retention_ms, args.error)
return 1
