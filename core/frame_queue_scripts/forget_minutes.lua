-- Forgets minutes that began before the given one; the current one is still counted in.
local before = math.min(tonumber(ARGV[1]), math.floor(now / 60000000))
for _, minute in ipairs(call("ZRANGEBYSCORE", key("minutes"), "-inf", "(" .. digits(before))) do
  call("DEL", key("minute", minute))
  call("ZREM", key("minutes"), minute)
end
