-- Moves the deadlines of a consumer's own claims. Returns how many it still holds.
local model, deadline = ARGV[1], digits(now + tonumber(ARGV[2]))
also_when_memory_is_full()
local held = 0
for i = 3, #ARGV, 4 do
  local camera, id, consumer, delivery = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  if holds(camera, model, id, consumer, delivery) then
    call("ZADD", key("deadlines", model), "XX", deadline, camera .. " " .. id)
    held = held + 1
  end
end
return held
