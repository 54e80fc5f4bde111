-- Takes back the newest bells: their messages could not be sent.
call("ZPOPMAX", key("rung", ARGV[1]), tonumber(ARGV[2]))
