-- A worker's clean exit.
call("HDEL", key("workers"), ARGV[1])
call("ZREM", key("worker-ends"), ARGV[1])
refresh_all_slots()
for _, model in ipairs(call("SMEMBERS", key("models"))) do
  for i = 2, #ARGV do
    if delete_consumer(model, ARGV[i]) then
      call("ZREM", key("consumers", model), ARGV[i])
    end
  end
end
