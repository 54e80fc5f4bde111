-- Live workers, and what they can take.

-- Sums up the slots of the workers that serve a model; the smallest of their batch sizes counts.
local function refresh_slots(model)
  local slots, batch = 0, nil
  for _, text in ipairs(call("HVALS", key("workers"))) do
    local beat = cjson.decode(text)
    local serves = #beat.models == 0
    for _, name in ipairs(beat.models) do
      serves = serves or name == model
    end
    if serves then
      slots = slots + beat.slots
      batch = math.min(batch or beat.batch_size, beat.batch_size)
    end
  end
  call("HSET", key("model", model), "slots", slots, "batch", batch or 1)
end

local function refresh_all_slots()
  for _, model in ipairs(call("SMEMBERS", key("models"))) do
    refresh_slots(model)
  end
end

local function forget_silent_workers()
  local ends = key("worker-ends")
  local silent = call("ZRANGEBYSCORE", ends, "-inf", digits(now))
  for _, worker in ipairs(silent) do
    call("HDEL", key("workers"), worker)
    call("ZREM", ends, worker)
  end
  if #silent > 0 then
    refresh_all_slots()
  end
end
