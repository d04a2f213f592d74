-- Save a batch and all its jobs, or nothing. Returns an outcome and the id of the batch, as `create` does for a job.
-- Each of `jobs` is the facts of one job as JSON (see lib/creation.lua).
local keys = require('keys')
local job = require('job')
local creation = require('creation')
local queue = require('queue')
local batches = require('batches')

local args = cjson.decode(ARGV[1])
if redis.call('EXISTS', keys.batch .. args.batch_id) == 1 then return {'created', args.batch_id} end
local outcome, made = creation.made_before(args.idem, args.fingerprint)
if outcome then return {outcome, made} end
local refused = queue.refusal(args.owner, args.max_queued, args.max_active, #args.jobs)
if refused then return {refused, ''} end
local ids = {}
for number, text in ipairs(args.jobs) do
  local facts = cjson.decode(text)
  creation.add(args.owner, facts, args.retention_ms, false)
  job.set(facts.job_id, 'batch', args.batch_id)
  ids[number] = facts.job_id
end
batches.begin(args.batch_id, args.owner, ids, args.webhook)
creation.bind(args.idem, args.batch_id, args.fingerprint, args.retention_ms)
return {'created', args.batch_id}
