-- The SQLite file locked, on a full disk, unreadable, or wick killed in the middle: what was acknowledged is in the file, what
-- was not is said plainly, and all goes on when the trouble is over.

local uv = require "luv"
local wick = require "spec.support.wick"
local process = require "spec.support.process"
local http = require "spec.support.http"

local plugin = [[
local S = require "wick.schema"
return {
  name = "notes", version = "1.0.0", schema = "schema",
  routes = {
    { "GET", "/memory", name = "memory", handler = function() return { fine = true } end },
    { "GET", "/notes/{id:int64}", name = "note_get", handler = function(req, cx)
        return cx.db:one("select id, text from notes where id = $1", req.params.id) or cx.problem(404, "note-not-found")
      end },
    { "GET", "/count", name = "count", handler = function(req, cx) return cx.db:one "select count(*) as n from notes" end },
    { "POST", "/notes", name = "note_add", body = S.record { id = S.int64 {}, text = S.string {} }, handler = function(req, cx)
        cx.db:exec("insert into notes(id, text) values ($1, $2)", req.body.id, req.body.text)
        return cx.created("/notes/" .. req.body.id, { id = req.body.id })
      end },
    { "POST", "/pairs", name = "pair_add", body = S.record { id = S.int64 {}, text = S.string {} }, handler = function(req, cx)
        local tx <close> = cx.db:begin()
        tx:exec("insert into notes(id, text) values ($1, $2)", req.body.id, req.body.text)
        tx:exec("insert into notes(id, text) values ($1, $2)", -req.body.id, req.body.text)
        tx:commit()
        return cx.created("/notes/" .. req.body.id, { id = req.body.id })
      end },
  },
}
]]

local files = {
  ["init.lua"] = plugin, ["schema/sqlite.sql"] = "create table if not exists notes (id integer primary key, text text not null);",
}
local reader = [[
return { name = "reading", version = "1.0.0", routes = {
  { "GET", "/count", name = "count", handler = function(req, cx) return cx.db:one "select count(*) as n from notes" end },
  { "POST", "/notes", name = "note_add", handler = function(req, cx) return cx.db:exec "insert into notes values (9, 'x')" end },
} }
]]

