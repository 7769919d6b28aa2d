--- db:transaction(fn, options): begins, calls fn(tx), commits, and gives what fn returned.
--
-- Where the database asks for another try (serialization failure 40001, deadlock 40P01) the whole is run again, at most three
-- times in all: fn must be able to run more than once. Any other error rolls back and goes on to the caller. What a function
-- of after_commit raises goes on as well, and never leads to another try: the commit has taken place.

local traceback = require("wick.native").traceback

local ATTEMPTS_MAX = 3
local RETRY = { ["40001"] = true, ["40P01"] = true }

local function attempt(db, fn, options, outcome)
  local tx <close> = db:begin(options)
  tx:after_commit(function() outcome.is_committed = true end)
  local results = table.pack(fn(tx))
  tx:commit()
  return results
end

local function sqlstate(problem)
  local fine, state = pcall(function() return problem.sqlstate end)
  return fine and state
end

return function(db, fn, options)
  for n = 1, ATTEMPTS_MAX do
    local outcome = {}
    local fine, results = xpcall(attempt, traceback, db, fn, options, outcome)
    if fine then
      return table.unpack(results, 1, results.n)
    end
    if n == ATTEMPTS_MAX or outcome.is_committed or not RETRY[sqlstate(results)] then
      error(results, 0)
    end
  end
end
