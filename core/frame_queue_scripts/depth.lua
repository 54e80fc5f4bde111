-- One model's cameras: {camera, frames, waiting, bytes, age of the oldest in us} each.
local model, found = ARGV[1], {}
for _, camera in ipairs(call("SMEMBERS", key("cameras-of", model))) do
  local frames = key("frames", camera, model)
  local state = call("HMGET", key("queue", camera, model), "waiting", "bytes")
  local oldest, age = call("XRANGE", frames, "-", "+", "COUNT", 1)[1], 0
  if oldest then
    age = now - tonumber(string.match(oldest[2][2], "^%d+ (%d+)"))
  end
  found[#found + 1] =
    { camera, call("XLEN", frames), number_or_zero(state[1]), number_or_zero(state[2]), digits(age) }
end
return found