describe("the SQLite file", function()
  local server, path, cleanups

  before_each(function() cleanups = {} end)
  after_each(function()
    wick.stop_all()
    for i = #cleanups, 1, -1 do cleanups[i]() end
  end)

  local function start(sqlite)
    server = wick.start { plugins = { notes = files }, config = { database = { sqlite = sqlite or {} } } }
    server:wait_until_ready()
    path = sqlite and sqlite.path or server.dir .. "/wick.db"
  end

  local function sqlite(text, file)
    local result = process.run { "sqlite3", "-batch", "-bail", file or path, text }
    assert.equal(0, result.code, result.err)
    return (result.out:gsub("\n$", ""))
  end

  local function add(id, text, route)
    return server:request("POST", route or "/notes", { json = { id = id, text = text or "text" } })
  end

  local function count() return math.tointeger(server:get("/count"):json().n) end

  local function is_unavailable(response)
    assert.equal(503, response.status, response.body)
    assert.equal("application/problem+json", response.headers["content-type"])
    assert.is_true(tonumber(response.headers["retry-after"]) >= 1)
  end

  local function log_has(text)
    assert.is_true(process.eventually(function() return server:log():find(text, 1, true) ~= nil end, 1000), text .. " in " .. server:log())
  end

  -- A sqlite3 that runs what it is told, line by line.
  local function shell()
    local fifo = server.dir .. "/fifo"
    assert.equal(0, process.run { "mkfifo", fifo }.code)
    local lines = assert(io.open(fifo, "r+"))
    local child = process.start({ "sqlite3", "-batch", path }, { input = fifo, err = server.dir .. "/shell" })
    local function tell(text)
      lines:write(text, "\n")
      lines:flush()
    end
    cleanups[#cleanups + 1] = function()
      child:signal "sigkill"
      child:wait()
      lines:close()
    end
    return tell
  end

  it("is locked by another program, writes wait for busy_timeout and are then refused, reads go on, nothing is lost", function()
    start { busy_timeout = "300ms" }
    assert.equal(201, add(1).status)
    local tell = shell()
    tell "begin exclusive; insert into notes values (100, 'theirs');"
    assert.is_true(process.eventually(function()
      return process.run({ "sqlite3", path, "begin immediate" }).code ~= 0
    end, 3000))
    local before = process.now_ms()
    local refused = add(2)
    local took = process.now_ms() - before
    is_unavailable(refused)
    assert.is_true(took >= 250 and took < process.slow(1500), took .. " ms")
    assert.is_truthy(refused.body:find("lock", 1, true), refused.body)
    is_unavailable(add(3, "text", "/pairs"))
    assert.equal(1, count())
    log_has "busy_timeout"
    local waiting = assert(server:connect())
    assert(waiting:send(http.format("POST", "/notes", { json = { id = 4, text = "in time" } })))
    process.sleep_ms(100)
    tell "commit;"
    assert.equal(201, assert(waiting:response()).status)
    assert.equal(201, add(2).status)
    assert.equal("1|2|4|100", (sqlite "select group_concat(id, '|') from (select id from notes order by id)"))
  end)

  it("is written by another program meanwhile, and that is seen", function()
    start()
    assert.equal(404, server:get("/notes/7").status)
    sqlite "insert into notes values (7, 'from outside')"
    assert.equal("from outside", server:get("/notes/7"):json().text)
    assert.equal(409, add(7).status)
    sqlite "update notes set text = 'changed' where id = 7"
    assert.equal("changed", server:get("/notes/7"):json().text)
    sqlite "alter table notes add column more text default 'm'"
    assert.equal("changed", server:get("/notes/7"):json().text)
    assert.equal(201, add(8).status)
    assert.equal("8|text|m", sqlite "select * from notes where id = 8")
  end)

  -- Writes until one is refused and a few more; true answers are remembered.
  local function write_until_full(text, from)
    local acknowledged, refused = {}, 0
    for id = from, from + 400 do
      local response = add(id, text, id % 2 == 0 and "/pairs" or "/notes")
      if response.status == 201 then
        acknowledged[#acknowledged + 1] = id
      else
        is_unavailable(response)
        refused = refused + 1
        assert.is_truthy(response.body:find("full", 1, true), response.body)
      end
      if refused == 5 then break end
    end
    assert.equal(5, refused)
    return acknowledged
  end

  local function holds_exactly(acknowledged)
    local ids = {}
    for _, id in ipairs(acknowledged) do
      ids[#ids + 1] = id
      if id % 2 == 0 then ids[#ids + 1] = -id end
    end
    table.sort(ids)
    assert.equal(table.concat(ids, ","), sqlite "select group_concat(id) from (select id from notes order by id)")
  end

  local function survives_being_full(make_full, make_room)
    make_full()
    local acknowledged = write_until_full(("x"):rep(50000), 1)
    assert.is_true(server:is_running())
    assert.equal(200, server:get("/memory").status)
    assert.equal(200, server:get("/count").status)
    holds_exactly(acknowledged)
    log_has "full"
    make_room()
    assert.is_true(process.eventually(function() return add(1001).status == 201 end, 2000))
    assert.is_true(process.eventually(function() return server:admin("/readyz").status == 200 end, 2000))
    acknowledged[#acknowledged + 1] = 1001
    holds_exactly(acknowledged)
    assert.equal("ok", sqlite "pragma integrity_check")
    assert.equal(0, (server:stop()))
    holds_exactly(acknowledged)
  end

  it("may not grow (a quota, a limit of file size): writes are refused, nothing is lost, and it goes on when there is room", function()
    start()
    survives_being_full(function()
      assert.equal(0, process.run({ "prlimit", "--pid", tostring(server.pid), "--fsize=1000000:" }).code)
    end, function()
      assert.equal(0, process.run({ "prlimit", "--pid", tostring(server.pid), "--fsize=unlimited:" }).code)
    end)
  end)

  it("is on a full disk: writes are refused, nothing is lost, and it goes on when there is room", function()
    local disk = process.temp_dir()
    cleanups[#cleanups + 1] = function() process.run { "rmdir", disk } end
    if process.run({ "mount", "-t", "tmpfs", "-o", "size=3m", "none", disk }).code ~= 0 then
      pending "needs root, to mount a small disk"
      return
    end
    cleanups[#cleanups + 1] = function() process.run { "umount", disk } end
    start { path = disk .. "/wick.db" }
    survives_being_full(function() process.write_file(disk .. "/filler", ("f"):rep(1500000)) end,
      function() assert(os.remove(disk .. "/filler")) end)
  end)

  -- What wick says when it does not start with this file.
  local function refusal(file, options)
    local one = wick.start {
      plugins = { notes = files }, config = { database = { sqlite = { path = file, create = options and options.create } } },
      wait = false, under = options and options.under,
    }
    local code = assert(one.process:wait(10000), "it goes on:\n" .. one:log())
    return code, one:log()
  end

  it("is removed, or another takes its place: writes are refused instead of lost, and a restart helps", function()
    start()
    assert.equal(201, add(1).status)
    assert.is_true(os.rename(path, path .. ".away"))
    is_unavailable(add(2))
    is_unavailable(add(3, "pair", "/pairs"))
    local ready = server:admin "/readyz"
    assert.equal(503, ready.status)
    assert.is_truthy(ready.body:find("moved, removed or replaced", 1, true))
    assert.is_true(os.rename(path .. ".away", path))
    assert.equal(201, add(4).status)
    assert.equal(2, count())
    server:wait_until_ready()
  end)

  it("is no database, has no folder, does not exist, or is a folder: wick does not start and says what to do", function()
    local dir = process.temp_dir()
    cleanups[#cleanups + 1] = function() process.run { "rm", "-rf", dir } end
    process.write_file(dir .. "/text.db", ("this is no database\n"):rep(100))
    for file, words in pairs {
      [dir .. "/text.db"] = { 78, "is not an SQLite database", "name another file" },
      [dir .. "/missing/wick.db"] = { 1, "the folder must exist and be writable" },
      [dir] = { 78, "is not a file", "name the SQLite file itself" },
      [":memory:"] = { 78, "must name a file" },
    } do
      local code, log = refusal(file)
      assert.is_true(code == words[1] or code == 78, file .. ": " .. code)
      for i = 2, #words do assert.is_truthy(log:find(words[i], 1, true), log) end
      assert.is_nil(log:find("left open", 1, true))
    end
    local code, log = refusal(dir .. "/absent.db", { create = false })
    assert.equal(78, code)
    assert.is_truthy(log:find("does not exist", 1, true), log)
    assert.is_nil(uv.fs_stat(dir .. "/absent.db"))
    assert.equal(("this is no database\n"):rep(100), process.read_file(dir .. "/text.db"))
  end)

  it("is read-only: it is served for reading, and wick does not start where tables must be made", function()
    local under = uv.getuid() == 0 and { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups" } or {}
    local version = { wick.binary(), "version" }
    table.move(version, 1, 2, #under + 1)
    table.move(under, 1, #under, 1, version)
    if process.run(version).code ~= 0 then
      pending "the user nobody cannot run this wick"
      return
    end
    local dir = process.temp_dir()
    cleanups[#cleanups + 1] = function() process.run { "rm", "-rf", dir } end
    sqlite("create table notes (id integer primary key, text text not null); insert into notes values (1, 'kept')", dir .. "/kept.db")
    uv.fs_chmod(dir .. "/kept.db", tonumber("444", 8))
    uv.fs_chmod(dir, tonumber("555", 8))
    server = wick.start {
      plugins = { reading = reader }, config = { database = { sqlite = { path = dir .. "/kept.db" } } }, under = under,
    }
    assert.equal('{"n":1}', server:get("/count").body)
    local refused = server:request("POST", "/notes")
    assert.equal(503, refused.status)
    log_has "read-only"
    local code, log = refusal(dir .. "/kept.db", { under = under })
    assert.equal(78, code)
    assert.is_truthy(log:find("read-only", 1, true), log)
    assert.is_truthy(log:find("permissions", 1, true), log)
    uv.fs_chmod(dir, tonumber("755", 8))
  end)

  -- 32 clients write as fast as they can until it is killed; the ids that were acknowledged.
  local function write_until_killed(after_ms, base)
    local conns, acknowledged, id = {}, {}, base
    for i = 1, 32 do conns[i] = assert(server:connect()) end
    local killer = process.start { "sh", "-c", ("sleep %.3f; kill -KILL %d"):format(after_ms / 1000, server.pid) }
    repeat
      local sent = {}
      for i, conn in ipairs(conns) do
        id = id + 1
        local route = id % 2 == 0 and "/pairs" or "/notes"
        sent[i] = conn:send(http.format("POST", route, { json = { id = id, text = "kept" } })) and id
      end
      local alive = true
      for i, conn in ipairs(conns) do
        local response = sent[i] and conn:response()
        if not response then
          alive = false
        else
          assert.equal(201, response.status, response.body)
          acknowledged[#acknowledged + 1] = sent[i]
        end
      end
    until not alive
    for _, conn in ipairs(conns) do conn:close() end
    killer:wait()
    server.process:wait()
    return acknowledged
  end

  it("has every row that was acknowledged after kill -9 under 32 writers, and transactions whole or not at all", function()
    start()
    local acknowledged = {}
    for round = 1, 3 do
      local more = write_until_killed(400 + round * 70, round * 1000000)
      assert.is_true(#more >= 32, #more .. " writes")
      table.move(more, 1, #more, #acknowledged + 1, acknowledged)
      local there = {}
      for id in sqlite("select id from notes"):gmatch "%-?%d+" do there[math.tointeger(tonumber(id))] = true end
      for _, id in ipairs(acknowledged) do
        assert.is_true(there[id], "lost: " .. id)
        assert.is_true(id % 2 == 1 or there[-id], "half a transaction: " .. id)
      end
      for id in pairs(there) do assert.is_true(id % 2 == 1 or there[-id], "half a transaction: " .. id) end
      server:restart()
      server:wait_until_ready()
    end
    assert.equal("ok", sqlite "pragma integrity_check")
  end)
end)
