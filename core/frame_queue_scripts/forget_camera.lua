-- Removes all that is kept of a camera, except minutes of its ledger that are not in SQL yet.
local camera = ARGV[1]

local function forget_dead_letters(model)
  local dead, from = key("dead", model), "-"
  while true do
    local entries = call("XRANGE", dead, from, "+", "COUNT", 16) -- some at a time: they carry pictures
    if #entries == 0 then
      return
    end
    for _, entry in ipairs(entries) do
      if entry[2][2] == camera then
        call("XDEL", dead, entry[1])
        call("HINCRBY", key("model", model), "dead_bytes", 0 - #entry[2][6])
      end
    end
    from = "(" .. entries[#entries][1]
  end
end

for _, model in ipairs(call("SMEMBERS", key("models-of", camera))) do
  local queue, deadlines = key("queue", camera, model), key("deadlines", model)
  local state = call("HMGET", queue, "waiting", "bytes")
  add_waiting(camera, model, -number_or_zero(state[1]))
  add_bytes(camera, model, -number_or_zero(state[2]))
  for _, entry in ipairs(pending(camera, model, "-", "+", 100000)) do
    call("ZREM", deadlines, camera .. " " .. entry[1])
  end
  forget_dead_letters(model)
  make_room(camera, model)
  call("DEL", queue, key("frames", camera, model), key("returned", camera, model))
  call("ZREM", key("live"), camera .. ":" .. model)
  call("SREM", key("cameras-of", model), camera)
end
call("DEL", key("ledger", camera), key("counted", camera), key("models-of", camera))
call("SREM", key("cameras"), camera)
