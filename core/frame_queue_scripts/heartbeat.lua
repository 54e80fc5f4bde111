-- Notes a live worker and what it can do.
local worker, beat, timeout_us = ARGV[1], ARGV[2], tonumber(ARGV[3])
call("HSET", key("workers"), worker, beat)
call("ZADD", key("worker-ends"), digits(now + timeout_us), worker)
for i = 4, #ARGV do
  call("SADD", key("models"), ARGV[i])
end
for _, model in ipairs(call("SMEMBERS", key("models"))) do
  refresh_slots(model)
end
