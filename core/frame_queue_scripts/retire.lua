-- A worker's clean exit.
local worker = ARGV[1]
call("HDEL", key("workers"), worker)
call("ZREM", key("worker-ends"), worker)
for _, model in ipairs(call("SMEMBERS", key("models"))) do
  refresh_slots(model)
  for i = 2, #ARGV do
    if delete_consumer(model, ARGV[i]) then
      call("ZREM", key("consumers", model), ARGV[i])
    end
  end
end
