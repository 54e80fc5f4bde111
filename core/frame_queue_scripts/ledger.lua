-- Accounts of one camera, or of all: {camera, in flight, {column, count, ...}} each.
-- In flight is counted on the streams themselves, so that a ledger that does not balance shows.
local cameras, accounts = ARGV, {}
if #ARGV == 0 then
  cameras = call("SMEMBERS", key("cameras"))
end
for _, camera in ipairs(cameras) do
  local in_flight = 0
  for _, model in ipairs(call("SMEMBERS", key("models-of", camera))) do
    in_flight = in_flight + call("XLEN", key("frames", camera, model))
  end
  accounts[#accounts + 1] = { camera, in_flight, call("HGETALL", key("ledger", camera)) }
end
return accounts
