-- Save a new queued job. Returns an outcome and the id of the job:
-- `created`; `replayed` or `conflict` (see lib/creation.lua); `busy` or `full` (see lib/queue.lua).
local keys = require('keys')
local job = require('job')
local creation = require('creation')
local queue = require('queue')

local args = cjson.decode(ARGV[1])
if redis.call('EXISTS', keys.job .. args.job_id) == 1 then return {'created', args.job_id} end
local outcome, made = creation.made_before(args.idem, args.fingerprint)
if outcome then return {outcome, made} end
local refused = queue.refusal(args.owner, args.max_queued, args.max_active, 1)
if refused then return {refused, ''} end
local facts = {job_id = args.job_id, doc = args.doc, lead_ms = args.lead_ms, webhook = args.webhook}
creation.add(args.owner, facts, args.retention_ms, true)
creation.bind(args.idem, args.job_id, args.fingerprint, args.retention_ms)
if args.idem ~= '' then job.set(args.job_id, 'idem', args.idem) end
return {'created', args.job_id}
