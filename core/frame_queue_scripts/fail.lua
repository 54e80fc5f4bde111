-- Gives one frame back for another delivery, or buries it after its last. Returns the bells to ring.
local model, camera, id, consumer, delivery = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local error_text, lease_us, most_deliveries = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[9])
if not holds(camera, model, id, consumer, delivery) then
  return 0
end
if delivery >= most_deliveries then
  bury(camera, model, id, delivery, error_text, tonumber(ARGV[10]), tonumber(ARGV[11]))
else
  give_back(camera, model, id)
end
return attend(model, lease_us)
