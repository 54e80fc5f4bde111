-- The frame ledger: totals per camera, and counts per minute.

local LEDGER_MINUTES_KEPT_S = 7 * 24 * 3600 -- when nobody copies them to SQL

-- Counts in the current minute alone.
local function count_minute(camera, column, number)
  local minute = math.floor(now / 60000000)
  local of_minute = key("minute", digits(minute))
  if call("HINCRBY", of_minute, camera .. "|" .. column, number) == number then -- its first in this minute
    call("ZADD", key("minutes"), minute, digits(minute))
    call("EXPIRE", of_minute, LEDGER_MINUTES_KEPT_S)
    call("SADD", key("cameras"), camera)
  end
end

local function count(camera, column, number)
  call("HINCRBY", key("ledger", camera), column, number)
  count_minute(camera, column, number)
end
