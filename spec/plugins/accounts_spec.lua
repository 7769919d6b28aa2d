-- Accounts over HTTP, on both engines: login and its limit, logout, keys, users, and who may do what.

local rig = require "spec.plugins.support.rig"
local http = require "spec.support.http"
local process = require "spec.support.process"
local wick_server = require "spec.support.wick"

local NOBODY = "00000000-0000-4000-8000-000000000000"

local function assert_problem(status, slug, response)
  assert.equal(status, response.status, response.body)
  local problem = response:json()
  assert.equal("urn:wick:problem:" .. slug, problem.type)
  return problem
end

it("failed logins are counted by IPv4 address, and by /64 of IPv6", function()
  local network = dofile "plugins/accounts/network.lua"
  assert.equal("192.0.2.1", network "192.0.2.1")
  assert.equal("::ffff:192.0.2.1", network "::ffff:192.0.2.1")
  for _, peer in ipairs { "2001:db8:0:7::1", "2001:DB8::7:1:2:3:4", "2001:0db8:0000:0007:ffff:ffff:ffff:ffff" } do
    assert.equal("2001:db8:0:7::/64", network(peer))
  end
  assert.equal("0:0:0:0::/64", network "::1")
  assert.equal("fe80:0:0:0::/64", network "fe80::1%eth0")
end)

