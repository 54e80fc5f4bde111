-- Removes the counters of those cameras of which nothing is left: no frame on its way, no dead letter, and
-- an account that balances. Returns their names. Minutes of their ledger stay until they are in SQL.
local forgotten = {}

local function unaccounted(camera)
  local columns, captured, ended = call("HGETALL", key("ledger", camera)), 0, 0
  for i = 1, #columns, 2 do
    local number = tonumber(columns[i + 1])
    if columns[i] == "captured" then
      captured = number
    else
      ended = ended + number
    end
  end
  return captured - ended
end

local function may_have_dead_letters(camera, models)
  if number_or_zero(call("HGET", key("ledger", camera), "failed")) == 0 then
    return false
  end
  for _, model in ipairs(models) do
    if call("XLEN", key("dead", model)) > 0 then -- whose they are is not counted
      return true
    end
  end
  return false
end

for _, camera in ipairs(ARGV) do
  local models = call("SMEMBERS", key("models-of", camera))
  -- Frames on their way are captured and not ended.
  if unaccounted(camera) == 0 and not may_have_dead_letters(camera, models) then
    for _, model in ipairs(models) do
      call("DEL", key("queue", camera, model), key("frames", camera, model), key("returned", camera, model))
      call("ZREM", key("live"), camera .. ":" .. model)
      call("SREM", key("cameras-of", model), camera)
    end
    call("DEL", key("ledger", camera), key("counted", camera), key("models-of", camera))
    call("SREM", key("cameras"), camera)
    forgotten[#forgotten + 1] = camera
  end
end
return forgotten
