-- rig.lua - wick with the demo data on each engine, for specs of the plugins.
--
--   rig.on_each_engine({ describe = describe, setup = setup, teardown = teardown }, function(wick)
--     it("...", function() wick:get "/api/v1/services" end)    -- also .engine, .server, .admin and .user (tokens), :ask
--   end, { "accounts", "registry", registry = { list_ttl = "1ms" } })
--
-- One SQLite file is made for a file of specs; on PostgreSQL the same rows are copied into a private server.

local process = require "spec.support.process"
local servers = require "spec.support.servers"
local wick = require "spec.support.wick"

local rig = {}

local PASSWORD = "wick-demo-password"
rig.PASSWORD = PASSWORD

local Rig = {}
Rig.__index = Rig

-- --- asking -----------------------------------------------------------------------------------------------------------

function Rig:request(method, path, options)
  options = options or {}
  local headers = { authorization = options.token and "Bearer " .. options.token or nil }
  for name, value in pairs(options.headers or {}) do
    headers[name] = value
  end
  return assert(self.server:request(method, path, { headers = headers, json = options.json, body = options.body }))
end

function Rig:get(path, token, headers) return self:request("GET", path, { token = token, headers = headers }) end
function Rig:post(path, json, token) return self:request("POST", path, { token = token, json = json }) end
function Rig:patch(path, json, token) return self:request("PATCH", path, { token = token, json = json }) end
function Rig:delete(path, token) return self:request("DELETE", path, { token = token }) end

-- The decoded body of a GET that must work.
function Rig:fetch(path, token)
  local response = self:get(path, token)
  assert(response.status == 200, ("%s: %d %s"):format(path, response.status, response.body))
  return response:json()
end

-- Every row of a list, page after page along Link; pages is their number.
function Rig:fetch_all(path, token)
  local rows, pages = {}, 0
  while path do
    local response = self:get(path, token)
    assert(response.status == 200, ("%s: %d %s"):format(path, response.status, response.body))
    table.move(response:json(), 1, #response:json(), #rows + 1, rows)
    path, pages = (response.headers.link or ""):match '^<([^>]+)>; rel="next"$', pages + 1
    assert(pages < 2000, "the pages do not end")
  end
  return rows, pages
end

function Rig:login(email, password)
  local response = self:post("/api/v1/login", { email = email, password = password or PASSWORD })
  assert(response.status == 201, response.body)
  return response:json().token
end

-- What the database says, columns with | between them, as sqlite3 and psql -At print it (true is 1 and t).
function Rig:ask(sql)
  if self.postgres then
    return self.postgres:query(sql)
  end
  local result = process.run { "sqlite3", "-batch", "-cmd", ".timeout 5000", self.path, sql }
  assert(result.err == "", result.err)
  return (result.out:gsub("\n$", ""))
end

function Rig:ask_list(sql)
  local list = {}
  for line in (self:ask(sql) .. "\n"):gmatch "([^\n]*)\n" do
    list[#list + 1] = line ~= "" and line or nil
  end
  return list
end

-- --- engines ----------------------------------------------------------------------------------------------------------

local function make_demo()
  local path = process.temp_dir() .. "/demo.db"
  local result = process.run { "tools/demo-data", path }
  assert(result.code == 0, result.err)
  return path
end

local COLUMNS = {
  { "users", "id, email, name, role, password_hash, is_active, is_verified, last_login_at, created_at, updated_at" },
  { "sessions", "id, user_id, kind, name, token_hash, is_active, created_at, expires_at" },
  { "services", "id, name, status, group_name, port, labels, health_check_url, last_health_check, restart_count, is_active, "
    .. "created_at, updated_at" },
  { "health_metrics", "id, service_id, status, response_time_ms, message, checked_at" },
  { "logs", "id, service_id, level, message, metadata, created_at" },
}

-- The rows of an SQLite file into the tables wick has made on PostgreSQL.
function rig.copy_rows(path, postgres)
  for _, one in ipairs(COLUMNS) do
    local name, columns = one[1], one[2]
    local csv = path .. ".csv"
    local command = ("sqlite3 -batch -csv '%s' 'select %s from %s' > '%s'"):format(path, columns, name, csv)
    assert(process.run({ "sh", "-c", command }).code == 0)
    postgres:query(("\\copy %s (%s) from '%s' (format csv)"):format(name, columns, csv))
    os.remove(csv)
  end
  postgres:query "select setval(pg_get_serial_sequence('health_metrics', 'id'), (select max(id) from health_metrics))"
  postgres:query "select setval(pg_get_serial_sequence('logs', 'id'), (select max(id) from logs))"
  postgres:query "analyze"
end

local function start(self, plugins, demo)
  local config = { plugins = plugins, workers = 2 }
  if self.engine == "postgres" then
    self.postgres = servers.postgres()
    config.database = { sqlite = false, postgres = { primary = self.postgres.url } }
  else
    self.path = demo .. ".copy"
    assert(process.run({ "cp", demo, self.path }).code == 0)
    config.database = { sqlite = { path = self.path } }
  end
  self.server = wick.start { config = config }
  self.server:wait_until_ready()
  if self.postgres then
    rig.copy_rows(demo, self.postgres)
  end
  self.admin, self.user = self:login "admin@demo.example", self:login "user@demo.example"
end

--- Describes for each engine what body(self) declares. busted: { describe = describe, setup = setup, teardown = teardown }, for
--- only the file of specs has these.
function rig.on_each_engine(busted, body, plugins)
  local demo
  busted.setup(function() demo = make_demo() end)
  busted.teardown(function()
    wick.stop_all()
    servers.stop_all()
    process.run { "rm", "-rf", (demo:match "^(.*)/") }
  end)
  for _, engine in ipairs { "sqlite", "postgres" } do
    busted.describe("on " .. engine .. ":", function()
      local self = setmetatable({ engine = engine }, Rig)
      busted.setup(function() start(self, plugins or { "accounts", "registry" }, demo) end)
      busted.teardown(function() -- a clean end belongs to it: with sanitizers, that is where leaks are told
        local code, log = self.server:stop()
        assert(code == 0 and not log:find("Sanitizer", 1, true), ("wick ended with %s:\n%s"):format(code, log))
      end)
      body(self)
    end)
  end
end

return rig
