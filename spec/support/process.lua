-- process.lua - starts programs, watches them and ends them, for specs.
--
--   local process = require "spec.support.process"
--   local result = process.run { "ls", "-l" }                   -- result.code, .signal, .out, .err
--   local child = process.start({ "redis-server" }, { out = "/tmp/log" })
--   child:signal "sigterm"; local code, signal = child:wait(5000)
--
-- HOLDS  A child stays in the process group of the spec, so that tools/test ends it with the spec that forgot it.

local uv = require "luv"

-- A limit of time that holds on a quiet machine; WICK_SLOW says how many times longer things may take here. Under tools/test
-- that is 3, and 10 with sanitizers; lower bounds and the order of events hold everywhere.
local times_slower = math.max(tonumber(os.getenv "WICK_SLOW" or "") or 1, 1)
local function slow(ms) return ms * times_slower end

local Process = {}
Process.__index = Process

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read "a"
  file:close()
  return text
end

local function write_file(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

-- A folder of its own that everybody may pass through (the user postgres has to).
local function temp_dir()
  local dir = assert(uv.fs_mkdtemp((os.getenv "WICK_TEST_TMP" or "/tmp") .. "/spec.XXXXXX"))
  assert(uv.fs_chmod(dir, tonumber("755", 8)))
  return dir
end

local function environment(changes)
  local all, list = uv.os_environ(), {}
  for name, value in pairs(changes or {}) do all[name] = value or nil end
  for name, value in pairs(all) do list[#list + 1] = name .. "=" .. tostring(value) end
  return list
end

-- Starts `words[1]`, looked up in PATH, with the other words as arguments.
-- options: out, err (files to append to; default nowhere), input (a file), cwd, env (a table; false removes a name).
local function start(words, options)
  options = options or {}
  local self = setmetatable({}, Process)
  local append, mode = "a", tonumber("644", 8)
  local input = assert(uv.fs_open(options.input or "/dev/null", "r", mode))
  local out = assert(uv.fs_open(options.out or "/dev/null", append, mode))
  local err = assert(uv.fs_open(options.err or "/dev/null", append, mode))
  local handle, pid = uv.spawn(words[1], {
    args = { table.unpack(words, 2) }, stdio = { input, out, err }, cwd = options.cwd, env = environment(options.env),
  }, function(code, signal)
    self.code, self.exit_signal = code, signal
    self.handle:close()
  end)
  for _, fd in ipairs { input, out, err } do uv.fs_close(fd) end
  if not handle then error("cannot start " .. words[1] .. ": " .. tostring(pid), 2) end
  self.handle, self.pid = handle, pid
  return self
end

function Process:is_running()
  uv.run "nowait"
  return self.code == nil
end

-- name: "sigterm", "sigkill", "sigstop", "sigcont", "sighup", ... Harmless when the process is gone.
function Process:signal(name)
  if self:is_running() then uv.kill(self.pid, name) end
end

-- Waits until it ends: exit code and signal number (0: none). nil after slow(timeout_ms) (default 10,000).
function Process:wait(timeout_ms)
  local deadline = uv.hrtime() + slow(timeout_ms or 10000) * 1000000
  while self:is_running() do
    if uv.hrtime() > deadline then return nil end
    uv.sleep(2)
  end
  return self.code, self.exit_signal
end

-- Runs a program to its end. options as for start, and stdin (text), timeout_ms (default 60,000; then it is killed).
local function run(words, options)
  options = options or {}
  local dir = temp_dir()
  local merged = { out = dir .. "/out", err = dir .. "/err", cwd = options.cwd, env = options.env }
  if options.stdin then
    merged.input = dir .. "/in"
    write_file(merged.input, options.stdin)
  end
  local child = start(words, merged)
  local code, signal = child:wait(options.timeout_ms or 60000)
  if not code then
    child:signal "sigkill"
    code, signal = child:wait()
  end
  local result = { code = code, signal = signal, out = read_file(merged.out), err = read_file(merged.err) }
  for _, name in ipairs { "out", "err", "in" } do os.remove(dir .. "/" .. name) end
  os.remove(dir)
  return result
end

-- Calls `probe` every few milliseconds until it returns something true, and returns that; nil after
-- slow(timeout_ms), by default 5,000.
local function eventually(probe, timeout_ms)
  local deadline = uv.hrtime() + slow(timeout_ms or 5000) * 1000000
  while true do
    local value = probe()
    if value then return value end
    if uv.hrtime() > deadline then return nil end
    uv.sleep(5)
  end
end

return {
  start = start,
  run = run,
  eventually = eventually,
  slow = slow,
  temp_dir = temp_dir,
  read_file = read_file,
  write_file = write_file,
  sleep_ms = uv.sleep,
  now_ms = function() return uv.hrtime() // 1000000 end,
}
