-- The segments of a split job.
--
-- A split job is running without a lease of its own; each segment has its lease and its attempts. The script that
-- finishes the last segment also makes the join due. The worker that claims the join holds the job's own lease, under
-- the job's own attempt. A script that ends the job also ends its segments: their next renewal is answered with `lost`.
local keys = require('keys')
local clock = require('clock')
local job = require('job')
local events = require('events')

local segments = {}

-- Return the name of a segment in the sorted sets.
function segments.unit(id, n) return id .. '.' .. n end

-- Return the name of the join in the sorted sets.
function segments.join_unit(id) return id .. '.join' end

-- Return the job and the segment (or `join`) that a unit names, both as text.
function segments.parse(unit) return string.match(unit, '^(.*)%.(.*)$') end

-- Return the text of a field, or false.
function segments.get(id, name) return redis.call('HGET', keys.segments .. id, name) end

-- Set fields: name, value, name, value, ...
function segments.set(id, ...) redis.call('HSET', keys.segments .. id, ...) end

-- Add to a field that holds an integer; return the sum.
function segments.add(id, name, number) return redis.call('HINCRBY', keys.segments .. id, name, number) end

-- Return into how many segments the job was split, 0 if it was not.
function segments.count(id) return tonumber(job.get(id, 'segments') or 0) end

-- Return whether the job is done in segments and its join was not claimed.
function segments.is_split(id) return job.get(id, 'status') == 'running' and redis.call('ZSCORE', keys.split, id) end

-- Return whether this is the latest attempt at the segment.
function segments.is_latest(id, n, attempt) return tonumber(segments.get(id, n .. ':attempt')) == attempt end

-- Return whether this attempt holds the lease of the segment.
function segments.holds(id, n, attempt)
  return segments.is_split(id) and segments.get(id, n .. ':state') == 'running' and segments.is_latest(id, n, attempt)
end

-- Set how many frames of the segment are done, and the sum over all segments with it.
function segments.count_frames(id, n, frames)
  segments.add(id, 'frames', frames - tonumber(segments.get(id, n .. ':frames') or 0))
  segments.set(id, n .. ':frames', frames)
end

-- Set the job's progress from its segments; the speed counts only frames that were done since the split.
function segments.publish_progress(id)
  local done, total = tonumber(segments.get(id, 'frames') or 0), tonumber(job.get(id, 'frames_total'))
  local seconds = math.max(clock.now_ms() - tonumber(job.get(id, 'split_at')), 1) / 1000
  local fps = math.max(done - tonumber(segments.get(id, 'base') or 0), 0) / seconds
  local eta_s = fps > 0 and math.floor((total - done) / fps * 10) / 10 or cjson.null
  job.set(id, 'progress', cjson.encode({
    percent = math.min(99.9, math.floor(1000 * done / total) / 10), frames_done = done, frames_total = total,
    fps = math.floor(fps * 100 + 0.5) / 100, eta_s = eta_s
  }))
  events.add_progress(id)
end

-- Let the segment be claimed (again), without the frames that were done of it.
function segments.wait_again(id, n)
  segments.count_frames(id, n, 0)
  segments.set(id, n .. ':state', 'waiting')
  redis.call('ZREM', keys.segment_leases, segments.unit(id, n))
  redis.call('ZADD', keys.segment_sent, 0, segments.unit(id, n))
end

-- Let the join be claimed.
function segments.make_join_due(id) redis.call('ZADD', keys.segment_sent, 0, segments.join_unit(id)) end

-- Take back all leases and messages of the job's segments. Their states stay, for a retry.
function segments.end_all(id)
  redis.call('ZREM', keys.split, id)
  redis.call('ZREM', keys.segment_sent, segments.join_unit(id))
  for n = 0, segments.count(id) - 1 do
    redis.call('ZREM', keys.segment_sent, segments.unit(id, n))
    redis.call('ZREM', keys.segment_leases, segments.unit(id, n))
  end
end

return segments
