-- soak.lua - drives tools/soak: clients that ask, faults by seed, and the books at the end.
--
-- DESIGN  Clients are callbacks of luv; faults and book-keeping run between two turns of the loop, so they may block for a moment.
--         Each write has a key of its own, kept with what was answered:
--           done      acknowledged: it must be there once
--           never     refused before it was sent: it must not be there
--           unknown   sent, and the connection or the deadline was lost: both are fine

local uv = require "luv"
package.path = "./?.lua;./?/init.lua;./lua/?.lua;" .. package.path
local process = require "spec.support.process"
local servers = require "spec.support.servers"
local fault_proxy = require "spec.support.proxy"
local wick = require "spec.support.wick"
local pool = require "spec.support.pool"

local seconds, seed, client_count, log_path = tonumber(arg[1]), math.tointeger(arg[2]), tonumber(arg[3]), arg[4]

local plugin = [[
-- Runs fn(progress) and tells how it ended. A failure before anything was sent is "never", another one what progress.stage says.
local function told(cx, fn)
  local progress = { stage = "unknown" }
  local fine, failure = pcall(fn, progress)
  if fine then return cx.reply { status = 201, body = { stage = "done" } } end
  local known, kind, state = pcall(function() return failure.kind, failure.sqlstate end)
  if not known then error(failure, 0) end
  local unsent = kind == "refused" or kind == "full" or kind == "closed" or (kind == "timeout" and state == "53300")
  return cx.reply { status = 503, body = { stage = unsent and "never" or progress.stage, kind = kind, sqlstate = state } }
end

return {
  name = "soak", version = "1.0.0", schema = "schema",
  routes = {
    { "GET", "/services/{id:int64}", name = "read", handler = function(req, cx)
        return cx.db:one("select id, name from services where id = $1", req.params.id) or cx.problem(404, "service-not-found")
      end },
    { "GET", "/services", name = "list", handler = function(req, cx)
        return cx.db:rows "select id, name, repeat('x', 200) as note from services order by id limit 50"
      end },
    { "POST", "/writes/{key:int64}", name = "write", handler = function(req, cx)
        return told(cx, function() cx.db:exec("insert into writes(key) values ($1)", req.params.key) end)
      end },
    { "POST", "/pairs/{key:int64}", name = "pair", handler = function(req, cx)
        return told(cx, function(progress)
          progress.stage = "never"                               -- until COMMIT is sent nothing of it lasts
          local tx <close> = cx.db:begin()
          tx:exec("insert into pairs(key, side) values ($1, 1)", req.params.key)
          tx:exec("insert into pairs(key, side) values ($1, 2)", req.params.key)
          progress.stage = "unknown"
          tx:commit()
        end)
      end },
    { "POST", "/counts/{key:int64}", name = "count", handler = function(req, cx)
        return told(cx, function()
          cx.db:transaction(function(tx)
            tx:exec("update counters set n = n + 1 where id = $1", req.params.key % 4)
            tx:exec("insert into counts(key) values ($1)", req.params.key)
          end)
        end)
      end },
  },
}
]]
local schema = [[
create table if not exists services (id int8 primary key, name text not null);
insert into services select i, 'service ' || i from generate_series(1, 500) i on conflict do nothing;
create table if not exists writes (key int8 not null);
create table if not exists pairs (key int8 not null, side int not null);
create table if not exists counts (key int8 not null);
create table if not exists counters (id int8 primary key, n int8 not null);
insert into counters select i, 0 from generate_series(0, 3) i on conflict do nothing;
]]

-- --- random numbers of our own: the same seed gives the same faults ---

local state = seed * 2654435761 + 1
local function random(low, high)
  state = state * 6364136223846793005 + 1442695040888963407
  return low + (state >> 33) % (high - low + 1)
end

-- --- the books ---

local books, answers, next_key = { write = {}, pair = {}, count = {} }, {}, 0
local no_answer, abandoned, slowest_ms = 0, 0, 0

local function note(kind, key, outcome)
  local row = answers[kind] or {}
  answers[kind] = row
  row[outcome] = (row[outcome] or 0) + 1
  if books[kind] then books[kind][key] = outcome end
end

local function outcome_of(kind, status, body)
  if status == 200 then return "done" end
  if not books[kind] then return status >= 503 and "unavailable" or "status " .. status end
  if status == 201 or status == 503 then
    local stage = body:match '"stage": ?"(%w+)"'
    if stage then return stage end
  end
  return (status == 503 or status == 504 or status == 499) and "unknown" or "status " .. status
