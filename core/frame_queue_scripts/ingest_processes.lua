-- Live ingest processes.
return call("ZRANGEBYSCORE", key("ingest-ends"), "(" .. digits(now), "+inf")
