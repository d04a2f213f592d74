-- Returns the place of each job in the order in which claims will take them, from 1; 0 for a job that does not wait.
local places = require('places')

local args = cjson.decode(ARGV[1])
return places.of(args.job_ids)
