-- Puts one dead letter back on its queue as a fresh frame if there is room. Returns {1 if moved, bells to ring}.
local model, id, lease_us = ARGV[1], ARGV[2], tonumber(ARGV[3])
local most_frames, most_bytes, most_total = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local dead = key("dead", model)
local entry = call("XRANGE", dead, id, id)[1]
if not entry then
  return { 0, 0 }
end
local camera, header, jpeg = entry[2][2], entry[2][4], entry[2][6]
local bytes = number_or_zero(call("HGET", key("queue", camera, model), "bytes"))
if
  call("XLEN", key("frames", camera, model)) >= most_frames
  or bytes + #jpeg > most_bytes
  or number_or_zero(call("GET", key("bytes"))) + #jpeg > most_total
then
  return { 0, 0 }
end
call("XDEL", dead, id)
call("HINCRBY", key("model", model), "dead_bytes", 0 - #jpeg)
ensure_queue(camera, model)
local fresh = NEVER .. " " .. digits(now) .. string.match(header, "^%d+ %d+(.*)$")
call("XADD", key("frames", camera, model), "*", "header", fresh, "jpeg", jpeg)
add_bytes(camera, model, #jpeg)
add_waiting(camera, model, 1)
count(camera, "failed", -1)
count_minute(camera, "replayed", 1) -- only grows, which "failed" does not: storage/ledger.py
return { 1, attend(model, lease_us) }
