-- Counts frames that never came here as captured and dropped. A batch that comes twice counts once.
-- Returns 1, or 0 when another ingest process has the camera's lease.
local camera, run, batch, lease = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if read_by_another(camera, lease) then
  return 0
end
local counted = key("counted", camera)
local last = call("HMGET", counted, "run", "batch")
if last[1] == run and batch <= tonumber(last[2]) then
  return 1
end
call("HSET", counted, "run", run, "batch", batch)
for i = 5, #ARGV, 2 do
  count(camera, "captured", tonumber(ARGV[i + 1]))
  count(camera, ARGV[i], tonumber(ARGV[i + 1]))
end
return 1
