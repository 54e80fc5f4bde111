-- Turns a rung bell into a held one. Returns 0 when the drain is not needed.
local model, token, lease_us = ARGV[1], ARGV[2], tonumber(ARGV[3])
local held = key("held", model)
call("ZREMRANGEBYSCORE", held, "-inf", digits(now))
local called = #call("ZPOPMIN", key("rung", model)) > 0
local totals = call("HMGET", key("model", model), "waiting", "slots")
local waiting, most, drains = number_or_zero(totals[1]), math.max(1, number_or_zero(totals[2])), call("ZCARD", held)
if waiting <= 0 and drains > 0 then
  return 0 -- those who drain already have taken what it was rung for
end
if not called and (waiting <= 0 or drains >= most) then
  return 0 -- a late message, whose bell expired and was rung again
end
call("ZADD", held, digits(now + lease_us), token)
return 1
