-- luacheck: std luajit, globals wrk init request done delay
--- wrk script: GET of BENCH_PREFIX .. id like get.lua, or POST like post.lua where BENCH_BODY is set; ends with a line of figures that
--- wrk's own summary does not have: `figures: RATE P50 P95 P99 ERRORS` (requests a second, ms). BENCH_PAUSE_MS: each client waits so long
-- between an answer and its next request.

local requests, at = {}, 0

function init()
  local body = os.getenv "BENCH_BODY"
  if body then
    requests[1] = wrk.format("POST", os.getenv "BENCH_PREFIX", { ["Content-Type"] = "application/json" }, body)
    return
  end
  for id in io.lines(os.getenv "BENCH_IDS") do
    requests[#requests + 1] = wrk.format("GET", os.getenv "BENCH_PREFIX" .. id)
  end
end

local pause_ms = tonumber(os.getenv "BENCH_PAUSE_MS")
if pause_ms then
  function delay() return pause_ms end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local e = summary.errors
  io.write(("figures: %.0f %.3f %.3f %.3f %d\n"):format(summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000,
    latency:percentile(95) / 1000, latency:percentile(99) / 1000, e.connect + e.read + e.write + e.status + e.timeout))
end
