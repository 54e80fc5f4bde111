-- Deletes one dead letter. Returns 0 if it is gone already.
local model, id = ARGV[1], ARGV[2]
local dead = key("dead", model)
local entry = call("XRANGE", dead, id, id)[1]
if not entry then
  return 0
end
call("HINCRBY", key("model", model), "dead_bytes", 0 - #entry[2][6])
return call("XDEL", dead, id)
