-- Heals what no frame or drain would notice. Returns the bells to ring.
local model, lease_us, claim_us = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local RETIRE_AFTER_CLAIMS = 10 -- a consumer silent for ten claim time-outs (5 minutes) is gone

forget_silent_workers()
recover(model, tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]))

local consumers = key("consumers", model)
local silent_since = digits(now - RETIRE_AFTER_CLAIMS * claim_us)
for _, consumer in ipairs(call("ZRANGEBYSCORE", consumers, "-inf", silent_since, "LIMIT", 0, 4)) do
  if delete_consumer(model, consumer) then
    call("ZREM", consumers, consumer)
  else
    call("ZADD", consumers, digits(now), consumer) -- still holds frames: look again later
  end
end
return attend(model, lease_us)
