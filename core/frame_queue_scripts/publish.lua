-- Queues one frame, or makes the policy's choice when there is no room. Returns {accepted, bells to ring};
-- accepted is -1 when another ingest process has the camera's lease.
local model, camera, policy, run, max_age_us = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local most_frames, most_bytes, most_total = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local lease_us, captured, recorded, rest, jpeg = tonumber(ARGV[9]), ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local lease = ARGV[14]

local frames, queue, size = key("frames", camera, model), key("queue", camera, model), #jpeg
local waits, own = policy == "wait", camera .. ":" .. model
if read_by_another(camera, lease) then
  return { -1, 0 }
end
ensure_queue(camera, model)

-- A publisher that lost the connection sends its frame again and cannot know whether it is here already.
local this = run .. " " .. captured .. " " .. rest
local before = call("HMGET", queue, "last", "policy", "bytes")
if before[1] == this then
  return { 1, attend(model, lease_us) }
end
if before[2] ~= policy then
  call("HSET", queue, "policy", policy)
  if waits then
    call("ZREM", key("live"), own)
  else
    call("ZADD", key("live"), number_or_zero(before[3]), own)
  end
end

local function fits_camera()
  local bytes = number_or_zero(call("HGET", queue, "bytes"))
  return bytes + size <= most_bytes and call("XLEN", frames) < most_frames
end

local function fits_all()
  return number_or_zero(call("GET", key("bytes"))) + size <= most_total
end

-- When the whole queue is full the fullest live camera makes room, so that all get the same share of it.
local function drop_of_fullest()
  local fullest = call("ZREVRANGE", key("live"), 0, 0)[1]
  local other, its_model = string.match(fullest or "", "^([^:]+):(.*)$")
  return other and drop_oldest_waiting(other, its_model)
end

if policy == "latest" and size <= most_bytes and size <= most_total then
  while drop_oldest_waiting(camera, model) do end
end
local camera_fits, all_fit = fits_camera(), fits_all()
while not (camera_fits and all_fit) do
  if waits then
    call("HSET", key("publishers"), run .. ":" .. camera, camera_fits and "*" or own)
    return { 0, attend(model, lease_us) }
  end
  local hopeless = size > most_bytes or size > most_total -- dropping others would not help
  local dropped = not hopeless and camera_fits and drop_of_fullest()
  if hopeless or not (dropped or drop_oldest_waiting(camera, model)) then
    call("HSET", queue, "last", this)
    count(camera, "captured", 1)
    count(camera, "queue_full", 1)
    return { 1, attend(model, lease_us) }
  end
  camera_fits, all_fit = fits_camera(), fits_all()
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
