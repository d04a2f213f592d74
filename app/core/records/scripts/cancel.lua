-- End a job that waits or is done in segments; ask the worker of another running one to stop. Returns the status after
-- it, or '' for no such job.
local keys = require('keys')
local job = require('job')
local moves = require('moves')

local args = cjson.decode(ARGV[1])
local id = args.job_id
local status = job.get(id, 'status')
if status == 'queued' or redis.call('ZSCORE', keys.split, id) then
  moves.finish(id, 'canceled', args.retention_ms)
  return 'canceled'
end
if status == 'running' then job.set(id, 'cancel', 1) end
return status or ''
