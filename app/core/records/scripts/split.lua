-- Give up the job's lease and let its segments be claimed, without those that are done already. `plan` is the attempt
-- that made the plan. Returns 1 if this attempt split the job, now or by the same call before.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local segments = require('segments')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
local id = args.job_id
if job.is_latest(id, args.attempt) and (segments.is_split(id) or job.get(id, 'joining')) then return 1 end
if not job.holds(id, args.attempt) then return 0 end
if job.get(id, 'cancel') then
  moves.finish(id, 'canceled', args.retention_ms)
  return 0
end
if tonumber(job.get(id, 'plan')) ~= args.plan then -- finished segments of another plan do not fit
  for n = 0, segments.count(id) - 1 do segments.wait_again(id, n) end
  segments.end_all(id)
end
redis.call('ZREM', keys.leases, id)
job.set(id, 'plan', args.plan, 'segments', args.segments, 'frames_total', args.frames,
  'split_at', numbers.whole(clock.now_ms()), 'stage', 'synthesize')
job.unset(id, 'ran_ms')
redis.call('ZADD', keys.split, job.get(id, 'started_at'), id)
local done = 0
for n = 0, args.segments - 1 do
  if segments.get(id, n .. ':state') == 'done' then
    done = done + 1
  else
    segments.set(id, n .. ':losses', 0)
    segments.wait_again(id, n)
  end
end
segments.set(id, 'done', done)
segments.set(id, 'base', segments.get(id, 'frames') or 0)
if done == args.segments then segments.make_join_due(id) end
segments.publish_progress(id)
return 1
