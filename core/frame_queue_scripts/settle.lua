-- Removes claimed frames and counts them under one column of the ledger. Returns how many were still there.
local model, column = ARGV[1], ARGV[2]
local settled, of_camera = 0, {}
for i = 3, #ARGV, 3 do
  local camera, id, size = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  if remove(camera, model, id, size) then
    of_camera[camera] = (of_camera[camera] or 0) + 1
    settled = settled + 1
  end
end
for camera, number in pairs(of_camera) do
  count(camera, column, number)
  make_room(camera, model)
end
return settled
