-- One round of an ingest process: renews its leases and shares the cameras evenly among the live processes.
-- Returns {live processes, known, leases, taken over}: leases are {camera, token, note} and taken over are
-- {camera, process that fell silent}. A lease lasts for as long as its process is heard of.
local process, lease_us, token = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local asked = cjson.decode(ARGV[4]) -- wanted and settled: names; held: camera -> token; known, may_take
local ends, leases, notes = key("ingest-ends"), key("leases"), key("lease-notes")

also_when_memory_is_full()
local known = call("ZSCORE", ends, process) ~= false
call("ZADD", ends, digits(now + lease_us), process)
call("ZREMRANGEBYSCORE", ends, "-inf", digits(now))
local alive = {}
for _, name in ipairs(call("ZRANGE", ends, 0, -1)) do
  alive[name] = 0
end
local processes = call("ZCARD", ends)

-- A server that lost its memory is told again who reads what.
for camera, held in pairs(asked.held) do
  call("HSETNX", leases, camera, held)
end

local wanted, holder, note = {}, {}, {}
for _, camera in ipairs(asked.wanted) do
  wanted[camera] = true
end
local all = call("HGETALL", leases)
for i = 1, #all, 2 do
  local camera, by = all[i], string.match(all[i + 1], "^(%S+) ")
  if by == process and all[i + 1] ~= asked.held[camera] then
    by = nil -- the answer that gave it to us was lost
  end
  if alive[by or ""] or wanted[camera] then
    holder[camera], note[camera] = by, call("HGET", notes, camera) or ""
  else
    call("HDEL", leases, camera)
    call("HDEL", notes, camera)
  end
end

local function mark(camera, text)
  note[camera] = text
  if text == "" then
    call("HDEL", notes, camera)
  else
    call("HSET", notes, camera, text)
  end
end

-- What was read to its end stays with its process and does not count.
local settled = {}
for _, camera in ipairs(asked.settled) do
  settled[camera] = true
end
for camera in pairs(asked.held) do
  if holder[camera] == process and (settled[camera] or note[camera] == "settled") then
    mark(camera, settled[camera] and "settled" or "")
  end
end

local active = 0
for _, camera in ipairs(asked.wanted) do
  local by = alive[holder[camera] or ""] and holder[camera]
  if not (by and note[camera] == "settled") then
    active = active + 1
    if by and note[camera] ~= "giving" then
      alive[by] = alive[by] + 1
    end
  end
end

-- Each process reads `share` cameras, and `rest` of them one more.
local share, rest, above = math.floor(active / processes), active % processes, 0
for _, number in pairs(alive) do
  above = above + (number > share and 1 or 0)
end

local taken_over = {}
local function take(camera)
  if holder[camera] then
    taken_over[#taken_over + 1] = { camera, holder[camera] }
  end
  holder[camera] = process
  asked.held[camera] = process .. " " .. token
  call("HSET", leases, camera, asked.held[camera])
  mark(camera, "")
  alive[process] = alive[process] + 1
  above = above + (alive[process] == share + 1 and 1 or 0)
end

if asked.may_take and (known or not asked.known) then
  for _, camera in ipairs(asked.wanted) do
    local mine = alive[process]
    if not alive[holder[camera] or ""] and (mine < share or (mine == share and above < rest)) then
      take(camera)
    end
  end
end

for i = #asked.wanted, 1, -1 do
  local camera, mine = asked.wanted[i], alive[process]
  if holder[camera] == process and note[camera] == "" and (mine > share + 1 or (mine == share + 1 and above > rest)) then
    mark(camera, "giving")
    alive[process] = mine - 1
    above = above - (mine == share + 1 and 1 or 0)
  end
end

local mine = {}
for camera, held in pairs(asked.held) do
  if holder[camera] == process then
    mine[#mine + 1] = { camera, held, note[camera] }
  end
end
return { processes, known and 1 or 0, mine, taken_over }
