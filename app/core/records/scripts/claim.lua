-- Take the job whose turn it is, under a lease. Returns its id and the number of the attempt, or nothing when no job
-- waits. `claim` is a random text: the same claim sent twice, because an answer was lost, is one claim.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local events = require('events')
local queue = require('queue')

local args = cjson.decode(ARGV[1])
local earlier = redis.call('GET', keys.claim .. args.claim)
if earlier then
  local fields = job.get_all(earlier, 'status', 'claim', 'attempt')
  if fields[1] == 'running' and fields[2] == args.claim then return {earlier, fields[3]} end
  return {}
end
local owner = redis.call('ZRANGE', keys.turns, 0, 0)[1]
if not owner then return {} end

local id = redis.call('ZRANGE', keys.queue .. owner, 0, 0)[1]
local time = clock.now_ms()
queue.leave(id)
if redis.call('ZSCORE', keys.turns, owner) then queue.move_owner_last(owner) end
local attempt = job.add(id, 'attempt', 1)
job.set(id, 'status', 'running', 'worker', args.worker, 'claim', args.claim, 'started_at', numbers.whole(time))
redis.call('ZADD', keys.leases, numbers.whole(time + args.lease_ms), id)
redis.call('SET', keys.claim .. args.claim, id, 'PX', numbers.whole(args.lease_ms))
events.add(id, 'status', 'status', 'running')
return {id, numbers.whole(attempt)}
