-- Places in the order in which claims will take the waiting jobs.
local keys = require('keys')
local job = require('job')

local places = {}

-- Return the place of each job, from 1; 0 for a job that does not wait.
--
-- When the `ahead` jobs of the owner before this one were taken, every other owner has had `ahead` turns as well, and
-- one more if its next turn comes before the owner's.
function places.of(job_ids)
  local turns = redis.call('ZRANGE', keys.turns, 0, -1, 'WITHSCORES')
  local waiting, turn = {}, {}
  for i = 1, #turns, 2 do
    waiting[turns[i]] = redis.call('ZCARD', keys.queue .. turns[i])
    turn[turns[i]] = tonumber(turns[i + 1])
  end
  local found = {}
  for i, id in ipairs(job_ids) do
    local owner = job.get(id, 'owner')
    local ahead = owner and redis.call('ZRANK', keys.queue .. owner, id)
    found[i] = 0
    if ahead then
      found[i] = ahead + 1
      for other, count in pairs(waiting) do
        if other ~= owner then
          local first = turn[other] < turn[owner] and 1 or 0
          found[i] = found[i] + math.min(count, ahead + first)
        end
      end
    end
  end
  return found
end

return places
