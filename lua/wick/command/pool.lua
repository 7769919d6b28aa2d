--- wick pool: what the connections of a running wick are doing: states, who waits, who holds what for how long.

local native = require "wick.native"

local STATES = { "used", "idle", "connecting", "resetting", "cancelling", "pinging", "moving" }

-- "host:port", "[::1]:9180" or the path of a unix socket: host and port.
local function split(address)
  if address:sub(1, 1) == "/" then
    return address, ""
  end
  local host, port = address:match "^%[?([^%]]*)%]?:(%d+)$"
  return host == "" and "127.0.0.1" or host, port
end

local function duration(ms)
  if ms < 1000 then
    return ("%d ms"):format(ms)
  end
  return ms < 120000 and ("%.1f s"):format(ms / 1000) or ("%d min"):format(ms // 60000)
end

-- One line of at most `width` characters.
local function short(text, width)
  text = text:gsub("%s+", " ")
  return #text > width and text:sub(1, width - 2) .. ".." or text
end

local function by_hold(a, b)
  if (a.state == "idle") ~= (b.state == "idle") then
    return b.state == "idle"
  end
  return a.for_ms > b.for_ms
end

local function print_postgres(pool, command)
  local states = {}
  for _, name in ipairs(STATES) do
    if (pool.states[name] or 0) > 0 or name == "used" or name == "idle" then
      states[#states + 1] = ("%d %s"):format(pool.states[name] or 0, name)
    end
  end
  command.say("pool %s: %d of %d connections (at least %d): %s", pool.pool, pool.total, pool.max_size, pool.min_size,
    table.concat(states, ", "))
  command.say("waiting: %d%s; longest hold: %s%s", pool.waiting,
    pool.waiting > 0 and (", the first for %s"):format(duration(pool.oldest_wait_ms)) or "", duration(pool.longest_hold_ms),
    pool.breaker == "open" and ("; connecting is paused after failures, tried again in %s"):format(duration(pool.retry_ms)) or "")
  if pool.error then
    command.say("last error: %s", pool.error)
  end
  if #pool.connections == 0 then
    return
  end
  table.sort(pool.connections, by_hold)
  command.say("")
  command.say("    PID  STATE       FOR       USES  HOLDER")
  for _, one in ipairs(pool.connections) do
    local line = ("%7d  %-10s  %-8s  %4d  %s"):format(one.pid, one.state, duration(one.for_ms), one.uses, one.holder or "")
    command.say("%s", (line:gsub("%s+$", "")))
    if one.statement then
      command.say("         %s", short(one.statement, 70))
    end
  end
end

local function print_sqlite(pool, command)
  command.say("SQLite, %d threads: %d reads, %d writes in %d commits, %d waits for a lock that another program held", pool.threads,
    pool.reads, pool.writes, pool.commits, pool.busy)
end

return {
  summary = "Show what the database connections of the running wick are doing.",
  run = function(args, command)
    local settings = command.load(args)
    if not settings then
      return command.CONFIGURATION
    end
    if not settings.admin then
      native.write(2, "wick: admin is false in the configuration, so there is nobody to ask; set it to an address\n")
      return command.FAILED
    end
    local host, port = split(settings.admin)
    local status, body = native.ask(host, port, "/admin/pool")
    if status ~= 200 then
      native.write(2, ("wick: no answer from %s: %s; is wick serving with this configuration?\n"):format(settings.admin,
        status and "status " .. status or body))
      return command.FAILED
    end
    if args.json then
      command.say("%s", body)
      return command.OK
    end
    local pool = native.json.decode(body)
    if pool.engine == "postgres" then
      print_postgres(pool, command)
    else
      print_sqlite(pool, command)
    end
    return command.OK
  end,
}
