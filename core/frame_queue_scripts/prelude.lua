-- Put before every script: key names, the clock, and the moves that keep frames, counters and bells in step.
-- KEYS[1] is the namespace in braces. docs/frame-queue.md lists the keys.

local call = redis.call
local GROUP = "workers"
local SLOW_BATCH_US = 20000 -- a drain busy for longer is not waited for while another slot is free
local WAKE_US = 100000 -- a woken drain that has not claimed by then is taken for dead
local LEDGER_MINUTES_KEPT_S = 7 * 24 * 3600 -- when nobody copies them to SQL

local function key(kind, ...)
  return table.concat({ KEYS[1], kind, ... }, ":")
end

local time = call("TIME")
local now = tonumber(time[1]) * 1000000 + tonumber(time[2]) -- microseconds: exact in a double until 2255

-- Lua's own tostring keeps 14 digits only.
local function digits(number)
  return string.format("%.0f", number)
end

local function number_or_zero(text)
  return tonumber(text or 0) or 0
end

---- the ledger -------------------------------------------------------------------------------------------

local function count(camera, column, number)
  call("HINCRBY", key("ledger", camera), column, number)
  local minute = math.floor(now / 60000000)
  local of_minute = key("minute", digits(minute))
  if call("HINCRBY", of_minute, camera .. "|" .. column, number) == number then -- its first in this minute
    call("ZADD", key("minutes"), minute, digits(minute))
    call("EXPIRE", of_minute, LEDGER_MINUTES_KEPT_S)
    call("SADD", key("cameras"), camera)
  end
end

---- workers ----------------------------------------------------------------------------------------------

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

