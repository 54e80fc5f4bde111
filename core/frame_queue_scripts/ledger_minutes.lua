-- Counts per minute, oldest first: {minute, {camera|column, count, ...}} each.
local found = {}
for _, minute in ipairs(call("ZRANGE", key("minutes"), 0, -1)) do
  found[#found + 1] = { minute, call("HGETALL", key("minute", minute)) }
end
return found
