-- Bells and blocked drains.
-- rung:MODEL  rung, not answered yet      held:MODEL  drains at work      both: token -> end of lease
-- idle:MODEL  drains blocked on their wake list                 woken:MODEL  pushed to, not yet claiming
-- busy:MODEL  consumer -> when its batch began

local SLOW_BATCH_US = 20000 -- a drain busy for longer is not waited for while another slot is free
local WAKE_US = 100000 -- a woken drain that has not claimed by then is taken for dead

-- Learns how long batches take, from one consumer's batch that ended now.
local function finish_batch(model, consumer)
  local since = call("HGET", key("busy", model), consumer)
  if since then
    local totals = key("model", model)
    local took = now - tonumber(since)
    local before = tonumber(call("HGET", totals, "batch_us") or took)
    call("HSET", totals, "batch_us", digits((3 * before + took) / 4))
    call("HDEL", key("busy", model), consumer)
  end
end

local function wake(model, consumer)
  local list = key("wake", model, consumer)
  call("RPUSH", list, 1)
  call("PEXPIRE", list, 10000)
  call("ZREM", key("idle", model), consumer)
  call("ZADD", key("woken", model), digits(now + WAKE_US), consumer)
end

local function alive(kind, model)
  return call("ZCOUNT", key(kind, model), "(" .. digits(now), "+inf")
end

-- Sees to it that the frames that wait are on somebody's way: wakes blocked drains, else decides how many
-- bells the caller must ring (already noted as rung). Run at the end of whatever adds frames or ends a drain.
local function attend(model, lease_us)
  local totals = call("HMGET", key("model", model), "waiting", "slots", "batch", "batch_us")
  local waiting, slots = number_or_zero(totals[1]), number_or_zero(totals[2])
  if waiting <= 0 then
    return 0
  end
  local batch = math.max(1, number_or_zero(totals[3]))
  local rung, coming = alive("rung", model), alive("woken", model)
  while coming * batch < waiting do
    local idle = call("ZREVRANGEBYSCORE", key("idle", model), "+inf", "(" .. digits(now), "LIMIT", 0, 1)[1]
    if not idle then
      break
    end
    wake(model, idle)
    coming = coming + 1
  end
  -- Without a known worker one message waits for the first to come; more would only pile up.
  if slots == 0 and call("EXISTS", key("rung", model)) == 1 then
    return 0
  end
  local active = alive("held", model) + rung
  local bells = 0
  local all_in_long_batches = coming + rung == 0 and tonumber(totals[4] or SLOW_BATCH_US) >= SLOW_BATCH_US
  if active == 0 or (all_in_long_batches and active < slots) then
    bells = 1
  end
  while active + bells < slots and waiting > batch * (active + bells) do
    bells = bells + 1
  end
  if bells > 0 then
    local rung_bells, totals_key = key("rung", model), key("model", model)
    call("ZREMRANGEBYSCORE", rung_bells, "-inf", digits(now))
    for _ = 1, bells do
      call("ZADD", rung_bells, digits(now + lease_us), call("HINCRBY", totals_key, "bells", 1))
    end
  end
  return bells
end
