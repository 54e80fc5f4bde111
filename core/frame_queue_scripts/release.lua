-- Gives frames back as if they had not been claimed. Returns the bells to ring.
local model, lease_us = ARGV[1], tonumber(ARGV[2])
for i = 3, #ARGV, 4 do
  local camera, id, consumer, delivery = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  if holds(camera, model, id, consumer, delivery) then
    local frames = key("frames", camera, model)
    call("XCLAIM", frames, GROUP, consumer, 0, id, "RETRYCOUNT", delivery - 1, "JUSTID")
    give_back(camera, model, id)
  end
end
return attend(model, lease_us)
