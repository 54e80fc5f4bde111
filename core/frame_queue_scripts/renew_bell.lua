-- Starts a held bell's lease anew.
call("ZADD", key("held", ARGV[1]), digits(now + tonumber(ARGV[3])), ARGV[2])
