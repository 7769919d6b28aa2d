-- luacheck: std luajit, globals wrk init request
--- wrk script: GET of BENCH_PREFIX .. id, in turn for each id of the file BENCH_IDS.

local requests, at = {}, 0

function init()
  for id in io.lines(os.getenv "BENCH_IDS") do
    requests[#requests + 1] = wrk.format("GET", os.getenv "BENCH_PREFIX" .. id)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
