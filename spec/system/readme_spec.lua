-- What the README shows is what happens: its plugin, its configuration and its curl lines are taken from its text.

local wick = require "spec.support.wick"
local process = require "spec.support.process"
local servers = require "spec.support.servers"

local readme = process.read_file "README.md"

-- The fenced Lua block that has `text` in it.
local function block(text)
  for lua in readme:gmatch "```lua\n(.-)```" do
    if lua:find(text, 1, true) then return lua end
  end
  error("no Lua block of the README has " .. text)
end

describe("the README", function()
  after_each(function()
    wick.stop_all()
    servers.stop_all()
  end)

  local function shows_the_notes(database)
    local schema = readme:gmatch "`(create table if not exists notes[^`]*)`"
    local server = wick.start {
      config = [[return { listen = "127.0.0.1:${port}", admin = "127.0.0.1:${admin}", database = ]] .. database .. [[,
        plugins = { "${top}/plugins/accounts", "${dir}/plugins/notes",
          accounts = { first_admin = { email = "a@example.com", password = "long enough" } } } }]],
      plugins = { notes = { ["init.lua"] = block "note_add", ["schema/sqlite.sql"] = schema(), ["schema/postgres.sql"] = schema() } },
    }
    server:wait_until_ready()
    assert.equal(401, server:request("POST", "/notes", { json = { text = "one" } }).status)
    local token = server:request("POST", "/api/v1/login", { json = { email = "a@example.com", password = "long enough" } }):json().token
    local headers = { authorization = "Bearer " .. token }
    local made = server:request("POST", "/notes", { json = { text = "one" }, headers = headers })
    assert.equal(201, made.status)
    assert.equal("/notes/1", made.headers.location)
    assert.equal('{"id":1,"text":"one"}', server:get("/notes/1").body)
    assert.equal(404, server:get("/notes/2").status)
    assert.equal(422, server:request("POST", "/notes", { json = { text = "" }, headers = headers }).status)
  end

  it("shows a plugin that works as written, on both engines", function()
    shows_the_notes '{ sqlite = { path = "${dir}/wick.db" } }'
    shows_the_notes(('{ sqlite = false, postgres = { primary = %q } }'):format(servers.postgres().url))
  end)

  it("shows uses of the pool that work as written, under the settings it shows", function()
    local postgres = servers.postgres()
    local function handler(method, path, lua, returned)
      return ('{ %q, %q, name = %q, handler = function(req, cx) local id, sum = req.params.id, 5\n%s\nreturn %s end },\n'):format(
        method, path, path:match "%a+", lua, returned)
    end
    local plugin = table.concat {
      [[local S = require "wick.schema"
        local Event = S.record { text = S.string {} }
        local channel, payload = "events", "one"
        local function report(req, cx) return cx.db:one "select count(*) as events from events" end
        local function add(req, cx) return cx.db:one("insert into events(text) values ($1) returning id", req.body.text) end
        return { name = "shown", version = "1.0.0", schema = "schema", routes = {]],
      handler("POST", "/begun/{id:int64}", block "local tx <close> = cx.db:begin()\ntx:exec(",
        "cx.db:one('select text from notes where id = $1', id)"),
      handler("POST", "/piped/{id:int64}", block "cx.db:pipeline(", "{ balance = balance, first = results[1] ~= nil }"),
      handler("POST", "/rerun/{id:int64}", block "cx.db:transaction(", "{ balance = balance }"),
      handler("POST", "/twice/{id:int64}", readme:match "`(cx%.db:with{ idempotent = true }:exec%b())`", "cx.no_content()"),
      handler("POST", "/notified", readme:match "`(cx%.db:notify%b())`", "cx.no_content()"),
      block "group = true",
      "} }",
    }
    local server = wick.start {
      config = ('return { listen = "127.0.0.1:${port}", admin = "127.0.0.1:${admin}", plugins = { "${dir}/plugins/shown" },\n%s}'):format(
        block "autosize = true"),
      env = { DATABASE_URL = postgres.url },
      plugins = { shown = { ["init.lua"] = plugin, ["schema/postgres.sql"] = [[
        create table if not exists notes (id int primary key, text text, seen boolean not null default false);
        create table if not exists wallets (id int primary key, balance int not null);
        create table if not exists events (id bigint generated always as identity primary key, text text not null);
        insert into notes values (1, 'one') on conflict do nothing; insert into wallets values (1, 100) on conflict do nothing;]] } },
    }
    server:wait_until_ready()
    local function post(path, json)
      local response = server:request("POST", path, { json = json })
      assert.is_true(response.status < 300, path .. ": " .. tostring(response.body))
      return response.status ~= 204 and response:json()
    end
    assert.equal("ONE", post "/begun/1".text)
    assert.same({ balance = 105, first = true }, post "/piped/1")
    assert.same({ balance = 100 }, post "/rerun/1")
    post "/twice/1"
    assert.equal("t", postgres:query "select seen from notes")
    post "/notified"
    assert.equal(1, post("/events", { text = "one" }).id)
    assert.equal(1, server:get "/report":json().events)
    assert.is_truthy(readme:find("/admin/pool", 1, true))
    local pool = server:admin "/admin/pool":json()
    assert.same({ 5, 40 }, { pool.min_size, pool.max_size })
    local shown = wick.command({ "pool", "--config", server.config_path }, { env = { DATABASE_URL = postgres.url } })
    assert.equal(0, shown.code, shown.err)
  end)

  it("shows configurations that are right", function()
    local dir = process.temp_dir()
    process.write_file(dir .. "/config.lua", block "DATABASE_URL")
    local result = wick.command({ "check", "--config", dir .. "/config.lua" },
      { env = { DATABASE_URL = "postgres://a@127.0.0.1/b", REDIS_URL = "redis://127.0.0.1", WICK_PLUGINS = false } })
    assert.equal(0, result.code, result.err)
  end)

  it("names commands and settings that exist", function()
    for words in readme:gmatch "build/release/wick ([%w ]+)%s+#" do
      local list = {}
      for word in words:gmatch "%w+" do list[#list + 1] = word end
      list[#list + 1] = "--help"
      assert.equal(0, wick.command(list).code, words)
    end
    for _, file in ipairs { "tools/run", "tools/test", "tools/build", "tools/check" } do
      assert.is_truthy(readme:find(file, 1, true))
      assert.equal(0, process.run({ file, "--help" }).code, file)
    end
  end)
end)
