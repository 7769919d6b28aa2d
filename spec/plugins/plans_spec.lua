-- Every statement of the plugins' reading routes finds its rows by an index: as the handlers ask it, on the demo data.
--
-- The handlers run here with a cx that writes down what they ask; the engines then explain it.

local native = require "spec.lua.support.native"
local process = require "spec.support.process"
local servers = require "spec.support.servers"
local rig = require "spec.plugins.support.rig"
local plugin = require "wick.plugin"
local route = require "wick.route"
local settings = require "wick.settings"
local statements = require "wick.statements"

local ID = "01890a5d-ac96-774b-bcce-b302099a8057"
local SINCE, BEFORE = "2026-11-20T10:00:00Z", "2026-11-21T10:00:00.5Z"
local CURSOR = "before=7&before_time=" .. BEFORE

-- --- what the handlers ask ----------------------------------------------------------------------------------------------

local function query_of(text)
  local query = {}
  for name, value in text:gmatch "([%w_]+)=([^&]*)" do
    query[name] = query[name] and { query[name], value } or value
  end
  return query
end

-- A cx on `dialect` that writes every statement into `asked`.
local function recording_cx(dialect, options, asked)
  local cx = { dialect = dialect, options = options, db = {}, cache = {}, crypto = {}, json = native.json }
  local function record(kind)
    return function(_, sql, ...)
      sql = type(sql) == "table" and sql[dialect] or sql
      asked[#asked + 1] = { sql = sql, values = table.pack(...) }
      return kind == "rows" and {} or { reports = 0, account = 0, address = 0, failures = 1, there = 1 }
    end
  end
  cx.db.one, cx.db.rows, cx.db.exec = record "one", record "rows", record "exec"
  function cx.db.pipeline(_, fn)
    fn(cx.db)
    return {}
  end
  function cx.cache.get(_, _, _, loader)
    loader()
    return nil
  end
  cx.now = function() return 1795442400.25 end
  cx.crypto.sha256_hex = function() return ("0"):rep(64) end
  cx.reply = function(reply) return reply end
  cx.problem = function(status, slug, members) return { status = status, slug = slug, members = members } end
  return cx
end

-- The statements of one request; the route by its name.
local function asked_by(plugins, dialect, name, query)
  local asked = {}
  for _, one in ipairs(plugins) do
    for _, this in ipairs(one.routes) do
      if this.name == name then
        local cx = recording_cx(dialect, one.options, asked)
        local req = { params = { id = ID }, query = query_of(query), has_query = query ~= "", user = { id = ID }, path = "/x" }
        local answer = route.compile(this, {})(req, cx)
        assert(not answer or not answer.slug or answer.status == 404, answer and answer.slug)
      end
    end
  end
  assert(#asked > 0, name)
  return asked
end

local READS = {
  service_list = { "", "status=running", "group=data", "status=running&group=data", "active=false", "after=edge", "label=team:insight",
    "label=team:insight&label=tier:batch", "status=running&label=team:insight&after=data", "group=data&after=data-e&limit=3" },
  service_get = { "" },
  health_history = { "", CURSOR, "since=" .. SINCE, "since=" .. SINCE .. "&until=" .. BEFORE .. "&" .. CURSOR },
  health_summary = { "", "window=31d" },
  log_list = { "", CURSOR, "level=error", "level=error&" .. CURSOR, "service=" .. ID, "service=" .. ID .. "&level=error&" .. CURSOR,
    "since=" .. SINCE, "since=" .. SINCE .. "&until=" .. BEFORE, "service=" .. ID .. "&since=" .. SINCE .. "&until=" .. BEFORE },
  overview = { "" },
  user_list = { "", "active=true", "after=dora@demo.example", "active=false&after=dora@demo.example" },
  user_get = { "" }, me = { "" }, key_list = { "" },
}

-- Runs fn(statement, what) for every statement of every read.
local function each_read(dialect, fn)
  local checked = assert(settings.check {})
  checked.config_folder = "./"
  local plugins = assert(plugin.load_all(checked, function() return {} end))
  local names = {}
  for name in pairs(READS) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    for _, query in ipairs(READS[name]) do
      for _, asked in ipairs(asked_by(plugins, dialect, name, query)) do
        fn(asked, ("%s?%s: %s"):format(name, query, asked.sql))
      end
    end
  end
  for _, one in ipairs(plugins) do -- the middleware's look-up of a token
    if one.plugin.name == "accounts" then
      local asked = {}
      local cx = recording_cx(dialect, one.options, asked)
      local guarded = one.plugin.middleware[1].wrap(function() end, { auth = "user" }, cx)
      guarded({ headers = { authorization = "Bearer wks_x" } }, cx)
      assert(#asked == 1)
      fn(asked[1], "token: " .. asked[1].sql)
    end
  end
end

describe("the plans", function()
  local dir

  setup(function()
    dir = process.temp_dir()
    local result = process.run { "tools/demo-data", dir .. "/demo.db" }
    assert.equal(0, result.code, result.err)
  end)

  teardown(function()
    servers.stop_all()
    process.run { "rm", "-rf", dir }
  end)

  it("of SQLite search by an index, and sort only what is small", function()
    local count = 0
    each_read("sqlite", function(asked, what)
      count = count + 1
      -- sqlite3 lacks the functions that wick adds; none of them decides about a plan
      local sql = asked.sql:gsub("percentile%(([%w_]+), [%d.]+%)", "max(%1)"):gsub("now%(%)", "''")
      local result = process.run { "sqlite3", "-batch", dir .. "/demo.db", "explain query plan " .. sql }
      assert.equal("", result.err, what)
      assert.not_equal("", result.out)
      for line in result.out:gmatch "[^\n]+" do
        if line:find("SCAN", 1, true) then -- in the order of an index, up to the limit
          assert(line:find "SCAN %a+ USING" and (sql:find " limit %$" or line:find "SCAN services"), what .. "\n" .. result.out)
        end
        if line:find("TEMP B-TREE", 1, true) then
          assert(line:find("GROUP BY", 1, true) or what:find("label=", 1, true), what .. "\n" .. result.out)
        end
      end
    end)
    assert.is_true(count >= 35, count)
  end)

  it("of PostgreSQL scan no table of growing size, and have an index for the others when these grow", function()
    local postgres = servers.postgres()
    for _, path in ipairs { "plugins/accounts/schema/postgres.sql", "plugins/registry/schema/postgres.sql" } do
      for _, statement in ipairs(statements(process.read_file(path))) do
        postgres:query(statement)
      end
    end
    rig.copy_rows(dir .. "/demo.db", postgres)

    local function literal(value)
      if type(value) == "string" then
        return "'" .. value:gsub("'", "''") .. "'"
      end
      return tostring(value)
    end
    local function explain(asked, set)
      local values = {}
      for i = 1, asked.values.n do
        values[i] = literal(asked.values[i])
      end
      local call = #values > 0 and ("p(%s)"):format(table.concat(values, ", ")) or "p"
      return postgres:query(("%sprepare p as %s; explain execute %s"):format(set, asked.sql, call))
    end
    each_read("postgres", function(asked, what)
      local plan = explain(asked, "")
      assert(not plan:find "Seq Scan on health_metrics" and not plan:find "Seq Scan on logs", what .. "\n" .. plan)
      plan = explain(asked, "set enable_seqscan = off; ")
      assert(not plan:find "Seq Scan", what .. "\n" .. plan)
    end)
  end)
end)
