-- Notes a live worker and what it can do.
local worker, text, timeout_us = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function abilities(beat)
  return table.concat({ beat.slots, beat.batch_size, table.concat(beat.models, "\n") }, "\n")
end

also_when_memory_is_full()
local before = call("HGET", key("workers"), worker)
call("HSET", key("workers"), worker, text)
call("ZADD", key("worker-ends"), digits(now + timeout_us), worker)
for i = 4, #ARGV do
  call("SADD", key("models"), ARGV[i])
end
if not before or abilities(cjson.decode(before)) ~= abilities(cjson.decode(text)) then
  refresh_all_slots()
end
forget_silent_workers()
