-- The clock that leases and ages are measured on, in microseconds since 1970.
return digits(now)
