-- The clock of Redis. All times in the records come from it, so the clocks of the hosts need not agree.
local clock = {}

-- Return microseconds since the epoch.
function clock.now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Return milliseconds since the epoch.
function clock.now_ms() return math.floor(clock.now_us() / 1000) end

return clock