end

-- --- clients ---

local port, is_asking = nil, true
local clients, flying = {}, 0

local function next_request()
  local dice = math.random(100)
  if dice <= 35 then return "read", nil, "GET /services/" .. math.random(500) end
  if dice <= 45 then return "list", nil, "GET /services" end
  next_key = next_key + 1
  if dice <= 70 then return "write", next_key, "POST /writes/" .. next_key end
  if dice <= 85 then return "pair", next_key, "POST /pairs/" .. next_key end
  return "count", next_key, "POST /counts/" .. next_key
end

-- Status and body of a whole response at the start of `buffer`, and what is behind it; nil: not yet whole.
local function take_response(buffer)
  local head_end = select(2, buffer:find("\r\n\r\n", 1, true))
  if not head_end then return end
  local head = buffer:sub(1, head_end):lower()
  local length = tonumber(head:match "\r\ncontent%-length: (%d+)")
  if length then
    if #buffer < head_end + length then return end
    return tonumber(head:match "^http/1%.1 (%d+)"), buffer:sub(head_end + 1, head_end + length), buffer:sub(head_end + length + 1)
  end
  local last = select(2, buffer:find("\r\n0\r\n\r\n", head_end - 1, true))
  if last then return tonumber(head:match "^http/1%.1 (%d+)"), buffer:sub(head_end + 1, last), buffer:sub(last + 1) end
end

local Client = {}
Client.__index = Client

function Client:close()
  if self.tcp and not self.tcp:is_closing() then self.tcp:close() end
  self.tcp, self.buffer = nil, ""
end

function Client:settle(outcome)
  if not self.kind then return end
  note(self.kind, self.key, outcome)
  flying = flying - 1
  self.kind = nil
end

function Client:lose()
  if self.kind then no_answer = no_answer + 1 end
  self:settle "unknown"
  self:close()
  self:ask_later(50)
end

function Client:on_bytes(bytes)
  self.buffer = self.buffer .. bytes
  local status, body, rest = take_response(self.buffer)
  if not status then return end
  slowest_ms = math.max(slowest_ms, uv.now() - self.since)
  self:settle(outcome_of(self.kind, status, body))
  self.buffer = rest
  self:ask_later(status >= 500 and 20 or math.random(0, 2))
end

function Client:send()
  local line
  self.kind, self.key, line = next_request()
  self.since, flying = uv.now(), flying + 1
  self.tcp:write(line .. " HTTP/1.1\r\nHost: soak\r\nContent-Length: 0\r\n\r\n")
  if math.random(200) == 1 then                                  -- it leaves
    local kind, key = self.kind, self.key
    self.timer:start(math.random(0, 30), 0, function()
      if self.kind == kind and self.key == key then
        abandoned = abandoned + 1
        self:settle "unknown"
        self:close()
        self:ask_later(1)
      end
    end)
  end
end

function Client:ask()
  if not is_asking then return self:close() end
  if self.tcp then return self:send() end
  local tcp = uv.new_tcp()
  self.tcp, self.buffer = tcp, ""
  tcp:connect("127.0.0.1", port, function(failure)
    if self.tcp ~= tcp then return end
    if failure then return self:lose() end
    tcp:nodelay(true)
    tcp:read_start(function(why, bytes)
      if self.tcp ~= tcp then return end
      if why or not bytes then return self:lose() end
      self:on_bytes(bytes)
    end)
    self:send()
  end)
end

function Client:ask_later(ms) self.pause:start(ms, 0, function() self:ask() end) end

