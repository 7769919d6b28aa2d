-- 200 connections that read and write the registry as fast as they can: nobody sees an error, and nobody waits long.

local wick = require "spec.support.wick"
local process = require "spec.support.process"

local slow = process.slow
local is_slow = (os.getenv "WICK_TEST_SANITIZE" or "") ~= ""

-- For wrk: of 20 requests 13 read a service, 4 a list and 1 the overview; 1 adds a service and 1 changes one.
local script = [[
local round, token, ids, n = nil, nil, {}, 0
local lists = { "/api/v1/services?status=running&limit=10", "/api/v1/services?group=payments", "/api/v1/services?limit=20" }

function init(args)
  round, token = args[1], args[2]
  for i = 3, #args do ids[#ids + 1] = args[i] end
end

function request()
  n = n + 1
  local id, kind = ids[n % #ids + 1], n % 20
  local headers = { Authorization = "Bearer " .. token, ["Content-Type"] = "application/json" }
  if kind == 0 then
    local body = ('{"name":"load-%s-%d","group_name":"load","port":%d}'):format(round, n, n % 65535 + 1)
    return wrk.format("POST", "/api/v1/services", headers, body)
  elseif kind == 10 then
    return wrk.format("PATCH", "/api/v1/services/" .. id, headers, ('{"port":%d}'):format(n % 65535 + 1))
  elseif kind == 5 then
    return wrk.format("GET", "/api/v1/overview")
  elseif kind % 5 == 3 then
    return wrk.format("GET", lists[n % #lists + 1])
  end
  return wrk.format("GET", "/api/v1/services/" .. id)
end

function response(status, headers, body)
  if status >= 400 then io.write(status, " ", body, "\n") end
end

function done(summary, latency)
  local e = summary.errors
  io.write(("requests=%d errors=%d p50=%.1f p95=%.1f p99=%.1f max=%.1f\n"):format(summary.requests,
    e.connect + e.read + e.write + e.timeout + e.status, latency:percentile(50) / 1000, latency:percentile(95) / 1000,
    latency:percentile(99) / 1000, latency.max / 1000))
end
]]

describe("under the load of 200 connections", function()
  local server

  after_each(wick.stop_all)

  local function start()
    server = wick.start { wait = false, config = [[return { listen = "127.0.0.1:${port}", admin = "127.0.0.1:${admin}",
      database = { sqlite = { path = "${dir}/demo.db", create = false } },
      plugins = { "${top}/plugins/accounts", "${top}/plugins/registry" } }]] }
    server.process:wait()                                        -- it has its folder, and says that the file is missing
    os.remove(server.log_path)
    local made = process.run { wick.top .. "/tools/demo-data", server.dir .. "/demo.db" }
    assert.equal(0, made.code, made.err)
    server:launch():wait_until_up():wait_until_ready()
  end

  local function login()
    local response = server:request("POST", "/api/v1/login", { json = { email = "admin@demo.example", password = "wick-demo-password" } })
    assert.is_true(response.status == 200 or response.status == 201, response.body)
    return response:json().token
  end

  -- Ticks of the processor: used by all, used by wick and what we ran, and all there were.
  local function ticks()
    local all, busy, n = 0, 0, 0
    for count in process.read_file("/proc/stat"):match("^cpu +([%d ]+)"):gmatch "%d+" do
      n = n + 1
      if n <= 8 then all = all + tonumber(count) end
      if n ~= 4 and n ~= 5 and n <= 8 then busy = busy + tonumber(count) end   -- 4: idle, 5: waiting for a disk
    end
    local function of(path, from)
      local fields = {}
      for field in process.read_file(path):match("%) (.*)$"):gmatch "%S+" do fields[#fields + 1] = field end
      return tonumber(fields[from]) + tonumber(fields[from + 1])
    end
    return busy, of(("/proc/%d/stat"):format(server.pid), 12) + of("/proc/self/stat", 14), all
  end

  -- Runs fn; the part of the machine that other programs used meanwhile, and what it returns.
  local function while_others_use(fn)
    local busy, ours, all = ticks()
    local value = fn()
    local busy_after, ours_after, all_after = ticks()
    return (busy_after - busy - (ours_after - ours)) / (all_after - all), value
  end

  it("the registry answers all without an error, 95 of 100 within 50 ms and 99 within 100 ms", function()
    if process.run({ "sh", "-c", "command -v wrk" }).code ~= 0 then
      pending "wrk is not installed"
      return
    end
    start()
    local token, ids = login(), {}
    for i, service in ipairs(server:get("/api/v1/services?limit=40"):json()) do ids[i] = service.id end
    assert.is_true(#ids > 20)
    process.write_file(server.dir .. "/mix.lua", script)
    local function once(round)
      return process.run {
        "wrk", "-t1", "-c200", "-d5s", "-s", server.dir .. "/mix.lua", "http://127.0.0.1:" .. server.port, "--",
        tostring(round), token, table.unpack(ids),
      }
    end
    local result, others, is_quick
    for round = 1, 3 do
      others, result = while_others_use(function() return once(round) end)
      local function found(name) return tonumber(result.out:match(name .. "=([%d.]+)")) end
      assert.equal(0, result.code, result.err)
      assert.equal(0, found "errors", result.out)
      assert.is_true(found "requests" > 2000 / slow(1), result.out)
      is_quick = found "p95" < 50 and found "p99" < 100
      if is_quick or is_slow then break end
    end
    assert.equal(0, server:metric("wick_http_requests_total", 'code="5'))
    local code, log = server:stop()
    assert.equal(0, code, log)
    assert.is_nil(log:find("level=error", 1, true), log)
    if not is_quick and not is_slow and others > 0.15 then
      pending(("other programs use %.0f %% of this machine: how quick it is cannot be judged"):format(others * 100))
      return
    end
    assert.is_true(is_quick or is_slow, result.out)
  end)
end)
