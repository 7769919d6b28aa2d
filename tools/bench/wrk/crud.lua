-- luacheck: std luajit, globals wrk init request done
--- wrk script: 75 % reads of one item, 15 % updates, 5 % lists, 5 % upserts; ids uniform over 50,000 items.
-- Ends with a line `mixed: p50 MS p95 MS p99 MS errors N`, because wrk's own summary has no p95.

local JSON = { ["Content-Type"] = "application/json" }
local lists, new_id = {}, 100000

function init()
  math.randomseed(4508252)
  for page = 1, 10 do
    lists[page] = wrk.format("GET", "/crud/items?category=office&page=" .. page .. "&limit=10")
  end
end

local function upsert()
  new_id = new_id % 50000 + 100001
  return wrk.format("POST", "/crud/items", JSON,
    '{"id":' .. new_id .. ',"name":"New Product","category":"test","price":150,"quantity":30}')
end

function request()
  local roll = math.random(100)
  if roll <= 75 then return wrk.format("GET", "/crud/items/" .. math.random(50000)) end
  if roll <= 90 then
    return wrk.format("PUT", "/crud/items/" .. math.random(50000), JSON, '{"name":"Updated Product","price":200,"quantity":25}')
  end
  if roll <= 95 then return lists[math.random(10)] end
  return upsert()
end

function done(summary, latency)
  local e = summary.errors
  io.write(("mixed: p50 %.2f p95 %.2f p99 %.2f errors %d\n"):format(latency:percentile(50) / 1000, latency:percentile(95) / 1000,
    latency:percentile(99) / 1000, e.connect + e.read + e.write + e.status + e.timeout))
end
