-- The newest dead letters of a model: {id, camera, header, jpeg, error, deliveries, failed} each.
local found = {}
for _, entry in ipairs(call("XREVRANGE", key("dead", ARGV[1]), "+", "-", "COUNT", tonumber(ARGV[2]))) do
  local fields = entry[2]
  found[#found + 1] = { entry[1], fields[2], fields[4], fields[6], fields[8], fields[10], fields[12] }
end
return found
