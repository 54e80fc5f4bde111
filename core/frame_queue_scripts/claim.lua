-- Takes up to N frames, round robin over the ready cameras. Returns {frames, bells to ring, unfinished};
-- a frame is {camera, id, delivery, claimed, header, jpeg}. Without frames notes the consumer as blocked on
-- its wake list for sleep_us: the check and the note are one step, so that no wake-up can fall in between.
local model, consumer, most, sleep_us = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local bell, lease_us, claim_us = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local MOST_STALE = 256 -- per call: other clients of the server wait meanwhile

local claimed_until, claimed_at = digits(now + claim_us), digits(now)
local deadlines, ready, totals = key("deadlines", model), key("ready", model), key("model", model)
local found, stale = {}, 0

also_when_memory_is_full()
finish_batch(model, consumer)
call("ZREM", key("idle", model), consumer)
call("ZREM", key("woken", model), consumer)
call("ZADD", key("consumers", model), claimed_at, consumer)
if bell ~= "" then
  call("ZADD", key("held", model), digits(now + lease_us), bell)
end
recover(model, tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]))

-- Hands an entry out, unless it is too old.
local function hand_out(camera, entry, delivery)
  local id, header, jpeg = entry[1], entry[2][2], entry[2][4]
  local expires = tonumber(string.match(header, "^%d+"))
  if expires > 0 and now > expires then
    remove(camera, model, id, #jpeg)
    count(camera, "stale", 1)
    make_room(camera, model)
    stale = stale + 1
    return
  end
  call("ZADD", deadlines, claimed_until, camera .. " " .. id)
  found[#found + 1] = { camera, id, delivery, claimed_at, header, jpeg }
end

local function take_returned(camera, number)
  local frames, returned = key("frames", camera, model), key("returned", camera, model)
  local ids = call("ZRANGE", returned, 0, number - 1)
  for _, id in ipairs(ids) do
    call("ZREM", returned, id)
    local _, deliveries = holder(camera, model, id)
    local entry = deliveries and call("XCLAIM", frames, GROUP, consumer, 0, id)[1]
    if entry then -- Redis 6.2 answers a deleted entry with nil, Redis 7 with nothing
      hand_out(camera, entry, deliveries + 1)
    else
      call("XACK", frames, GROUP, id)
      write_off(camera, model, 1)
    end
  end
  return #ids
end

local function read_new(camera, number)
  local frames = key("frames", camera, model)
  return redis.pcall("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", number, "STREAMS", frames, ">")
end

local function take_new(camera, number)
  local answer = read_new(camera, number)
  if answer and answer.err then -- somebody deleted the stream and with it the group
    create_group(camera, model)
    answer = read_new(camera, number)
  end
  local entries = answer and answer[1] and answer[1][2] or {}
  for _, entry in ipairs(entries) do
    hand_out(camera, entry, 1)
  end
  if #entries > 0 then
    call("HSET", key("queue", camera, model), "delivered", entries[#entries][1])
  end
  return #entries
end

local function serve(camera, number)
  call("ZADD", ready, call("HINCRBY", totals, "turn", 1), camera) -- to the end of the ring
  local taken = take_returned(camera, number)
  if taken < number then
    taken = taken + take_new(camera, number - taken)
  end
  if taken == 0 then -- counted as waiting, but not there
    taken = number_or_zero(call("HGET", key("queue", camera, model), "waiting"))
    write_off(camera, model, taken)
  end
  add_waiting(camera, model, 0 - taken)
end

-- Each pass gives every ready camera the same share; what some leave goes to the others in the next pass.
local in_ring = call("ZCARD", ready)
while in_ring > 0 and #found < most and stale < MOST_STALE do
  local share = math.max(1, math.floor((most - #found) / in_ring))
  for _ = 1, in_ring do
    if #found >= most or stale >= MOST_STALE then
      break
    end
    serve(call("ZRANGE", ready, 0, 0)[1], math.min(share, most - #found))
  end
  in_ring = call("ZCARD", ready)
end

local unfinished = stale >= MOST_STALE and #found < most
if #found > 0 then
  call("HSET", key("busy", model), consumer, claimed_at)
elseif sleep_us > 0 and not unfinished then
  call("ZADD", key("idle", model), digits(now + sleep_us), consumer)
end
return { found, attend(model, lease_us), unfinished and 1 or 0 }
