-- The registry over HTTP, on both engines: services, health, logs, overview.

local rig = require "spec.plugins.support.rig"
local http = require "spec.support.http"

local null = http.null
local NOBODY = "00000000-0000-4000-8000-000000000000"

-- A problem as RFC 9457 has it.
local function assert_problem(status, slug, response)
  assert.equal(status, response.status, response.body)
  assert.equal("application/problem+json", response.headers["content-type"])
  local problem = response:json()
  assert.equal(status, problem.status)
  assert.equal("urn:wick:problem:" .. slug, problem.type)
  assert.equal(response.headers["x-request-id"], problem.request_id)
  return problem
end

local function names_of(rows)
  local names = {}
  for i, row in ipairs(rows) do
    names[i] = row.name
  end
  return names
end

local function assert_each_once(expected, rows, key)
  local seen = {}
  for _, row in ipairs(rows) do
    local name = tostring(row[key or "id"])
    assert.is_nil(seen[name], name .. " came twice")
    seen[name] = true
  end
  assert.equal(expected, #rows)
end

-- percentile_cont: between the two nearest values.
local function percentile(values, fraction)
  local at = 1 + (#values - 1) * fraction
  local low, high = math.floor(at), math.ceil(at)
  return values[low] + (values[high] - values[low]) * (at - low)
end

local function assert_near(expected, actual)
  assert.is_true(math.abs(expected - actual) <= 1e-9 * math.max(1, math.abs(expected)), ("%s is not %s"):format(actual, expected))
end

rig.on_each_engine({ describe = describe, setup = setup, teardown = teardown }, function(wick)
  local made = 0

  -- A service of its own for a spec that changes things.
  local function new_service(fields)
    made = made + 1
    local body = { name = "spec-" .. made }
    for key, value in pairs(fields or {}) do
      body[key] = value
    end
    local response = wick:post("/api/v1/services", body, wick.user)
    assert.equal(201, response.status, response.body)
    return response:json()
  end

  local function id_of(name)
    return wick:ask(("select id from services where name = '%s'"):format(name))
  end

  describe("the list of services", function()
    it("has the active ones by name, whole", function()
      local rows = wick:fetch "/api/v1/services?limit=100"
      assert.same(wick:ask_list "select name from services where is_active order by name", names_of(rows))
      local gateway
      for _, row in ipairs(rows) do
        gateway = row.name == "edge-gateway" and row or gateway
      end
      assert.same({ team = "traffic", tier = "critical", language = "c", region = "eu-north", version = "2.7.2" }, gateway.labels)
      assert.equal(8001, gateway.port)
      assert.is_true(gateway.is_active)
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d[%d.]*%+00:00$", gateway.created_at)
    end)

    it("shows each service once over all its pages", function()
      local count = tonumber(wick:ask "select count(*) from services where is_active")
      for _, limit in ipairs { 1, 7, 13, 100 } do
        local rows, pages = wick:fetch_all("/api/v1/services?limit=" .. limit)
        assert_each_once(count, rows)
        assert.is_true(pages >= count / limit and pages <= count // limit + 1)
      end
    end)

    it("filters by status, group, label and whether it is active, and all of them together", function()
      local function names(query) return names_of(wick:fetch_all("/api/v1/services?limit=3&" .. query)) end
      local function expected(condition) return wick:ask_list("select name from services where " .. condition .. " order by name") end
      local label = wick.engine == "postgres" and "labels ->> '%s' = '%s'" or "json_extract(labels, '$.%s') = '%s'"
      assert.same(expected "is_active and status = 'running'", names "status=running")
      assert.same(expected "is_active and group_name = 'data'", names "group=data")
      assert.same({ "catalog-reviews" }, names "active=false")
      assert.same(expected("is_active and " .. label:format("team", "payments")), names "label=team:payments")
      assert.same(expected("is_active and " .. label:format("team", "payments") .. " and " .. label:format("tier", "critical")),
        names "label=team:payments&label=tier%3Acritical")
      assert.same(expected("is_active and status = 'running' and group_name = 'checkout' and " .. label:format("language", "java")),
        names "status=running&group=checkout&label=language:java")
      assert.same({}, names "label=team:nobody")
      assert.same({}, names "group=nowhere")
    end)

    it("keeps its filters from page to page", function()
      local link = wick:get("/api/v1/services?limit=2&group=data&label=team:insight").headers.link
      assert.matches("group=data", link)
      assert.matches("label=team%%3Ainsight", link)
    end)

    it("takes what it does not know for a mistake, all of them at once", function()
      local response = wick:get "/api/v1/services?limit=0&status=on&label=x&grup=data&active=perhaps"
      local problem = assert_problem(400, "invalid-query", response)
      local names = {}
      for _, err in ipairs(problem.errors) do
        names[#names + 1] = err.parameter
      end
      table.sort(names)
      assert.same({ "active", "grup", "label[1]", "limit", "status" }, names)
      local too_many = "label=a:1&label=b:1&label=c:1&label=d:1&label=e:1"
      for _, query in ipairs { "limit=101", "limit=1e1", "limit=", "limit=1&limit=2", too_many } do
        assert_problem(400, "invalid-query", wick:get("/api/v1/services?" .. query))
      end
      assert.equal(400, wick:get("/api/v1/services?group=%zz").status)
    end)

    it("is not to be led into the database by its values", function()
      for _, value in ipairs { "%27%20or%201=1--", "%22", "%5C", "%25", "$1", "%3B%20drop%20table%20services" } do
        assert.same({}, wick:fetch("/api/v1/services?group=" .. value))
        assert.same({}, wick:fetch("/api/v1/services?label=team:" .. value))
      end
    end)

    it("is served from memory, with a tag for the client's own memory", function()
      local first = wick:get "/api/v1/services?limit=5&group=edge"
      local second = wick:get "/api/v1/services?limit=5&group=edge"
      assert.matches("^HIT", second.headers["x-cache"])
      assert.equal(first.body, second.body)
      local third = wick:get("/api/v1/services?limit=5&group=edge", nil, { ["if-none-match"] = first.headers.etag })
      assert.equal(304, third.status)
    end)
  end)

  describe("a service", function()
    it("is found by its id", function()
      local id = id_of "checkout-api"
      local service = wick:fetch("/api/v1/services/" .. id)
      assert.equal("checkout-api", service.name)
      assert.equal(id, service.id)
      assert.equal("checkout-api", wick:fetch("/api/v1/services/" .. id:upper()).name)
    end)

    it("is not found by another, nor by what is no id", function()
      assert.equal(NOBODY, assert_problem(404, "service-not-found", wick:get("/api/v1/services/" .. NOBODY)).id)
      assert.equal(400, wick:get("/api/v1/services/17").status)
    end)

    it("is made from what is given and defaults", function()
      local response = wick:post("/api/v1/services", { name = "made-whole", port = 8080, labels = { a = "1", ["b c"] = "ü:x" },
        health_check_url = "https://x.y/z", group_name = "g", status = "running" }, wick.user)
      assert.equal(201, response.status)
      local service = response:json()
      assert.equal("/api/v1/services/" .. service.id, response.headers.location)
      assert.same({ a = "1", ["b c"] = "ü:x" }, service.labels)
      assert.same({ 8080, "https://x.y/z", "g", "running", 0, true }, { service.port, service.health_check_url, service.group_name,
        service.status, service.restart_count, service.is_active })
      assert.equal("made-whole", wick:fetch(response.headers.location).name)
      assert.equal("made-whole", wick:fetch("/api/v1/services?label=b%20c:%C3%BC%3Ax")[1].name)

      response = wick:post("/api/v1/services", { name = "made-bare" }, wick.user)
      assert.matches('"labels":{}', response.body, 1, true)
      assert.same({ null, null, "default", "stopped" }, { response:json().port, response:json().health_check_url,
        response:json().group_name, response:json().status })
      assert.equal(201, wick:post("/api/v1/services", { name = "made-null", port = null }, wick.user).status)
    end)

    it("is made by users only", function()
      local response = wick:post("/api/v1/services", { name = "x" })
      assert_problem(401, "login-required", response)
      assert.matches("^Bearer", response.headers["www-authenticate"])
      assert_problem(401, "token-invalid", wick:post("/api/v1/services", { name = "x" }, "wks_unknown"))
    end)

    it("has a name of its own", function()
      local problem = assert_problem(409, "conflict", wick:post("/api/v1/services", { name = "edge-gateway" }, wick.user))
      assert.is_string(problem.detail)
      local service = new_service()
      assert.equal(409, wick:patch("/api/v1/services/" .. service.id, { name = "edge-gateway" }, wick.user).status)
    end)

    it("is not made from what is wrong; every mistake is named", function()
      local problem = assert_problem(422, "invalid-body", wick:post("/api/v1/services", {
        name = "", port = 70000, status = "on", labels = { a = 1 }, restart_count = 3, health_check_url = "ftp://x",
      }, wick.user))
      local pointers = {}
      for _, err in ipairs(problem.errors) do
        pointers[#pointers + 1] = err.pointer
        assert.is_string(err.detail)
      end
      table.sort(pointers)
      assert.same({ "/health_check_url", "/labels/a", "/name", "/port", "/restart_count", "/status" }, pointers)
      for _, body in ipairs { "[]", "{}", "1", "null", '"x"', '{"name":null}', '{"name":"a","port":"80"}', '{"name":"a","port":1.5}',
        '{"name":"a\\u0000b"}', '{"name":"a","labels":{"a\\u0000b":"x"}}', '{"name":"a","labels":[]}' } do
        local response = wick:request("POST", "/api/v1/services", { token = wick.user, body = body,
          headers = { ["content-type"] = "application/json" } })
        assert.equal(422, response.status, body .. ": " .. response.body)
      end
    end)

    it("is not made from what is no JSON", function()
      local function send(body, content_type)
        return wick:request("POST", "/api/v1/services", { token = wick.user, body = body, headers = { ["content-type"] = content_type } })
      end
      for _, body in ipairs { "", "{", '{"name":"a"', "{'name':'a'}", '{"name":"a"} x', '{"name":"\xff"}', ("["):rep(1000) } do
        assert.equal(400, send(body, "application/json").status, body)
      end
      assert.equal(415, send('{"name":"a"}', "text/plain").status)
    end)

    it("is changed where asked and nowhere else", function()
      local service = new_service { port = 80, labels = { before = "1" } }
      local path = "/api/v1/services/" .. service.id
      wick:fetch(path)
      local changed = wick:patch(path, { port = 81, labels = { now = "2" } }, wick.user)
      assert.equal(200, changed.status, changed.body)
      assert.equal(81, changed:json().port)
      local seen = wick:fetch(path) -- at once, though it was in memory
      assert.same({ 81, { now = "2" }, service.name, service.created_at }, { seen.port, seen.labels, seen.name, seen.created_at })
      assert.is_true(seen.updated_at > service.updated_at)
      assert.same({ service.name }, names_of(wick:fetch "/api/v1/services?label=now:2"))
      assert.same({}, names_of(wick:fetch "/api/v1/services?label=before:1"))
      assert.equal(null, wick:patch(path, { port = null }, wick.user):json().port)
      assert.matches('"labels":{}', wick:request("PATCH", path, { token = wick.user, body = '{"labels":{}}',
        headers = { ["content-type"] = "application/json" } }).body, 1, true)
    end)

    it("is not changed by what is wrong", function()
      local path = "/api/v1/services/" .. new_service().id
      assert_problem(422, "nothing-to-change", wick:request("PATCH", path, { token = wick.user, body = "{}",
        headers = { ["content-type"] = "application/json" } }))
      assert_problem(422, "invalid-body", wick:patch(path, { id = NOBODY }, wick.user))
      assert_problem(422, "invalid-body", wick:patch(path, { port = 0 }, wick.user))
      assert_problem(422, "invalid-body", wick:patch(path, { name = null }, wick.user))
      assert_problem(404, "service-not-found", wick:patch("/api/v1/services/" .. NOBODY, { port = 1 }, wick.user))
      assert_problem(401, "login-required", wick:patch(path, { port = 1 }))
    end)

    it("starts, stops and starts again", function()
      local path = "/api/v1/services/" .. new_service().id
      local function press(button) return wick:post(path .. "/" .. button, nil, wick.user) end
      assert.equal("running", press("start"):json().status)
      assert.equal("running", press("start"):json().status)
      assert.equal("stopped", press("stop"):json().status)
      local again = press("restart"):json()
      assert.same({ "running", 1 }, { again.status, again.restart_count })
      assert.equal(2, press("restart"):json().restart_count)
      assert.equal(2, wick:fetch(path).restart_count)
      wick:patch(path, { is_active = false }, wick.user)
      assert_problem(409, "service-inactive", press "start")
      assert_problem(404, "service-not-found", wick:post("/api/v1/services/" .. NOBODY .. "/stop", nil, wick.user))
      assert_problem(401, "login-required", wick:post(path .. "/restart"))
    end)

    it("goes with its health, and leaves its logs", function()
      local service = new_service()
      local path = "/api/v1/services/" .. service.id
      assert.equal(202, wick:post(path .. "/health", { status = "healthy" }, wick.user).status)
      assert.equal(202, wick:post("/api/v1/logs", { { message = "left by " .. service.name, service_id = service.id } }, wick.user).status)
      assert_problem(401, "login-required", wick:delete(path))
      assert.equal(204, wick:delete(path, wick.user).status)
      assert_problem(404, "service-not-found", wick:delete(path, wick.user))
      assert_problem(404, "service-not-found", wick:get(path))
      assert.equal("0", wick:ask(("select count(*) from health_metrics where service_id = '%s'"):format(service.id)))
      assert.equal("1", wick:ask(("select count(*) from logs where service_id is null and message = 'left by %s'"):format(service.name)))
    end)

    it("answers other methods with what it allows", function()
      local response = wick:request("PUT", "/api/v1/services")
      assert.equal(405, response.status)
      assert.matches("GET", response.headers.allow)
      assert.matches("POST", response.headers.allow)
    end)
  end)

  describe("health", function()
    it("is reported, and moves the last check forward only", function()
      local service = new_service()
      local path = "/api/v1/services/" .. service.id
      local function report(body) return wick:post(path .. "/health", body, wick.user) end
      local response = report { status = "healthy", response_time_ms = 1.5, checked_at = "2026-01-02T04:00:00.120+01:00" }
      assert.same({ 202, { stored = 1 } }, { response.status, response:json() })
      assert.equal("2026-01-02T03:00:00.12+00:00", wick:fetch(path).last_health_check)
      assert.equal(202, report({ status = "unhealthy", message = "old", checked_at = "2025-01-01T00:00:00Z" }).status)
      wick:patch(path, { port = 1 }, wick.user) -- empties what is in memory
      assert.equal("2026-01-02T03:00:00.12+00:00", wick:fetch(path).last_health_check)
      assert.equal(202, report({ status = "degraded" }).status)
      local history = wick:fetch(path .. "/health")
      assert.same({ "degraded", "healthy", "unhealthy" }, { history[1].status, history[2].status, history[3].status })
      assert.same({ null, 1.5, "old" }, { history[1].response_time_ms, history[2].response_time_ms, history[3].message })
      wick:patch(path, { port = 2 }, wick.user)
      assert.equal(history[1].checked_at, wick:fetch(path).last_health_check)
    end)

    it("is reported for many services at once, all or none", function()
      local a, b = new_service(), new_service()
      local response = wick:post("/api/v1/health", {
        { service_id = a.id, status = "healthy", response_time_ms = 3 }, { service_id = b.id, status = "degraded" },
        { service_id = a.id, status = "healthy" },
      }, wick.user)
      assert.same({ 202, 3 }, { response.status, response:json().stored })
      response = wick:post("/api/v1/health", {
        { service_id = a.id, status = "healthy" }, { service_id = NOBODY, status = "healthy" },
      }, wick.user)
      assert.equal(409, response.status, response.body)
      assert.equal("2", wick:ask(("select count(*) from health_metrics where service_id = '%s'"):format(a.id)))
      local problem = assert_problem(422, "invalid-body", wick:post("/api/v1/health", {
        { service_id = a.id, status = "fine" }, { service_id = "x", status = "healthy", response_time_ms = -1 },
      }, wick.user))
      assert.equal(3, #problem.errors)
      assert.equal("/0/status", problem.errors[1].pointer)
    end)

    it("takes a thousand reports and not one more", function()
      local service = new_service()
      local reports = {}
      for i = 1, 1001 do
        reports[i] = { service_id = service.id, status = "healthy", response_time_ms = i }
      end
      assert_problem(422, "invalid-body", wick:post("/api/v1/health", reports, wick.user))
      reports[1001] = nil
      assert.equal(1000, wick:post("/api/v1/health", reports, wick.user):json().stored)
      assert.equal(422, wick:request("POST", "/api/v1/health", { token = wick.user, body = "[]",
        headers = { ["content-type"] = "application/json" } }).status)
      local rows = wick:fetch_all(("/api/v1/services/%s/health?limit=77"):format(service.id)) -- all of the same moment
      assert_each_once(1000, rows)
      local summary = wick:fetch(("/api/v1/services/%s/health/summary"):format(service.id))
      assert.same({ 1000, 1000, 0, 0 }, { summary.reports, summary.healthy, summary.degraded, summary.unhealthy })
      assert_near(500.5, summary.p50_ms)
      assert_near(950.05, summary.p95_ms)
      assert_near(990.01, summary.p99_ms)
    end)

    it("is not reported for nobody, by nobody, or in odd ways", function()
      local path = "/api/v1/services/" .. id_of "edge-gateway" .. "/health"
      assert_problem(404, "service-not-found", wick:post("/api/v1/services/" .. NOBODY .. "/health", { status = "healthy" }, wick.user))
      assert_problem(401, "login-required", wick:post(path, { status = "healthy" }))
      for _, body in ipairs { {}, { status = "ok" }, { status = "healthy", response_time_ms = "1" },
        { status = "healthy", checked_at = "yesterday" } } do
        assert_problem(422, "invalid-body", wick:post(path, body, wick.user))
      end
    end)

    it("has a history, newest first, each report once over all pages, between two times", function()
      local id = id_of "checkout-payments"
      local path = "/api/v1/services/" .. id .. "/health"
      local rows = wick:fetch_all(path .. "?limit=1000")
      assert_each_once(tonumber(wick:ask(("select count(*) from health_metrics where service_id = '%s'"):format(id))), rows)
      for i = 2, #rows do
        assert.is_true(rows[i].checked_at <= rows[i - 1].checked_at)
      end
      local since, before = rows[300].checked_at:gsub("%+", "%%2B"), rows[100].checked_at:gsub("%+", "%%2B")
      local some = wick:fetch_all(("%s?limit=17&since=%s&until=%s"):format(path, since, before))
      assert_each_once(200, some)
      assert.equal(rows[101].id, some[1].id)
      assert.equal(rows[300].id, some[200].id)
    end)

    it("has a history whose pages lose nothing that other programs wrote, zeros at the end or not", function()
      local service = new_service()
      local second = "2026-03-01 10:00:22"
      for _, fraction in ipairs { "", ".1", ".10", ".12", ".120", ".120", ".12000", ".120001", ".12", ".000", "", ".9" } do
        wick:ask(("insert into health_metrics (service_id, status, checked_at) values ('%s', 'healthy', '%s%s+00')"):format(
          service.id, second, fraction))
      end
      for _, limit in ipairs { 1, 2, 5 } do
        local rows = wick:fetch_all(("/api/v1/services/%s/health?limit=%d"):format(service.id, limit))
        assert_each_once(12, rows)
      end
      local path = ("/api/v1/services/%s/health?"):format(service.id)
      assert.equal(7, #wick:fetch(path .. "since=2026-03-01T10:00:22.12Z&until=2026-03-01T10:00:22.999Z"))
      assert.equal(3, #wick:fetch(path .. "until=2026-03-01T10:00:22.1Z"))
      assert.equal(9, #wick:fetch(path .. "since=2026-03-01T10:00:22.1Z"))
    end)

    it("has a history only of services that are there, and cursors only whole", function()
      local path = "/api/v1/services/" .. id_of "edge-gateway" .. "/health"
      assert_problem(404, "service-not-found", wick:get("/api/v1/services/" .. NOBODY .. "/health"))
      assert.same({}, wick:fetch("/api/v1/services/" .. new_service().id .. "/health"))
      for _, query in ipairs {
        "before=1", "before_time=2026-01-01T00:00:00Z", "since=today", "limit=1001", "before=0&before_time=2026-01-01T00:00:00Z",
      } do
        assert_problem(400, "invalid-query", wick:get(path .. "?" .. query))
      end
    end)

    it("is summed up with the percentiles of its values", function()
      local id = id_of "catalog-search"
      local values = wick:ask_list(([[select response_time_ms from health_metrics
        where service_id = '%s' and response_time_ms is not null]]):format(id))
      local sum = 0
      for i, value in ipairs(values) do
        values[i] = tonumber(value)
        sum = sum + values[i]
      end
      table.sort(values)
      local summary = wick:fetch(("/api/v1/services/%s/health/summary?window=31d"):format(id))
      assert.equal(tonumber(wick:ask(("select count(*) from health_metrics where service_id = '%s'"):format(id))), summary.reports)
      assert.equal(summary.reports, summary.healthy + summary.degraded + summary.unhealthy)
      assert.is_true(summary.unhealthy > 0 and summary.degraded > 0)
      assert_near(sum / #values, summary.avg_ms)
      for fraction, key in pairs { [0.5] = "p50_ms", [0.95] = "p95_ms", [0.99] = "p99_ms", [1] = "max_ms" } do
        assert_near(percentile(values, fraction), summary[key])
      end
    end)

    it("is summed up over a window", function()
      local id = id_of "edge-gateway"
      local path = "/api/v1/services/" .. id .. "/health/summary"
      local hour, day = wick:fetch(path), wick:fetch(path .. "?window=1d")
      assert.is_true(hour.reports >= 6 and hour.reports <= 8, hour.reports)
      assert.is_true(day.reports >= 178 and day.reports <= 181, day.reports)
      assert_problem(404, "service-not-found", wick:get("/api/v1/services/" .. NOBODY .. "/health/summary"))
      for _, window in ipairs { "1s", "32d", "an%20hour", "60" } do
        assert_problem(400, "invalid-query", wick:get(path .. "?window=" .. window))
      end
      local empty = wick:fetch("/api/v1/services/" .. new_service().id .. "/health/summary")
      assert.same({ 0, null, null }, { empty.reports, empty.p50_ms, empty.last_checked_at })
    end)
  end)

  describe("logs", function()
    it("are appended in batches and read back as they were", function()
      local service = new_service()
      local response = wick:request("POST", "/api/v1/logs", { token = wick.user, headers = { ["content-type"] = "application/json" },
        body = ([[[{"message":"one","service_id":"%s","level":"error","metadata":{"n":9007199254740993,"x":null,"l":[],"o":{},"t":"ü\n"}},
          {"message":"two","service_id":"%s","created_at":"2026-01-01T00:00:00.5+02:00"},{"message":"three","service_id":null}]
        ]]):format(service.id, service.id) })
      assert.same({ 202, 3 }, { response.status, response:json().stored })
      local page = wick:get("/api/v1/logs?service=" .. service.id, wick.user)
      local rows = page:json()
      assert.same({ "one", "two" }, { rows[1].message, rows[2].message })
      assert.same({ "error", "info" }, { rows[1].level, rows[2].level })
      assert.equal("2025-12-31T22:00:00.5+00:00", rows[2].created_at)
      assert.matches("9007199254740993", page.body)
      local compact = page.body:gsub("%s+", "")
      for _, part in ipairs { '"x":null', '"l":[]', '"o":{}', '"metadata":{}' } do
        assert.is_truthy(compact:find(part, 1, true), part)
      end
      assert.equal("ü\n", rows[1].metadata.t)
    end)

    it("take a thousand entries and not one more", function()
      local entries = {}
      for i = 1, 1001 do
        entries[i] = { message = "entry " .. i, level = "debug" }
      end
      local problem = assert_problem(422, "invalid-body", wick:post("/api/v1/logs", entries, wick.user))
      assert.equal("", problem.errors[1].pointer)
      entries[1001] = nil
      local response = wick:post("/api/v1/logs", entries, wick.user)
      assert.same({ 202, 1000 }, { response.status, response:json().stored })
    end)

    it("are not appended by nobody, for nobody, or in odd ways", function()
      assert_problem(401, "login-required", wick:post("/api/v1/logs", { { message = "x" } }))
      assert_problem(401, "login-required", wick:get "/api/v1/logs")
      local before = wick:ask "select count(*) from logs"
      assert.equal(409, wick:post("/api/v1/logs", { { message = "x" }, { message = "y", service_id = NOBODY } }, wick.user).status)
      local problem = assert_problem(422, "invalid-body", wick:post("/api/v1/logs", {
        { message = "" }, { level = "loud", message = "x" }, { message = "x", metadata = { 1 } }, { message = "x", extra = 1 },
        { message = "x", metadata = { a = { "\0" } } },
      }, wick.user))
      local pointers = {}
      for i, err in ipairs(problem.errors) do pointers[i] = err.pointer end
      assert.same({ "/0/message", "/1/level", "/2/metadata", "/3/extra", "/4/metadata/a" }, pointers)
      assert.equal(before, wick:ask "select count(*) from logs")
    end)

    it("are listed newest first by level, service and time, each once over all pages", function()
      local id = id_of "edge-gateway"
      local function count(condition) return tonumber(wick:ask("select count(*) from logs where " .. condition)) end
      assert_each_once(count "level = 'fatal'", (wick:fetch_all("/api/v1/logs?limit=50&level=fatal", wick.user)))
      local condition = ("service_id = '%s' and level = 'error'"):format(id)
      local rows = wick:fetch_all(("/api/v1/logs?limit=100&level=error&service=%s"):format(id), wick.user)
      assert_each_once(count(condition), rows)
      for i = 2, #rows do
        assert.is_true(rows[i].created_at <= rows[i - 1].created_at)
        assert.same({ "error", id }, { rows[i].level, rows[i].service_id })
      end
      local since, before = rows[30].created_at:gsub("%+", "%%2B"), rows[10].created_at:gsub("%+", "%%2B")
      local some = ("/api/v1/logs?limit=7&level=error&service=%s&since=%s&until=%s"):format(id, since, before)
      assert_each_once(20, (wick:fetch_all(some, wick.user)))
      local all = wick:fetch("/api/v1/logs?limit=1000", wick.user)
      assert.equal(1000, #all)
    end)

    it("do not take unknown filters", function()
      for _, query in ipairs { "level=loud", "service=17", "since=1", "before=5", "order=asc", "limit=0" } do
        assert_problem(400, "invalid-query", wick:get("/api/v1/logs?" .. query, wick.user))
      end
    end)
  end)

  describe("the overview", function()
    it("has the numbers of the database", function()
      wick:post("/api/v1/services", { name = "overview-" .. wick.engine }, wick.user) -- empties what is in memory
      local overview = wick:fetch "/api/v1/overview"
      local function pairs_of(rows, key, value)
        local out = {}
        for _, row in ipairs(rows) do
          out[#out + 1] = row[key] .. "|" .. math.tointeger(row[value])
        end
        return out
      end
      assert.same(wick:ask_list "select status, count(*) from services where is_active group by 1 order by 1",
        pairs_of(overview.by_status, "status", "services"))
      assert.same(wick:ask_list "select group_name, count(*) from services where is_active group by 1 order by 1",
        pairs_of(overview.by_group, "group_name", "services"))
      assert.is_true(#overview.health_last_hour >= 2)
      assert.is_true(#overview.logs_last_hour >= 4)
    end)
  end)
end, { "accounts", "registry", registry = { list_ttl = "1m", summary_ttl = "1ms" } })
