return call("SMEMBERS", key("models"))
