-- Mark a segment as done; the last one makes the join due. Returns 1 if this attempt did the segment, now or by the
-- same call before.
local keys = require('keys')
local segments = require('segments')

local args = cjson.decode(ARGV[1])
local id, n = args.job_id, args.number
if not segments.holds(id, n, args.attempt) then
  return (segments.get(id, n .. ':state') == 'done' and segments.is_latest(id, n, args.attempt)) and 1 or 0
end
redis.call('ZREM', keys.segment_leases, segments.unit(id, n))
segments.set(id, n .. ':state', 'done')
segments.count_frames(id, n, args.frames)
segments.publish_progress(id)
if segments.add(id, 'done', 1) == segments.count(id) then segments.make_join_due(id) end
return 1
