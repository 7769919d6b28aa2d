-- The demo data is whole, looks alive, is the same for the same moment, and is made quickly.

local process = require "spec.support.process"

describe("tools/demo-data", function()
  local NOW = "2026-11-23T14:00:00Z"
  local dir, file, seconds

  local function make(...)
    return process.run { "tools/demo-data", ... }
  end

  local function ask(sql, path)
    local result = process.run { "sqlite3", "-batch", path or file, sql }
    assert.equal("", result.err)
    return (result.out:gsub("\n$", ""))
  end

  setup(function()
    dir = process.temp_dir()
    file = dir .. "/demo.db"
    -- What it computes: how long that takes by the clock is up to whoever else uses the machine.
    local words = 'TIMEFORMAT="took %U %S"; time tools/demo-data "$@"'
    local result = process.run { "bash", "-c", words, "bash", file, "--now", NOW }
    assert.equal(0, result.code, result.err)
    local user, system = result.err:match "took ([%d.]+) ([%d.]+)"
    assert.is_truthy(user, result.err)
    seconds = tonumber(user) + tonumber(system)
  end)

  teardown(function()
    process.run { "rm", "-rf", dir }
  end)

  it("takes less than ten seconds of a processor", function()
    assert.is_true(seconds < process.slow(10), ("it took %.1f s"):format(seconds))
  end)

  it("has 40 services in 6 groups, 50 users, 100,000 logs and over 200,000 health reports", function()
    assert.equal("40|6", ask "select count(*), count(distinct group_name) from services")
    assert.equal("50", ask "select count(*) from users")
    assert.equal("100000", ask "select count(*) from logs")
    assert.is_true(tonumber(ask "select count(*) from health_metrics") >= 200000)
    assert.equal("40", ask "select count(distinct service_id) from health_metrics")
    assert.is_true(tonumber(ask "select count(*) from sessions") >= 50)
  end)

  it("is a sound file in WAL mode", function()
    assert.equal("ok", ask "pragma integrity_check")
    assert.equal("", ask "pragma foreign_key_check")
    assert.equal("wal", ask "pragma journal_mode")
  end)

  it("spans 30 days and leads up to now, and no further", function()
    for table_name, column in pairs { health_metrics = "checked_at", logs = "created_at" } do
      local first, last = ask(("select min(%s), max(%s) from %s"):format(column, column, table_name)):match "(.*)|(.*)"
      assert.is_true(first < "2026-10-24 15" and first > "2026-10-23", first)
      assert.is_true(last > "2026-11-23 13:59" and last < "2026-11-23 14:00:00", last)
    end
    assert.is_true(tonumber(ask "select count(*) from logs where created_at >= '2026-11-23 13:00:00+00'") > 100)
    assert.equal("3", ask "select count(distinct status) from health_metrics where checked_at >= '2026-11-23 13:00:00+00'")
  end)

  it("has quiet nights and busy afternoons", function()
    local function hour(h) return tonumber(ask(("select count(*) from logs where substr(created_at, 12, 2) = '%s'"):format(h))) end
    assert.is_true(hour "15" > 2 * hour "03")
    local function slow(h)
      return tonumber(ask(([[select avg(response_time_ms) from health_metrics
        where status = 'healthy' and substr(checked_at, 12, 2) = '%s']]):format(h)))
    end
    assert.is_true(slow "15" > 1.4 * slow "03")
  end)

  it("has errors in the logs when a service is in trouble", function()
    -- identity-tokens, 11 hours ago, for 24 minutes
    local span = "between '2026-11-23 03:00:00+00' and '2026-11-23 03:24:00+00'"
    local id = ask "select id from services where name = 'identity-tokens'"
    local function count(table_name, condition)
      return tonumber(ask(("select count(*) from %s where service_id = '%s' and %s %s"):format(table_name, id, condition, span)))
    end
    assert.is_true(count("logs", "level = 'error' and created_at") > 100)
    assert.equal(0, count("health_metrics", "status = 'healthy' and checked_at"))
    assert.is_true(count("health_metrics", "status = 'unhealthy' and checked_at") > 0)
  end)

  it("gives two users the demo password, and the others no password at all", function()
    assert.equal("admin@demo.example|admin|1|1\nuser@demo.example|user|1|1",
      ask "select email, role, is_active, is_verified from users where email in ('admin@demo.example', 'user@demo.example') order by email")
    assert.equal("50", ask [[select count(distinct password_hash) from users
      where password_hash glob '$argon2id$v=19$m=19456,t=2,p=1$*' and length(substr(password_hash, 32)) between 61 and 66]])
  end)

  it("gives the same rows for the same moment", function()
    local again = dir .. "/again.db"
    assert.equal(0, make(again, "--now", NOW).code)
    assert.equal(ask ".sha3sum", ask(".sha3sum", again))
    assert.equal(0, make(again, "--force", "--now=2026-11-23T14:00:01Z").code)
    assert.not_equal(ask ".sha3sum", ask(".sha3sum", again))
  end)

  it("leaves a file alone unless forced, and leaves nothing else behind", function()
    local path = dir .. "/mine.db"
    process.write_file(path, "mine")
    local result = make(path)
    assert.equal(1, result.code)
    assert.matches("is there already; %-%-force replaces it", result.err)
    assert.equal("mine", process.read_file(path))
    assert.equal("mine.db\n", process.run({ "sh", "-c", "ls " .. dir .. " | grep mine" }).out)
  end)

  it("says what is wrong with its arguments", function()
    for _, words in ipairs { {}, { file, "--now", "yesterdayish" }, { "a.db", "b.db" }, { file, "--now" } } do
      assert.equal(2, make(table.unpack(words)).code)
    end
    local result = make(dir .. "/nowhere/x.db")
    assert.equal(1, result.code)
    assert.matches("no such folder", result.err)
  end)
end)