local function new_client()
  local self = setmetatable({ buffer = "", pause = uv.new_timer(), timer = uv.new_timer() }, Client)
  clients[#clients + 1] = self
  self:ask_later(#clients)
end

-- --- faults ---

local postgres, proxy, server

local function turn_for(ms)
  local end_ms = process.now_ms() + ms
  repeat
    uv.run "nowait"
    uv.sleep(1)
  until process.now_ms() >= end_ms
end

-- With a rule in force for so many milliseconds.
local function with(rule, low, high)
  return function()
    proxy:tell("set " .. rule)
    turn_for(random(low, high))
    proxy:tell("set " .. rule:gsub("=%d+", "=0"))
  end
end

local function tell(command) return function() proxy:tell(command) end end

local function back_ends(action, limit)
  return function()
    pcall(postgres.query, postgres, ("select %s from pg_stat_activity where application_name like 'wick%%' order by random() limit %d")
      :format(action, limit))
  end
end

local function kill_one()
  local fine, pid = pcall(postgres.query, postgres,
    "select pid from pg_stat_activity where application_name = 'wick' order by random() limit 1")
  if fine and pid:match "^%d+$" then process.run { "kill", "-KILL", pid } end
end

local faults = {
  { "reset", 6, tell "rst" }, { "end", 4, tell "fin" }, { "half open", 3, function()
    if proxy:stat().darkens == 1 then proxy:tell "dark" end
  end },
  { "cut in a row", 6, tell "on D half rst" }, { "cut before C", 6, tell "on C before rst" },
  { "cut before Z", 6, tell "on Z before rst" },
  { "FATAL for Z", 4, tell "on Z before fatal" }, { "silent half way", 3, tell "on D half hold" }, { "cut at a byte", 4, function()
    proxy:tell(("on bytes:%d before %s"):format(random(1, 3000), random(0, 1) == 0 and "rst" or "fin"))
  end },
  { "nobody listens", 4, function()
    proxy:tell "refuse"
    if random(0, 1) == 0 then proxy:tell "rst" end
    turn_for(random(50, 1500))
    proxy:tell "listen"
  end },
  { "deaf", 3, with("deaf=1", 100, 1500) }, { "answers held back", 4, with("down_hold=1", 20, 1200) },
  { "requests held back", 4, with("up_hold=1", 20, 1200) }, { "delay", 4, with("delay_ms=20", 100, 800) },
  { "slow to connect", 3, with("connect_delay_ms=300", 200, 1000) }, { "one byte each", 3, with("down_fragment=1", 100, 600) },
  { "10 kB/s", 3, with("down_rate=10000", 100, 800) },
  { "back end terminated", 6, back_ends("pg_terminate_backend(pid)", 1) },
  { "all terminated", 3, back_ends("pg_terminate_backend(pid)", 100) },
  { "stray cancel", 4, back_ends("pg_cancel_backend(pid)", 1) }, { "back end killed", 1, kill_one },
  { "server stopped", 2, function()
    postgres:freeze()
    turn_for(random(100, 1500))
    postgres:thaw()
  end },
  { "server restarted", 1, function()
    postgres:stop()
    turn_for(random(0, 1000))
    postgres:start()
  end },
}
local weights, happened = 0, {}
for _, fault in ipairs(faults) do weights = weights + fault[2] end

local function strike()
  local dice = random(1, weights)
  for _, fault in ipairs(faults) do
    dice = dice - fault[2]
    if dice <= 0 then
      happened[fault[1]] = (happened[fault[1]] or 0) + 1
      return fault[3]()
    end
  end
end

-- --- the run ---

local function rss_mb() return tonumber(process.read_file(("/proc/%d/status"):format(server.pid)):match "VmRSS:%s+(%d+)") / 1024 end

local function start()
  postgres = servers.postgres { set = { client_connection_check_interval = "100ms" } }
  proxy = fault_proxy.start(postgres.port)
  server = wick.start {
    plugins = { soak = { ["init.lua"] = plugin, ["schema/postgres.sql"] = schema } },
    config = {
      workers = 2, http = { request_timeout = "4s" },
      database = { sqlite = false, postgres = {
        primary = proxy:url(postgres.url) .. "&tcp_user_timeout=1500&keepalives_idle=1&keepalives_interval=1&keepalives_count=2",
        pool = {
          min_size = 2, max_size = 8, acquire_timeout = "1s", connect_timeout = "1s", statement_timeout = "3s", idle_timeout = "2s",
          max_lifetime = "20s", idle_in_transaction = "2s",
        },
      } },
    },
  }
  server:wait_until_ready()
  port = server.port
  for _ = 1, 40 do server:get "/services/1" end
end

local problems = {}
local function expect(condition, ...)
  if not condition then problems[#problems + 1] = (...):format(select(2, ...)) end
end

local function numbers(text)
  local list = {}
  for word in postgres:query(text):gmatch "%d+" do list[math.tointeger(word)] = (list[math.tointeger(word)] or 0) + 1 end
  return list
end

local function check_book(kind, rows, each)
  local unknown_there = 0
  for key, outcome in pairs(books[kind]) do
    local there = rows[key] or 0
    expect(outcome ~= "done" or there == each, "%s %d was acknowledged, and is there %d times", kind, key, there)
    expect(outcome ~= "never" or there == 0, "%s %d was reported as never run, and is there", kind, key)
    expect(there == 0 or there == each, "%s %d is there %d times", kind, key, there)
    if outcome == "unknown" and there > 0 then unknown_there = unknown_there + 1 end
  end
  return unknown_there
end

local function print_table(unknown_there, before_mb, after_mb)
  print(("%-8s %9s %12s %8s %8s   %s"):format("", "done", "unavailable", "never", "unknown", "of them there"))
  for _, kind in ipairs { "read", "list", "write", "pair", "count" } do
    local row = answers[kind] or {}
    print(("%-8s %9d %12d %8d %8d   %s"):format(kind, row.done or 0, row.unavailable or 0, row.never or 0, row.unknown or 0,
      unknown_there[kind] or ""))
    for outcome, count in pairs(row) do
      expect(not outcome:find "status", "%s: %d answers with %s", kind, count, outcome)
    end
  end
  local names = {}
  for name, count in pairs(happened) do names[#names + 1] = name .. " " .. count end
  table.sort(names)
  print("faults: " .. table.concat(names, ", "))
  print(("slowest answer %d ms, %d clients left, %.0f MB at first and %.0f MB at the end"):format(slowest_ms, abandoned, before_mb,
    after_mb))
end

local function run()
  start()
  local before = pool.look(server, postgres)
  for _ = 1, client_count do new_client() end
  turn_for(math.min(5000, seconds * 100))                        -- caches, arenas and statements have their size
  local before_mb, end_ms = rss_mb(), process.now_ms() + seconds * 1000
  while process.now_ms() < end_ms do
    turn_for(random(100, 1200))
    strike()
    expect(server:is_running(), "wick has ended")
    if not server:is_running() then break end
  end
  is_asking = false
  local last_ms = process.now_ms() + 15000
  while flying > 0 and process.now_ms() < last_ms do turn_for(20) end
  expect(flying == 0, "%d requests have no answer 15 s after the last fault", flying)
  expect(no_answer == 0, "%d connections ended without an answer", no_answer)
  for _, client in ipairs(clients) do client:close() end
  turn_for(100)
  local fine, why = pcall(pool.restores, server, postgres, "/services/1", before)
  expect(fine, "%s", why)
  local unknown_there = {
    write = check_book("write", numbers "select key from writes", 1),
    pair = check_book("pair", numbers "select key from pairs", 2),
    count = check_book("count", numbers "select key from counts", 1),
  }
  expect(postgres:query "select sum(n) = (select count(*) from counts) from counters" == "t", "the counters are not what was counted")
  local after_mb = rss_mb()
  local is_sanitized = (os.getenv "WICK_TEST_SANITIZE" or "") ~= ""  -- they keep what is freed, and look for leaks themselves
  expect(is_sanitized or after_mb < before_mb + 48, "memory has grown from %.0f to %.0f MB", before_mb, after_mb)
  local lagged, held = pool.laggards(server, "0.005", "lag"), pool.laggards(server, "0.005", "hold")
  local looks = server:metric "wick_loop_lag_seconds_count"
  local code, log, signal = server:stop()
  expect(code == 0, "wick ended with %s, signal %s: %s", code, signal, log:sub(-2000))
  expect(not log:find "open handle" and not log:find "bytes live", "wick's own look found a leak")
  print_table(unknown_there, before_mb, after_mb)
  print(("a loop was busy for more than 5 ms in %d of %d quarters of a second, in %d without the time it had no CPU"):format(
    lagged, looks, held))
end

-- What wick itself calls an error, in so far as something is wrong.
local function print_errors(log)
  local count = 0
  for line in log:gmatch "[^\n]+" do
    if line:find("level=error", 1, true) and count < 10 then
      count = count + 1
      print(line)
    end
  end
end

print(("seed %d, %d s, %d clients"):format(seed, seconds, client_count))
local fine, why = xpcall(run, debug.traceback)
expect(fine, "%s", why)
if log_path and server then process.write_file(log_path, server:log()) end
if #problems > 0 and server then print_errors(server:log()) end
wick.stop_all()
fault_proxy.stop_all()
servers.stop_all()
for i = 1, math.min(#problems, 20) do print("WRONG: " .. problems[i]) end
print(#problems == 0 and "nothing is lost, nothing is left" or ("%d things are wrong (seed %d)"):format(#problems, seed))
os.exit(#problems == 0 and 0 or 1)
