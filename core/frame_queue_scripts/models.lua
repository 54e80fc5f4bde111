-- Models that have or had a queue or a worker.
return call("SMEMBERS", key("models"))
