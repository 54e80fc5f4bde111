-- The ids of all dead letters of a model, oldest first.
local ids = {}
for _, entry in ipairs(call("XRANGE", key("dead", ARGV[1]), "-", "+")) do
  ids[#ids + 1] = entry[1]
end
return ids