---- one camera's queue of one model ----------------------------------------------------------------------
-- frames:CAMERA:MODEL   the stream; its length is the number in flight
-- returned:CAMERA:MODEL entries delivered before that wait again, by age
-- queue:CAMERA:MODEL    waiting (entries in nobody's hands), bytes, delivered (last id read), last (published)
-- live                  CAMERA:MODEL by bytes, of those whose frames may be dropped to make room

local function ensure_queue(camera, model)
  if call("SADD", key("cameras-of", model), camera) == 1 then
    if call("SADD", key("models"), model) == 1 then
      refresh_slots(model)
    end
    call("SADD", key("models-of", camera), model)
    call("SADD", key("cameras"), camera)
    call("XGROUP", "CREATE", key("frames", camera, model), GROUP, "0", "MKSTREAM")
  end
end

-- Changes how many entries wait; a camera stands in the ring of ready cameras exactly while some do.
local function add_waiting(camera, model, number)
  if number == 0 then
    return
  end
  call("HINCRBY", key("model", model), "waiting", number)
  local waiting = call("HINCRBY", key("queue", camera, model), "waiting", number)
  if waiting <= 0 then
    call("ZREM", key("ready", model), camera)
  elseif waiting == number then
    call("ZADD", key("ready", model), call("HINCRBY", key("model", model), "turn", 1), camera)
  end
end

local function add_bytes(camera, model, number)
  if number == 0 then -- Redis does not take Lua's "-0" for an integer
    return
  end
  call("HINCRBY", key("queue", camera, model), "bytes", number)
  call("INCRBY", key("bytes"), number)
  call("ZADD", key("live"), "XX", "INCR", number, camera .. ":" .. model)
end

-- Wakes publishers that wait for room on this camera, or for room at all.
local function make_room(camera, model)
  local publishers = key("publishers")
  local waiting = call("HGETALL", publishers)
  for i = 1, #waiting, 2 do
    if waiting[i + 1] == "*" or waiting[i + 1] == camera .. ":" .. model then
      local room = key("room", waiting[i])
      call("RPUSH", room, 1)
      call("PEXPIRE", room, 10000)
      call("HDEL", publishers, waiting[i])
    end
  end
end

-- Takes a delivered entry out for good. False if another did so before: then it must not be counted again.
local function remove(camera, model, id, size)
  local frames = key("frames", camera, model)
  if call("XACK", frames, GROUP, id) == 0 then
    return false
  end
  call("XDEL", frames, id)
  add_bytes(camera, model, -size)
  if call("ZREM", key("deadlines", model), camera .. " " .. id) == 0 then
    -- Its holder was given up and the entry waited for another: the holder was only late.
    if call("ZREM", key("returned", camera, model), id) == 1 then
      add_waiting(camera, model, -1)
    end
  end
  return true
end

-- Drops the oldest entry that is in nobody's hands. False if there is none.
local function drop_oldest_waiting(camera, model)
  local frames, returned = key("frames", camera, model), key("returned", camera, model)
  local id = call("ZRANGE", returned, 0, 0)[1]
  local entry
  if id then
    entry = call("XRANGE", frames, id, id)[1]
    call("ZREM", returned, id)
    call("XACK", frames, GROUP, id)
  else
    local delivered = call("HGET", key("queue", camera, model), "delivered") or "0-0"
    entry = call("XRANGE", frames, "(" .. delivered, "+", "COUNT", 1)[1]
  end
  if not entry then
    return false
  end
  call("XDEL", frames, entry[1])
  add_bytes(camera, model, -#entry[2][4])
  add_waiting(camera, model, -1)
  count(camera, "queue_full", 1)
  return true
end

---- claims -----------------------------------------------------------------------------------------------

-- Consumer and delivery number of a held or returned entry; nil if it was settled.
local function holder(camera, model, id)
  local pending = call("XPENDING", key("frames", camera, model), GROUP, id, id, 1)[1]
  if pending then
    return pending[2], pending[4]
  end
end

-- True if exactly this delivery of the entry is in its consumer's hands now.
local function holds(camera, model, id, consumer, delivery)
  local by, deliveries = holder(camera, model, id)
  return by == consumer
    and deliveries == delivery
    and call("ZSCORE", key("deadlines", model), camera .. " " .. id) ~= false
end

local function give_back(camera, model, id)
  call("ZREM", key("deadlines", model), camera .. " " .. id)
  call("ZADD", key("returned", camera, model), string.match(id, "^%d+"), id)
  add_waiting(camera, model, 1)
end

-- Moves a held entry to the dead letters, which have bounds of their own: the oldest make room.
local function bury(camera, model, id, deliveries, error_text, most_frames, most_bytes)
  local frames, dead, totals = key("frames", camera, model), key("dead", model), key("model", model)
  local entry = call("XRANGE", frames, id, id)[1]
  if not entry then
    return
  end
  local header, jpeg = entry[2][2], entry[2][4]
  remove(camera, model, id, #jpeg)
  count(camera, "failed", 1)
  call("XADD", dead, "*", "camera", camera, "header", header, "jpeg", jpeg,
    "error", error_text, "deliveries", deliveries, "failed", digits(now))
  local bytes = call("HINCRBY", totals, "dead_bytes", #jpeg)
  while bytes > most_bytes or call("XLEN", dead) > most_frames do
    local oldest = call("XRANGE", dead, "-", "+", "COUNT", 1)[1]
    if not oldest then
      break
    end
    call("XDEL", dead, oldest[1])
    bytes = call("HINCRBY", totals, "dead_bytes", 0 - #oldest[2][6])
    call("HINCRBY", totals, "dead_discarded", 1)
  end
  make_room(camera, model)
end

-- Gives back the entries whose holders let their claims time out; costs nothing for all others.
local function recover(model, most_deliveries, dead_most_frames, dead_most_bytes)
  local deadlines = key("deadlines", model)
  local overdue = call("ZRANGEBYSCORE", deadlines, "-inf", digits(now), "LIMIT", 0, 64)
  for _, member in ipairs(overdue) do
    local camera, id = string.match(member, "^(%S+) (%S+)$")
    local _, deliveries = holder(camera, model, id)
    if not deliveries then
      call("ZREM", deadlines, member)
    elseif deliveries >= most_deliveries then
      local text = "worker died or hung while it held the frame (" .. deliveries .. " deliveries)"
      bury(camera, model, id, deliveries, text, dead_most_frames, dead_most_bytes)
    else
      give_back(camera, model, id)
    end
  end
end

---- bells ------------------------------------------------------------------------------------------------
-- rung:MODEL  rung, not answered yet      held:MODEL  drains at work      both: token -> end of lease
-- idle:MODEL  drains blocked on their wake list                 woken:MODEL  pushed to, not yet claiming
-- busy:MODEL  consumer -> when its batch began

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

---- consumers --------------------------------------------------------------------------------------------

-- Deletes a consumer that holds nothing from every camera's group. False if it holds something somewhere.
local function delete_consumer(model, consumer)
  local all_deleted = true
  for _, camera in ipairs(call("SMEMBERS", key("cameras-of", model))) do
    local frames = key("frames", camera, model)
    if #call("XPENDING", frames, GROUP, "-", "+", 1, consumer) == 0 then
      call("XGROUP", "DELCONSUMER", frames, GROUP, consumer)
    else
      all_deleted = false
    end
  end
  call("HDEL", key("busy", model), consumer)
  call("ZREM", key("idle", model), consumer)
  call("ZREM", key("woken", model), consumer)
  return all_deleted
end

---- the script ------------------------------------------------------------------------------------------
