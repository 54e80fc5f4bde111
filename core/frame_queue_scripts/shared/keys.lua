-- Key names, the clock and numbers. KEYS[1] is the namespace in braces; docs/frame-queue.md lists the keys.

local call = redis.call
local GROUP = "workers"

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

-- Over its `maxmemory` a server refuses a script what may take memory, unless the script wrote something before.
-- What workers do sets memory free in the end, so it must go on then; and so must the leases of cameras.
local function also_when_memory_is_full()
  call("DEL", key("nothing"))
end
