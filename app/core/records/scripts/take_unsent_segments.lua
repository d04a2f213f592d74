-- Returns units (<id>.<n>, <id>.join) for which a message has to be sent, and marks them as sent now.
--
-- Owners share the workers. Only a few messages are sent ahead: two per worker and four more, which keep every worker
-- busy until the next call. Each next message is for the owner with the fewest units sent or running. So the long job
-- of one owner waits behind a few segments of the others, not behind all of them.
local keys = require('keys')
local clock = require('clock')
local numbers = require('numbers')
local job = require('job')
local segments = require('segments')

local time = numbers.whole(clock.now_ms())
local sent = redis.call('ZRANGEBYSCORE', keys.segment_sent, '(0', '+inf')
local wanted = 2 * redis.call('ZCOUNT', keys.workers, time, '+inf') + 4 - #sent
if wanted <= 0 then return {} end

local load = {} -- units sent or running, by owner
local function count(unit)
  local id = segments.parse(unit)
  local owner = job.get(id, 'owner')
  if owner then load[owner] = (load[owner] or 0) + 1 end
end
for _, unit in ipairs(sent) do count(unit) end
for _, unit in ipairs(redis.call('ZRANGE', keys.segment_leases, 0, -1)) do count(unit) end

local owners, jobs = {}, {} -- the split jobs of each owner, the oldest first
for _, id in ipairs(redis.call('ZRANGE', keys.split, 0, -1)) do
  local owner = job.get(id, 'owner')
  if not jobs[owner] then
    jobs[owner] = {}
    owners[#owners + 1] = owner
  end
  table.insert(jobs[owner], {id = id, n = 0, segments = segments.count(id)})
end

local function is_unsent(unit) return tonumber(redis.call('ZSCORE', keys.segment_sent, unit) or 1) == 0 end

local function next_unit(owner)
  while jobs[owner][1] do
    local split = jobs[owner][1]
    while split.n <= split.segments do
      local unit = split.n == split.segments and segments.join_unit(split.id) or segments.unit(split.id, split.n)
      split.n = split.n + 1
      if is_unsent(unit) then return unit end
    end
    table.remove(jobs[owner], 1)
  end
end

local function least_loaded()
  local least
  for _, owner in ipairs(owners) do
    if jobs[owner][1] and (not least or (load[owner] or 0) < (load[least] or 0)) then least = owner end
  end
  return least
end

local taken = {}
while #taken < wanted do
  local owner = least_loaded()
  if not owner then break end
  local unit = next_unit(owner)
  if unit then
    redis.call('ZADD', keys.segment_sent, 'XX', time, unit)
    load[owner] = (load[owner] or 0) + 1
    taken[#taken + 1] = unit
  end
end
return taken
