-- Queues one frame, or makes the policy's choice when there is no room. Returns {accepted, bells to ring}.
local model, camera, policy, run, max_age_us = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local most_frames, most_bytes, most_total = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local lease_us, captured, recorded, rest, jpeg = tonumber(ARGV[9]), ARGV[10], ARGV[11], ARGV[12], ARGV[13]

local frames, queue, size = key("frames", camera, model), key("queue", camera, model), #jpeg
ensure_queue(camera, model)

-- A publisher that lost the connection sends its frame again and cannot know whether it is here already.
local this = run .. " " .. captured .. " " .. rest
local state = call("HMGET", queue, "last", "waiting", "bytes")
if state[1] == this then
  return { 1, attend(model, lease_us) }
end

local waiting, bytes, length = number_or_zero(state[2]), number_or_zero(state[3]), call("XLEN", frames)
local total = number_or_zero(call("GET", key("bytes")))

local function drop_one()
  local before = bytes
  if waiting == 0 or not drop_oldest_waiting(camera, model) then
    return false
  end
  bytes = tonumber(call("HGET", queue, "bytes"))
  total, waiting, length = total - before + bytes, waiting - 1, length - 1
  return true
end

local function fits()
  return length < most_frames and bytes + size <= most_bytes and total + size <= most_total
end

if size <= most_bytes and size <= most_total then -- else dropping others would not help
  if policy == "latest" then
    while drop_one() do end
  elseif policy == "drop_oldest" then
    while not fits() and drop_one() do end
  end
end

if not fits() then
  if policy == "wait" then
    local blocked_by_all = length < most_frames and bytes + size <= most_bytes
    call("HSET", key("publishers"), run .. ":" .. camera, blocked_by_all and "*" or camera .. ":" .. model)
    return { 0, attend(model, lease_us) }
  end
  call("HSET", queue, "last", this)
  count(camera, "captured", 1)
  count(camera, "queue_full", 1)
  return { 1, attend(model, lease_us) }
end

local expires = "0"
if max_age_us then
  expires = digits((recorded == "1" and now or tonumber(captured)) + max_age_us)
end
local header = table.concat({ expires, digits(now), captured, recorded, rest }, " ")
call("XADD", frames, "*", "header", header, "jpeg", jpeg)
call("HSET", queue, "last", this)
add_bytes(camera, model, size)
add_waiting(camera, model, 1)
count(camera, "captured", 1)
return { 1, attend(model, lease_us) }
