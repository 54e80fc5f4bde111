-- Counts frames that never came here as captured and dropped. A batch that comes twice counts once.
local camera, run, batch = ARGV[1], ARGV[2], tonumber(ARGV[3])
local counted = key("counted", camera)
local last = call("HMGET", counted, "run", "batch")
if last[1] == run and batch <= tonumber(last[2]) then
  return
end
call("HSET", counted, "run", run, "batch", batch)
for i = 4, #ARGV, 2 do
  count(camera, "captured", tonumber(ARGV[i + 1]))
  count(camera, ARGV[i], tonumber(ARGV[i + 1]))
end
