-- Returns why a new job of this owner would be refused (see lib/queue.lua), or ''. A request whose idempotency key made
-- a job before is answered with that job, so it is not refused.
local queue = require('queue')

local args = cjson.decode(ARGV[1])
if args.idem ~= '' and redis.call('EXISTS', args.idem) == 1 then return '' end
return queue.refusal(args.owner, args.max_queued, args.max_active, 1) or ''
