-- What the README shows is what happens: its plugin, its configuration and its curl lines are taken from its text.

local wick = require "spec.support.wick"
local process = require "spec.support.process"

local readme = process.read_file "README.md"

-- The fenced Lua block that has `text` in it.
local function block(text)
  for lua in readme:gmatch "```lua\n(.-)```" do
    if lua:find(text, 1, true) then return lua end
  end
  error("no Lua block of the README has " .. text)
end

describe("the README", function()
  after_each(wick.stop_all)

  it("shows a plugin that works as written", function()
    local schema = readme:match "`(create table if not exists notes[^`]*)`"
    local server = wick.start {
      config = [[return { listen = "127.0.0.1:${port}", admin = "127.0.0.1:${admin}", database = { sqlite = { path = "${dir}/wick.db" } },
        plugins = { "${top}/plugins/accounts", "${dir}/plugins/notes",
          accounts = { first_admin = { email = "a@example.com", password = "long enough" } } } }]],
      plugins = { notes = { ["init.lua"] = block "note_add", ["schema/sqlite.sql"] = schema } },
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
