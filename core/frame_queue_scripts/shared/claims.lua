-- Frames in workers' hands: who holds them, how they come back, and where those end that never work.

-- Delivered entries of a range, {id, consumer, idle, deliveries} each; none if the stream was deleted by hand.
local function pending(camera, model, from, to, ...)
  local answer = redis.pcall("XPENDING", key("frames", camera, model), GROUP, from, to, ...)
  return answer.err and {} or answer
end

-- Consumer and delivery number of a held or returned entry; nil if it was settled.
local function holder(camera, model, id)
  local entry = pending(camera, model, id, id, 1)[1]
  if entry then
    return entry[2], entry[4]
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
    call("XACK", frames, GROUP, id)
    call("ZREM", key("deadlines", model), camera .. " " .. id)
    write_off(camera, model, 1)
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
      call("XDEL", key("frames", camera, model), id)
      write_off(camera, model, 1)
    elseif deliveries >= most_deliveries then
      local text = "worker died or hung while it held the frame (" .. deliveries .. " deliveries)"
      bury(camera, model, id, deliveries, text, dead_most_frames, dead_most_bytes)
    else
      give_back(camera, model, id)
    end
  end
end


-- Deletes a consumer that holds nothing from every camera's group. False if it holds something somewhere.
local function delete_consumer(model, consumer)
  local all_deleted = true
  for _, camera in ipairs(call("SMEMBERS", key("cameras-of", model))) do
    if #pending(camera, model, "-", "+", 1, consumer) == 0 then
      redis.pcall("XGROUP", "DELCONSUMER", key("frames", camera, model), GROUP, consumer)
    else
      all_deleted = false
    end
  end
  call("HDEL", key("busy", model), consumer)
  call("ZREM", key("idle", model), consumer)
  call("ZREM", key("woken", model), consumer)
  return all_deleted
end
