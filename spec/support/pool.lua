-- pool.lua - the question after every fault: is all well again, with nothing lost and nothing left?
--
--   local before = pool.look(server, postgres)                  -- at rest, before the fault
--   .. fault ..
--   pool.restores(server, postgres, "/one", before)
--
-- HOLDS  Then: the path is 200 within 2 s; pg_stat_activity has as many connections as the pool counts, all of them idle, none in a
--        transaction; nobody waits; no gauge is negative; wick has as many descriptors as before beside its database connections.

local process = require "spec.support.process"

local function descriptors(pid)
  return #process.run({ "ls", "/proc/" .. pid .. "/fd" }).out:gsub("[^\n]", "")
end

local function counted(server)
  local sum = 0
  for _, state in ipairs { "idle", "used", "connecting", "resetting", "cancelling" } do
    sum = sum + server:metric("wick_pg_pool_connections", ('state="%s"'):format(state))
  end
  return math.tointeger(sum)
end

-- What there is now: connections as counted by the pool and as seen by the server, those not idle, and descriptors beside them.
local function look(server, postgres)
  local row = postgres:query([[select count(*) filter (where application_name = 'wick'),
    count(*) filter (where application_name = 'wick control'), count(*) filter (where application_name = 'wick' and state <> 'idle')
    from pg_stat_activity]])
  local seen, control, busy = row:match "(%d+)|(%d+)|(%d+)"
  return {
    counted = counted(server), seen = math.tointeger(seen), busy = math.tointeger(busy),
    descriptors = descriptors(server.pid) - seen - control,
  }
end

local function negative(server) return server:admin("/metrics").body:match "\n(wick_[%w_]+[^ \n]* %-[%d.]+)" end

local function restores(server, postgres, path, before)
  local last
  local back = process.eventually(function()
    last = server:get(path)
    return last and last.status == 200
  end, 2000)
  if not back then error(path .. " says " .. (last and last.status .. ": " .. last.body or "nothing"), 2) end
  local now
  local is_well = process.eventually(function()
    now = look(server, postgres)
    return now.counted == now.seen and now.busy == 0 and now.descriptors <= before.descriptors
        and server:metric "wick_pg_pool_waiters" == 0
  end, 4000)
  if not is_well then
    error(("the pool counts %d, the server sees %d, %d of them busy; %d other descriptors, %d before"):format(now.counted, now.seen,
      now.busy, now.descriptors, before.descriptors), 2)
  end
  local bad = negative(server)
  if bad then error("a gauge is negative: " .. bad, 2) end
end

-- How often, in quarters of a second, a loop was busy for longer than `le` (a bound of the histogram: "0.005", "0.02"); what: "hold"
-- without the time for which it had no CPU, "lag" with it.
local function laggards(server, le, what)
  local name = ("wick_loop_%s_seconds"):format(what or "hold")
  return server:metric(name .. "_count") - server:metric(name .. "_bucket", ('le="%s"'):format(le))
end

-- The bound that a loop must keep here: 20 ms, more where the machine is slow.
local function lag_bound()
  local times = process.slow(1)
  return times <= 1 and "0.02" or times <= 3 and "0.05" or "0.25"
end

return { look = look, restores = restores, laggards = laggards, lag_bound = lag_bound }
