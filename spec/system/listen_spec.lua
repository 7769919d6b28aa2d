-- COPY and LISTEN as a plugin's author sees them: the README's plugin works as written, and faults end where they should.

local wick = require "spec.support.wick"
local servers = require "spec.support.servers"
local process = require "spec.support.process"

local readme = process.read_file "README.md"

local function block(text)
  for lua in readme:gmatch "```lua\n(.-)```" do
    if lua:find(text, 1, true) then return lua end
  end
  error("no Lua block of the README has " .. text)
end

local plugin = [[
local heard, gaps, running, most = {}, 0, 0, 0
local filler
local function many(n)
  local i = 0
  return function()
    i = i + 1
    return i <= n and ("%d\t%s\n"):format(i, ("x"):rep(900)) or nil
  end
end
return {
  name = "copies", version = "1.0.0", schema = "schema",
  listen = {
    plain = function(payload, cx)
      if payload == "fail" then error "as asked" end
      running = running + 1
      most = math.max(most, running)
      cx.sleep(20)
      running = running - 1
      heard[#heard + 1] = payload
    end,
    ["With Gap"] = { note = function() end, gap = function(cx) gaps = gaps + 1 end },
  },
  routes = {
    { "GET", "/heard", name = "heard", handler = function() return { heard = table.concat(heard, " "), gaps = gaps, most = most } end },
    { "POST", "/notify", name = "notify", handler = function(req, cx)
        return { results = select("#", cx.db:notify("plain", req.body.text)) }
      end },
    { "POST", "/in", name = "copy_in", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        local rows = tx:copy_in("copy copied from stdin", many(req.body.rows))
        tx:commit()
        return { rows = rows }
      end },
    { "POST", "/list", name = "copy_list", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        return { rows = tx:copy_in("copy copied from stdin", { "1\ta", "\n", "", "2\tb\n" }) }
      end },
    { "POST", "/raise", name = "raise", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        local fine, why = pcall(tx.copy_in, tx, "copy copied from stdin", function() cx.sleep(5); error("no more", 0) end)
        local after, problem = pcall(tx.exec, tx, "select 1")
        return { fine = fine, why = why, after = after, sqlstate = problem.sqlstate }
      end },
    { "POST", "/inside", name = "inside", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        local fine, why = pcall(tx.copy_in, tx, "copy copied from stdin", function() tx:exec "select 1" end)
        return { fine = fine, why = why }
      end },
    { "POST", "/forgotten", name = "forgotten", handler = function(req, cx)
        local tx = cx.db:begin()
        local next_chunk = tx:copy_out "copy (select generate_series(1, 10000000)) to stdout"
        return { got = #next_chunk() > 0 }
      end },
    { "POST", "/never", name = "never", timeout = "300ms", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        tx:copy_in("copy copied from stdin", function() cx.sleep "100ms"; return "" end)
      end },
    { "POST", "/leave", name = "leave", handler = function(req, cx)
        local tx = cx.db:begin()
        filler = coroutine.create(function()
          return tx:copy_in("copy copied from stdin", function() coroutine.yield() return "7\tx\n" end)
        end)
        return { fine = coroutine.resume(filler), waits = coroutine.status(filler) }
      end },
    { "POST", "/resume", name = "resume", handler = function()
        local fine, why = coroutine.resume(filler)
        return { fine = fine, why = tostring(why) }
      end },
    { "GET", "/out", name = "copy_out", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        local bytes, chunks = 0, 0
        for chunk in tx:copy_out "copy (select i, t from copied) to stdout (format csv)" do
          bytes, chunks = bytes + #chunk, chunks + 1
        end
        return { bytes = bytes, chunks = chunks, still = tx:one("select 1 as n").n }
      end },
    { "GET", "/left", name = "left", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        for chunk in tx:copy_out "copy (select generate_series(1, 10000000), repeat('x', 900)) to stdout" do break end
        return { fine = (pcall(tx.exec, tx, "select 1")) }
      end },
    { "GET", "/refused", name = "refused", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        local texts = {}
        for i, try in ipairs {
          function() tx:copy_in("copy copied from '/etc/passwd'", {}) end,
          function() tx:copy_out "copy copied to program 'id'" end,
          function() tx:copy_in("copy copied to stdout", {}) end,
          function() tx:copy_in("copy copied from stdin; drop table copied", {}) end,
        } do
          local fine, why = pcall(try)
          texts[i] = tostring(why)
        end
        return { texts = texts, still = tx:one("select 1 as n").n }
      end },
    { "GET", "/dialect", name = "dialect", handler = function(req, cx)
        local tx <close> = cx.db:begin()
        local _, copy = pcall(tx.copy_in, tx, "copy copied from stdin", {})
        local _, notify = pcall(cx.db.notify, cx.db, "plain", "x")
        return { copy = copy.text, notify = notify.text }
      end },
  },
}
]]

local schema = "create table if not exists copied (i int primary key, t text);\n"

describe("COPY and LISTEN of a plugin", function()
  local postgres, server

  setup(function() postgres = servers.postgres() end)
  after_each(wick.stop_all)
  teardown(servers.stop_all)

  local function start(workers)
    server = wick.start {
      plugins = { copies = { ["init.lua"] = plugin, ["schema/postgres.sql"] = schema, ["schema/sqlite.sql"] = schema } },
      config = {
        workers = workers or 2, database = { sqlite = false, postgres = { primary = postgres.url, pool = { min_size = 1, max_size = 3 } } },
      },
    }
    server:wait_until_ready()
    postgres:query "truncate copied"
  end

  local function post(path, json) return server:request("POST", path, { json = json or {} }) end

  -- /heard of the worker that listens: each has a VM of its own.
  local function heard(test)
    local last
    return process.eventually(function()
      last = server:get "/heard":json()
      return test(last)
    end, 10000)
  end

  local function is_clean()
    return process.eventually(function()
      return postgres:query [[select count(*) from pg_stat_activity where application_name = 'wick' and state <> 'idle']] == "0"
    end, 5000)
  end

  it("copies rows in from a function and from a list, and out in a loop", function()
    start()
    assert.equal(30000, post("/in", { rows = 30000 }):json().rows)
    assert.equal("30000", postgres:query "select count(*) from copied")
    local out = server:get "/out":json()
    assert.equal(tonumber(postgres:query "select sum(length(i::text) + length(t) + 2) from copied"), out.bytes)
    assert.is_true(out.chunks > 10 and out.chunks < 30000)
    assert.equal(1, out.still)
    postgres:query "truncate copied"
    assert.equal(2, post "/list":json().rows)
    assert.is_true(is_clean())
  end)

  it("fails the transaction with what the producer raised, or the server said", function()
    start()
    local raised = post "/raise":json()
    assert.equal("no more", raised.why)
    assert.is_false(raised.after)
    assert.equal("25P02", raised.sqlstate)
    assert.is_truthy(post "/inside":json().why:find("a COPY runs in this transaction", 1, true))
    assert.equal(30, post("/in", { rows = 30 }):json().rows)
    assert.equal(409, post("/in", { rows = 30 }).status) -- the same keys again
    assert.is_false(server:get "/left":json().fine)
    assert.is_true(post "/forgotten":json() ~= nil)
    assert.equal(504, post "/never".status)
    assert.is_true(is_clean())
    assert.equal("30", postgres:query "select count(*) from copied")
  end)

  it("ends a COPY with its request, though a coroutine lies in its producer", function()
    start(1)
    assert.equal(500, post "/leave".status) -- a transaction was still open
    local resumed = post "/resume":json()
    assert.is_false(resumed.fine)
    assert.is_truthy(resumed.why:find("this COPY belongs to another request", 1, true), resumed.why)
    assert.is_true(is_clean())
    assert.equal("0", postgres:query "select count(*) from copied")
  end)

  it("ends a COPY whose client has left", function()
    start()
    local conn = server:connect()
    conn:send "POST /in HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"rows\":90000000}"
    assert.is_true(process.eventually(function()
      return postgres:query [[select count(*) from pg_stat_activity where query like 'copy copied%' and state = 'active']] == "1"
    end, 5000))
    conn:close()
    assert.is_true(is_clean())
    assert.equal("0", postgres:query "select count(*) from copied")
  end)

  it("never reaches files and programs of the server", function()
    start()
    local refused = server:get "/refused":json()
    assert.is_truthy(refused.texts[1]:find("out of reach", 1, true))
    assert.is_truthy(refused.texts[2]:find("out of reach", 1, true))
    assert.is_truthy(refused.texts[3]:find("use tx:copy_out", 1, true))
    assert.is_truthy(refused.texts[4]:find("one statement at a time", 1, true))
    assert.equal(1, refused.still)
  end)

  it("hears notes in order, one at a time, on one worker, and goes on after an error", function()
    start()
    postgres:query "select pg_notify('plain', 'fail')"
    for i = 1, 5 do postgres:query(("select pg_notify('plain', '%d')"):format(i)) end
    assert.equal(0, post("/notify", { text = "six" }):json().results)
    assert.is_true(heard(function(last) return last.heard == "1 2 3 4 5 six" and last.most == 1 end))
    local log = server:log()
    assert.is_truthy(log:find("a handler of notifications failed", 1, true))
    assert.is_truthy(log:find("as asked", 1, true))
    assert.equal(1, tonumber(postgres:query "select count(*) from pg_stat_activity where application_name = 'wick listen'"))
    assert.equal(2, server:metric "wick_pg_listen_channels")
    assert.equal(2, server:metric "wick_pg_listen_subscribers")
    assert.equal(7, server:metric "wick_pg_listen_notifications_total")
    local code, text = server:stop()
    assert.equal(0, code, text)
    assert.equal("0", postgres:query "select count(*) from pg_stat_activity where application_name = 'wick listen'")
  end)

  it("calls the gap handler when listening begins, and after each loss", function()
    start()
    assert.is_true(heard(function(last) return last.gaps == 1 end))
    postgres:query "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'wick listen'"
    assert.is_true(heard(function(last) return last.gaps == 2 end))
    postgres:kill()
    postgres:start()
    assert.is_true(heard(function(last) return last.gaps == 3 end))
    assert.equal(4, server:metric "wick_pg_listen_gaps_total") -- of two channels, twice
  end)

  it("says on SQLite that there is neither", function()
    server = wick.start { plugins = { copies = { ["init.lua"] = plugin, ["schema/sqlite.sql"] = schema } } }
    server:wait_until_ready()
    local dialect = server:get "/dialect":json()
    assert.is_truthy(dialect.copy:find("sqlite has no COPY", 1, true))
    assert.is_truthy(dialect.notify:find("sqlite has no LISTEN", 1, true))
    assert.is_truthy(server:log():find("a plugin hears no notifications", 1, true))
  end)

  it("works as the README shows it", function()
    server = wick.start {
      plugins = { prices = { ["init.lua"] = block "price_import",
        ["schema/postgres.sql"] = "create table if not exists prices (sku text primary key, cents int not null);" } },
      config = { workers = 2, database = { sqlite = false, postgres = { primary = postgres.url, pool = { min_size = 1, max_size = 3 } } } },
    }
    server:wait_until_ready()
    postgres:query "truncate prices"
    assert.equal("", server:get "/prices".body)
    local imported = server:request("POST", "/prices", { body = "a,100\nb,250\n", headers = { ["content-type"] = "text/csv" } })
    assert.equal(200, imported.status, imported.body)
    assert.equal(2, imported:json().rows)
    assert.is_true(process.eventually(function() return server:get "/prices".body == "a,100\nb,250\n" end, 5000))
  end)
end)
