-- Live workers: {beat, last seen} each.
local timeout_us, found = tonumber(ARGV[1]), {}
local ends = call("ZRANGEBYSCORE", key("worker-ends"), "(" .. digits(now), "+inf", "WITHSCORES")
for i = 1, #ends, 2 do
  local beat = call("HGET", key("workers"), ends[i])
  if beat then
    found[#found + 1] = { beat, digits(tonumber(ends[i + 1]) - timeout_us) }
  end
end
return found
