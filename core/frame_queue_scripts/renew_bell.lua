-- Starts a held bell's lease anew, unless it was left meanwhile.
also_when_memory_is_full()
call("ZADD", key("held", ARGV[1]), "XX", digits(now + tonumber(ARGV[3])), ARGV[2])
