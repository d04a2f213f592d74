-- The stream of one job: what happened to it, for the processes that follow the job.
local keys = require('keys')
local job = require('job')

local MOST_EVENTS = 100

local events = {}

-- Add an event with its fields (name, value, ...); return its id. The job remembers its newest event.
function events.add(id, event, ...)
  local event_id = redis.call(
    'XADD', keys.events .. id, 'MAXLEN', MOST_EVENTS, '*', 'event', event, 'attempt', job.get(id, 'attempt'), ...
  )
  job.set(id, 'event', event_id)
  return event_id
end

-- Add the progress of the job, and remove the progress event before it: only the latest is kept.
function events.add_progress(id)
  local fields = job.get_all(id, 'stage', 'progress', 'progress_event')
  local stage, progress, previous = fields[1], fields[2], fields[3]
  if previous then redis.call('XDEL', keys.events .. id, previous) end
  local event_id = events.add(id, 'progress', 'stage', stage or '', 'progress', progress or '{}')
  job.set(id, 'progress_event', event_id)
end

return events
