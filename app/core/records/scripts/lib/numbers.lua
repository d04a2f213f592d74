local numbers = {}

-- Return an integer as decimal digits: Lua's own conversion writes large numbers as 1.7e+15.
function numbers.whole(number) return string.format('%.0f', number) end

return numbers