rig.on_each_engine({ describe = describe, setup = setup, teardown = teardown }, function(wick)
  local made = 0

  local function new_user(fields)
    made = made + 1
    local body = { email = ("spec-%d@demo.example"):format(made), password = "password of spec " .. made, is_verified = true }
    for key, value in pairs(fields or {}) do
      body[key] = value
    end
    local response = wick:post("/api/v1/users", body, wick.admin)
    assert.equal(201, response.status, response.body)
    local user = response:json()
    user.password = body.password
    return user
  end

  local function try(email, password)
    return wick:post("/api/v1/login", { email = email, password = password })
  end

  describe("login", function()
    it("gives a token that is good for what users may do", function()
      local response = try("user@demo.example", rig.PASSWORD)
      assert.equal(201, response.status)
      assert.equal("no-store", response.headers["cache-control"])
      local body = response:json()
      assert.matches("^wks_[%w_-]+$", body.token)
      assert.equal(43 + 4, #body.token)
      assert.same({ "user@demo.example", "user" }, { body.user.email, body.user.role })
      assert.is_nil(body.user.password_hash)
      local me = wick:fetch("/api/v1/me", body.token)
      assert.same({ "user@demo.example", "Demo User", true }, { me.email, me.name, me.is_verified })
      assert.is_nil(me.password_hash)
    end)

    it("keeps of the token only what nobody can log in with", function()
      local token = try("user@demo.example", rig.PASSWORD):json().token
      assert.equal("0", wick:ask(("select count(*) from sessions where token_hash like '%%%s%%'"):format(token:sub(5, 20))))
      assert.equal("64", wick:ask "select max(length(token_hash)) from sessions")
    end)

    it("does not mind capitals in the address", function()
      assert.equal(201, try("User@Demo.Example", rig.PASSWORD).status)
    end)

    it("says the same for a wrong password, an unknown account and one that is switched off", function()
      local off = new_user { is_active = false }
      local bodies = {}
      for _, one in ipairs { { "user@demo.example", "wrong" }, { "nobody@demo.example", rig.PASSWORD }, { off.email, off.password },
        { "dora.almeida@demo.example", rig.PASSWORD } } do
        local problem = assert_problem(401, "login-failed", try(one[1], one[2]))
        bodies[problem.detail] = true
      end
      assert.is_nil(next(bodies, next(bodies)))
      assert.equal(201, try("user@demo.example", rig.PASSWORD).status)
    end)

    it("takes as long for an account that is not there", function()
      local function ms(email)
        local begin = process.now_ms()
        for _ = 1, 3 do
          try(email, "wrong")
        end
        return process.now_ms() - begin
      end
      local there = new_user()
      local known, unknown = ms(there.email), ms "nobody-at-all@demo.example"
      assert.is_true(unknown > known / 4, ("%d ms against %d ms"):format(unknown, known))
    end)

    it("names what is wrong with a body, and never repeats a password", function()
      for _, body in ipairs { {}, { email = "x", password = "a" }, { email = "a@b.cd" }, { email = "a@b.cd", password = "" },
        { email = "a@b.cd", password = ("hunter2"):rep(40) }, { email = "a@b.cd", password = "hunter2", extra = 1 },
        { email = "a@b.cd", password = { "hunter2" } } } do
        local response = wick:post("/api/v1/login", body)
        assert_problem(422, "invalid-body", response)
        assert.is_nil(response.body:find("hunter2", 1, true))
      end
      local long = { body = ("x"):rep(20000), headers = { ["content-type"] = "application/json" } }
      assert.equal(413, wick:request("POST", "/api/v1/login", long).status)
    end)

    it("stops after five failures, the right password too, and says until when", function()
      local user, other = new_user(), new_user()
      for _ = 1, 5 do
        assert_problem(401, "login-failed", try(user.email, "wrong"))
      end
      for _, password in ipairs { "wrong", user.password } do
        local response = try(user.email, password)
        assert_problem(429, "too-many-logins", response)
        assert.equal("3", response.headers["retry-after"])
      end
      assert.equal(201, try(other.email, other.password).status)
      process.sleep_ms(4100)
      assert.equal(201, try(user.email, user.password).status)
    end)

    it("starts from zero after a login that worked", function()
      local user = new_user()
      for _ = 1, 2 do
        for _ = 1, 4 do
          assert.equal(401, try(user.email, "wrong").status)
        end
        assert.equal(201, try(user.email, user.password).status)
      end
    end)

    it("leaves nothing behind for ever", function()
      local user = new_user()
      try("guessed-1@demo.example", "x")
      wick:ask "update login_failures set since = '2026-01-01 00:00:00+00' where key = 'account:guessed-1@demo.example'"
      for id, date in pairs { ["1"] = "2026-01-01", ["2"] = "2999-01-01" } do
        wick:ask(([[insert into sessions (user_id, kind, token_hash, expires_at)
          values ('%s', 'session', 'spec %s', '%s 00:00:00+00')]]):format(user.id, id, date))
      end
      wick:login(user.email, user.password)
      assert.is_true(process.eventually(function() -- once in each window, and nobody needs to log in for it
        made = made + 1
        process.sleep_ms(200) -- fifty within login_window would keep the logins of what follows out
        try(("guessed-%d@demo.example"):format(made), "x")
        return wick:ask "select count(*) from login_failures where key = 'account:guessed-1@demo.example'" == "0"
      end, 15000))
      assert.equal("spec 2", wick:ask "select token_hash from sessions where token_hash like 'spec %'")
    end)

    it("is not fooled by many at the same time", function()
      local user = new_user()
      local body = ('{"email":"%s","password":"wrong"}'):format(user.email)
      local conns, counts = {}, {}
      for i = 1, 16 do
        conns[i] = wick.server:connect()
        conns[i]:send(http.format("POST", "/api/v1/login", { body = body, headers = { ["content-type"] = "application/json" } }))
      end
      for _, conn in ipairs(conns) do
        local status = assert(conn:response()).status
        counts[status] = (counts[status] or 0) + 1
        conn:close()
      end
      assert.same({ [401] = 5, [429] = 11 }, counts)
    end)
  end)

  describe("a token", function()
    it("comes as a bearer token or a key, and is checked", function()
      assert.equal(200, wick:get("/api/v1/me", wick.user).status)
      assert.equal(200, wick:get("/api/v1/me", nil, { ["x-api-key"] = wick.user }).status)
      assert.equal(200, wick:get("/api/v1/me", nil, { authorization = "bearer " .. wick.user }).status)
      assert.equal(200, wick:get("/api/v1/me", nil, { authorization = "BEARER " .. wick.user }).status)
      assert_problem(401, "login-required", wick:get "/api/v1/me")
      assert_problem(401, "login-required", wick:get("/api/v1/me", nil, { authorization = "Basic dXNlcjpwdw==" }))
      for _, token in ipairs {
        "wks_", "x", wick.user .. "x", wick.user:sub(1, -2), wick.user:upper(), ("wks_"):rep(100), "wks_%00", "wks_' or 1=1",
      } do
        local response = wick:get("/api/v1/me", nil, { authorization = "Bearer " .. token })
        assert.equal(401, response.status, token)
        assert.matches("^Bearer", response.headers["www-authenticate"])
      end
    end)

    it("is the key beside credentials of another scheme, and never beside a bearer token", function()
      local function ask(authorization)
        return wick:get("/api/v1/me", nil, { authorization = authorization, ["x-api-key"] = wick.user }).status
      end
      for _, authorization in ipairs { "Basic dXNlcjpwdw==", "Negotiate", "AWS4-HMAC-SHA256 a=b, c=d", "" } do
        assert.equal(200, ask(authorization), authorization)
      end
      for _, authorization in ipairs { "Bearer wks_unknown", "Bearer", "bearer a b" } do
        assert.equal(401, ask(authorization), authorization)
      end
    end)

    it("makes answers that nobody may keep for others", function()
      for _, response in ipairs { wick:get("/api/v1/me", wick.user), wick:get "/api/v1/me", wick:get("/api/v1/users", wick.user),
        wick:get("/api/v1/me", nil, { authorization = "Bearer " .. wick.user, ["if-none-match"] = "*" }) } do
        assert.equal("private, no-store", response.headers["cache-control"])
        assert.equal("Authorization, X-API-Key", response.headers.vary)
      end
      assert.equal("no-store", wick:post("/api/v1/keys", { name = "own word" }, wick.user).headers["cache-control"])
    end)

    it("ends at once with logout, for every worker, and no other does", function()
      local user = new_user()
      local one, other = wick:login(user.email, user.password), wick:login(user.email, user.password)
      for _ = 1, 4 do
        assert.equal(200, wick:get("/api/v1/me", one).status)
      end
      assert.equal(204, wick:post("/api/v1/logout", nil, one).status)
      for _ = 1, 8 do
        assert_problem(401, "token-invalid", wick:get("/api/v1/me", one))
      end
      assert.equal(200, wick:get("/api/v1/me", other).status)
      assert.equal(401, wick:post("/api/v1/logout", nil, one).status)
    end)

    it("ends when its time is over", function()
      local user = new_user()
      local token = wick:login(user.email, user.password)
      assert.equal(200, wick:get("/api/v1/me", token).status)
      wick:ask(("update sessions set expires_at = '2026-01-01 00:00:00+00' where user_id = '%s'"):format(user.id))
      process.sleep_ms(120) -- session_cache
      assert_problem(401, "token-invalid", wick:get("/api/v1/me", token))
    end)

    it("of an account that is not verified lets nobody in", function()
      local user = new_user { is_verified = false }
      local token = wick:login(user.email, user.password)
      assert_problem(403, "not-verified", wick:get("/api/v1/me", token))
      assert.equal(200, wick:patch("/api/v1/users/" .. user.id, { is_verified = true }, wick.admin).status)
      assert.equal(200, wick:get("/api/v1/me", token).status)
    end)
  end)

  describe("an API key", function()
    it("is made, shown once, used, listed and revoked", function()
      local user = new_user()
      local token = wick:login(user.email, user.password)
      local response = wick:post("/api/v1/keys", { name = "deploy", expires_in = "1d" }, token)
      assert.equal(201, response.status, response.body)
      local secret, key = response:json().token, response:json().key
      assert.matches("^wkk_", secret)
      assert.equal("/api/v1/keys/" .. key.id, response.headers.location)
      assert.equal("no-store", response.headers["cache-control"])
      assert.equal(user.email, wick:get("/api/v1/me", nil, { ["x-api-key"] = secret }):json().email)
      assert.equal(user.email, wick:fetch("/api/v1/me", secret).email)

      local list = wick:fetch("/api/v1/keys", token)
      assert.same({ 1, "deploy", key.id }, { #list, list[1].name, list[1].id })
      assert.is_nil(wick:get("/api/v1/keys", token).body:find(secret:sub(5), 1, true))

      assert_problem(404, "key-not-found", wick:delete("/api/v1/keys/" .. key.id, wick.admin)) -- of somebody else
      assert.equal(200, wick:get("/api/v1/me", secret).status)
      assert.equal(204, wick:delete("/api/v1/keys/" .. key.id, token).status)
      assert_problem(401, "token-invalid", wick:get("/api/v1/me", secret))
      assert_problem(404, "key-not-found", wick:delete("/api/v1/keys/" .. key.id, token))
      assert.same({}, wick:fetch("/api/v1/keys", token))
    end)

    it("is not ended by logout, which says what revokes it", function()
      local user = new_user()
      local answer = wick:post("/api/v1/keys", { name = "script" }, wick:login(user.email, user.password)):json()
      local problem = assert_problem(403, "session-required", wick:post("/api/v1/logout", nil, answer.token))
      assert.is_truthy(problem.detail:find("DELETE /api/v1/keys/" .. answer.key.id, 1, true))
      process.sleep_ms(120) -- session_cache
      assert.equal(200, wick:get("/api/v1/me", answer.token).status)
    end)

    it("makes no other, and nobody has more than a hundred", function()
      local user = new_user()
      local token = wick:login(user.email, user.password)
      local secret = wick:post("/api/v1/keys", { name = "one" }, token):json().token
      assert_problem(403, "session-required", wick:post("/api/v1/keys", { name = "two" }, secret))
      local rows = {}
      for i = 1, 99 do
        rows[i] = ("('%s', 'api_key', 'key %d %s', '2999-01-01 00:00:00+00')"):format(user.id, i, user.id)
      end
      wick:ask("insert into sessions (user_id, kind, token_hash, expires_at) values " .. table.concat(rows, ", "))
      assert_problem(409, "too-many-keys", wick:post("/api/v1/keys", { name = "more" }, token))
    end)

    it("has a name and an end", function()
      for _, body in ipairs { {}, { name = "" }, { name = "x", expires_in = "1s" }, { name = "x", expires_in = 60 } } do
        assert_problem(422, "invalid-body", wick:post("/api/v1/keys", body, wick.user))
      end
      assert_problem(401, "login-required", wick:post("/api/v1/keys", { name = "x" }))
      assert_problem(401, "login-required", wick:get "/api/v1/keys")
    end)
  end)

  describe("users", function()
    it("are for administrators", function()
      for _, words in ipairs { "GET /", "POST /", "GET /" .. NOBODY, "PATCH /" .. NOBODY, "DELETE /" .. NOBODY } do
        local method, path = words:match "^(%u+) (/.-)/?$"
        path = "/api/v1/users" .. (path == "/" and "" or path)
        assert_problem(401, "login-required", wick:request(method, path))
        assert_problem(403, "admin-only", wick:request(method, path, { token = wick.user }))
      end
    end)

    it("are listed by address, each once over all pages, with or without those switched off", function()
      for _, limit in ipairs { 7, 50, 100 } do
        local rows = wick:fetch_all("/api/v1/users?limit=" .. limit, wick.admin)
        local emails, seen = {}, {}
        for i, row in ipairs(rows) do
          assert.is_nil(seen[row.email])
          emails[i], seen[row.email] = row.email, true
          assert.is_nil(row.password_hash)
        end
        assert.same(wick:ask_list(wick.engine == "postgres" and 'select email from users order by email collate "C"'
          or "select email from users order by email"), emails)
      end
      local active = wick:fetch_all("/api/v1/users?limit=9&active=true", wick.admin)
      local off = wick:fetch_all("/api/v1/users?limit=1&active=false", wick.admin)
      assert.equal(tonumber(wick:ask "select count(*) from users where is_active"), #active)
      assert.equal(tonumber(wick:ask "select count(*) from users where not is_active"), #off)
      assert_problem(400, "invalid-query", wick:get("/api/v1/users?limit=101", wick.admin))
      assert_problem(400, "invalid-query", wick:get("/api/v1/users?role=admin", wick.admin))
    end)

    it("are made, found, and their addresses are their own", function()
      local response = wick:post("/api/v1/users", { email = "New.User@Demo.Example", password = "0123456789" }, wick.admin)
      assert.equal(201, response.status, response.body)
      local user = response:json()
      assert.same({ "new.user@demo.example", "user", true, false, "" },
        { user.email, user.role, user.is_active, user.is_verified, user.name })
      assert.is_nil(response.body:find("argon2", 1, true))
      assert.equal("/api/v1/users/" .. user.id, response.headers.location)
      assert.equal(user.email, wick:fetch(response.headers.location, wick.admin).email)
      assert.equal(409, wick:post("/api/v1/users", { email = "new.user@demo.example", password = "0123456789" }, wick.admin).status)
      assert.matches("^%$argon2id%$v=19%$", wick:ask "select password_hash from users where email = 'new.user@demo.example'")
      assert_problem(404, "user-not-found", wick:get("/api/v1/users/" .. NOBODY, wick.admin))
    end)

    it("are not made from what is wrong, and no password is repeated", function()
      local response = wick:post("/api/v1/users", { email = "x", password = "hunter2", role = "root", is_active = 1 }, wick.admin)
      local problem = assert_problem(422, "invalid-body", response)
      assert.equal(4, #problem.errors)
      assert.is_nil(response.body:find("hunter2", 1, true))
    end)

    it("are changed; what they were allowed before ends at once", function()
      local user = new_user()
      local path, token = "/api/v1/users/" .. user.id, wick:login(user.email, user.password)
      assert.equal(200, wick:get("/api/v1/me", token).status)
      assert.equal("Renamed", wick:patch(path, { name = "Renamed" }, wick.admin):json().name)
      assert.equal("Renamed", wick:fetch("/api/v1/me", token).name)

      assert.equal(200, wick:patch(path, { role = "admin" }, wick.admin).status)
      assert.equal(200, wick:get("/api/v1/users?limit=1", token).status)
      assert.equal(200, wick:patch(path, { role = "user" }, wick.admin).status)
      assert_problem(403, "admin-only", wick:get("/api/v1/users?limit=1", token))

      assert.equal(200, wick:patch(path, { password = "another password" }, wick.admin).status)
      assert_problem(401, "token-invalid", wick:get("/api/v1/me", token))
      assert.equal(401, try(user.email, user.password).status)
      token = wick:login(user.email, "another password")

      assert.equal(200, wick:patch(path, { is_active = false }, wick.admin).status)
      assert_problem(401, "token-invalid", wick:get("/api/v1/me", token))
      assert.equal(401, try(user.email, "another password").status)
      assert.equal(200, wick:patch(path, { is_active = true }, wick.admin).status)
      assert_problem(401, "token-invalid", wick:get("/api/v1/me", token)) -- what ended stays ended
    end)

    it("are not changed by what is wrong", function()
      local path = "/api/v1/users/" .. new_user().id
      assert_problem(422, "nothing-to-change", wick:request("PATCH", path, { token = wick.admin, body = "{}",
        headers = { ["content-type"] = "application/json" } }))
      assert_problem(422, "invalid-body", wick:patch(path, { password = "short" }, wick.admin))
      assert_problem(422, "invalid-body", wick:patch(path, { password_hash = "x" }, wick.admin))
      assert.equal(409, wick:patch(path, { email = "Admin@Demo.Example" }, wick.admin).status)
      assert_problem(404, "user-not-found", wick:patch("/api/v1/users/" .. NOBODY, { name = "x" }, wick.admin))
    end)

    it("keep one administrator who can log in, also when two demote each other at once", function()
      local me = wick:fetch("/api/v1/me", wick.admin)
      local others = wick:ask_list(("select id from users where role = 'admin' and is_active and is_verified and id <> '%s'"):format(me.id))
      for _, id in ipairs(others) do
        assert.equal(200, wick:patch("/api/v1/users/" .. id, { is_verified = false }, wick.admin).status)
      end
      local path = "/api/v1/users/" .. me.id
      for _, fields in ipairs { { role = "user" }, { is_active = false }, { is_verified = false, name = "Changed" } } do
        assert_problem(409, "last-admin", wick:patch(path, fields, wick.admin))
      end
      assert.equal(me.name, wick:fetch("/api/v1/me", wick.admin).name)
      assert.equal(200, wick:patch(path, { role = "admin", is_active = true }, wick.admin).status)

      local second = new_user { role = "admin" }
      local token, conns, statuses = wick:login(second.email, second.password), {}, {}
      for i, one in ipairs { { me.id, token }, { second.id, wick.admin } } do
        conns[i] = wick.server:connect()
        conns[i]:send(http.format("PATCH", "/api/v1/users/" .. one[1], { body = '{"role":"user"}',
          headers = { ["content-type"] = "application/json", authorization = "Bearer " .. one[2] } }))
      end
      for i, conn in ipairs(conns) do
        statuses[i] = assert(conn:response()).status
        conn:close()
      end
      assert.is_false(statuses[1] == 200 and statuses[2] == 200)
      assert.equal("1", wick:ask "select count(*) from users where role = 'admin' and is_active and is_verified")
      local still = statuses[1] == 200 and token or wick.admin
      assert.equal(200, wick:patch("/api/v1/users/" .. me.id, { role = "admin" }, still).status)
      assert.equal(200, wick:patch("/api/v1/users/" .. second.id, { role = "user" }, wick.admin).status)
      for _, id in ipairs(others) do
        assert.equal(200, wick:patch("/api/v1/users/" .. id, { is_verified = true }, wick.admin).status)
      end
    end)

    it("are deleted, their sessions with them, but not by themselves", function()
      local user = new_user()
      local path, token = "/api/v1/users/" .. user.id, wick:login(user.email, user.password)
      assert.equal(200, wick:get("/api/v1/me", token).status)
      assert.equal(204, wick:delete(path, wick.admin).status)
      assert_problem(401, "token-invalid", wick:get("/api/v1/me", token))
      assert_problem(404, "user-not-found", wick:delete(path, wick.admin))
      assert.equal("0", wick:ask(("select count(*) from sessions where user_id = '%s'"):format(user.id)))
      local me = wick:fetch("/api/v1/me", wick.admin)
      assert_problem(409, "own-account", wick:delete("/api/v1/users/" .. me.id, wick.admin))
    end)
  end)

  it("nothing that was said is in the log", function()
    local log = wick.server:log()
    for _, text in ipairs { rig.PASSWORD, "hunter2", wick.user:sub(5), wick.admin:sub(5), "argon2id" } do
      assert.is_nil(log:find(text, 1, true), text)
    end
  end)
end, { "accounts", "registry", accounts = { session_cache = "100ms", login_window = "3s", login_attempts = 5 } })

describe("a new database", function()
  teardown(wick_server.stop_all)

  it("gets the administrator that the options name, once", function()
    local first = { email = "First@Admin.example", password = "the first password" }
    local server = wick_server.start { config = { workers = 2, plugins = { "accounts", accounts = { first_admin = first } } } }
    server:wait_until_ready()
    local function login()
      local response = server:request("POST", "/api/v1/login", { json = { email = "first@admin.example", password = first.password } })
      return response.status == 201 and response:json()
    end
    local body = process.eventually(login)
    assert.equal("admin", body.user.role)
    local users = server:request("GET", "/api/v1/users", { headers = { authorization = "Bearer " .. body.token } }):json()
    assert.equal(1, #users)
    server:restart()
    server:wait_until_ready()
    assert.is_table(process.eventually(login))
    assert.is_nil(server:log():find("the first password", 1, true))
  end)
end)
