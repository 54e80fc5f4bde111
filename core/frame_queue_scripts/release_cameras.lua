-- Gives up leases that are still held under these tokens; with `leave`, the process goes with all of its own.
local process, leave = ARGV[1], ARGV[2] == "1"
local leases, notes = key("leases"), key("lease-notes")

local function release(camera)
  call("HDEL", leases, camera)
  call("HDEL", notes, camera)
end

for i = 3, #ARGV, 2 do
  if call("HGET", leases, ARGV[i]) == ARGV[i + 1] then
    release(ARGV[i])
  end
end
if leave then
  call("ZREM", key("ingest-ends"), process)
  local all = call("HGETALL", leases)
  for i = 1, #all, 2 do
    if string.match(all[i + 1], "^(%S+) ") == process then
      release(all[i])
    end
  end
end
