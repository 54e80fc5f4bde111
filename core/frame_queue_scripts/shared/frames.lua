-- One camera's queue of one model, and the moves that keep its counters true.
-- frames:CAMERA:MODEL   the stream; its length is the number in flight
-- returned:CAMERA:MODEL entries delivered before that wait again, by age
-- queue:CAMERA:MODEL    waiting (entries in nobody's hands), bytes, delivered (last id read), kept (up to
--                       this id all unread entries were replayed), last (published)
-- live                  CAMERA:MODEL by bytes, of those whose frames may be dropped to make room

-- Whether the publisher's lease (core/camera_leases.py) has gone to another; one without lease asks nobody.
local function read_by_another(camera, lease)
  if lease == "" then
    return false
  end
  local current = call("HGET", key("leases"), camera)
  return current and current ~= lease
end

local function create_group(camera, model)
  call("XGROUP", "CREATE", key("frames", camera, model), GROUP, "0", "MKSTREAM")
end

local function ensure_queue(camera, model)
  if call("SADD", key("cameras-of", model), camera) == 1 then
    if call("SADD", key("models"), model) == 1 then
      refresh_slots(model)
    end
    call("SADD", key("models-of", camera), model)
    call("SADD", key("cameras"), camera)
    create_group(camera, model)
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

-- Frames that a person replayed never turn stale, and no other frame makes them go: `expires` in their header
-- says so.
local NEVER = "9007199254740991"
local BEHIND = 1e15 -- added to the score of replayed entries that were returned: above any time in ms

local function is_replayed(entry)
  return string.sub(entry[2][2], 1, #NEVER) == NEVER
end

local function later_id(one, other)
  local time_1, number_1 = string.match(one, "^(%d+)-(%d+)$")
  local time_2, number_2 = string.match(other, "^(%d+)-(%d+)$")
  if time_1 == time_2 then
    return tonumber(number_1) > tonumber(number_2) and one or other
  end
  return tonumber(time_1) > tonumber(time_2) and one or other
end

-- The oldest unread entry that may go. Replayed ones before it are noted, so that each is looked at once.
local function oldest_unread(camera, model)
  local frames, queue = key("frames", camera, model), key("queue", camera, model)
  local read = call("HMGET", queue, "delivered", "kept")
  local from, kept = read[1] or "0-0", nil
  if read[2] then
    from = later_id(from, read[2])
  end
  local entry = call("XRANGE", frames, "(" .. from, "+", "COUNT", 1)[1]
  while entry and is_replayed(entry) do
    kept = entry[1]
    entry = call("XRANGE", frames, "(" .. kept, "+", "COUNT", 1)[1]
  end
  if kept then
    call("HSET", queue, "kept", kept)
  end
  return entry
end

-- Takes the oldest returned entry that may go. Returns its id, and the entry unless it was deleted by hand.
-- Replayed ones before it go behind all others, so that each is looked at once.
local function take_oldest_returned(camera, model)
  local frames, returned = key("frames", camera, model), key("returned", camera, model)
  local first = call("ZRANGE", returned, 0, 0, "WITHSCORES")
  while first[1] and tonumber(first[2]) < BEHIND do
    local entry = call("XRANGE", frames, first[1], first[1])[1]
    if not (entry and is_replayed(entry)) then
      call("ZREM", returned, first[1])
      call("XACK", frames, GROUP, first[1])
      return first[1], entry
    end
    call("ZINCRBY", returned, digits(BEHIND), first[1])
    first = call("ZRANGE", returned, 0, 0, "WITHSCORES")
  end
end

-- Drops the oldest entry that is in nobody's hands and was not replayed. False if there is none.
local function drop_oldest_waiting(camera, model)
  local id, entry = take_oldest_returned(camera, model)
  if not id then
    entry = oldest_unread(camera, model)
  end
  if not entry then
    return false
  end
  call("XDEL", key("frames", camera, model), entry[1])
  add_bytes(camera, model, -#entry[2][4])
  add_waiting(camera, model, -1)
  count(camera, "queue_full", 1)
  return true
end

-- Counts entries that were deleted behind our back (DEL, XDEL, XTRIM by hand), so that the ledger balances.
local function write_off(camera, model, number)
  count(camera, "failed", number)
  if call("XLEN", key("frames", camera, model)) == 0 then
    add_bytes(camera, model, 0 - number_or_zero(call("HGET", key("queue", camera, model), "bytes")))
  end
end
