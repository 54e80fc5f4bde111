-- Ends a drain and looks once more, in one step, whether frames wait. Returns the bells to ring.
local model, consumer, token, lease_us, quietly = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5] == "1"
also_when_memory_is_full()
finish_batch(model, consumer)
call("ZREM", key("held", model), token)
call("ZREM", key("idle", model), consumer)
call("ZREM", key("woken", model), consumer)
return quietly and 0 or attend(model, lease_us)
