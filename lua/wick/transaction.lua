--- db:transaction(fn, options): begins, calls fn(tx), commits, and gives what fn returned.
--
-- Where the database has undone the transaction through no fault of its own (a serialization failure, a deadlock, a plan that a change of
-- tables made stale, a connection that was lost before COMMIT, or during it and the server says that it did not take place), the whole is
-- run again: at most three times, after a wait that grows, within the deadline of the request, and as long as a budget for all requests of
-- the worker lasts. So fn must be able to run more than once. options: those of db:begin, and idempotent = true where running fn a second
-- time is right even if the first has been committed: then it is run again, too, when nobody knows.
-- Any other error rolls back and goes on to the caller. What a function of after_commit raises goes on as well, and never leads to another
-- try: the commit has taken place.

local native = require "wick.native"

local function attempt(db, fn, options, outcome)
  local tx <close> = db:begin(options)
  tx:after_commit(function() outcome.is_committed = true end)
  local results = table.pack(fn(tx))
  tx:commit()
  return results
end

-- Of whatever was raised: its SQLSTATE, and whether it is marked as undone.
local function reason_of(problem)
  local fine, state, again = pcall(function() return problem.sqlstate, problem.again end)
  return fine and state or nil, fine and again or false
end

return function(db, fn, options)
  local reruns, reason = 0, nil
  local is_repeatable = options and (options.idempotent or options.read_only)
  while true do
    local outcome = {}
    local fine, results = xpcall(attempt, native.traceback, db, fn, options, outcome)
    local state, again = nil, false
    if not fine then
      state, again = reason_of(results)
    end
    local wait_ms = not fine and not outcome.is_committed and native.rerun(state, again, reruns, is_repeatable)
    if not wait_ms then
      if reason then
        native.rerun_ended(reason, fine)
      end
      if fine then
        return table.unpack(results, 1, results.n)
      end
      error(results, 0)
    end
    reruns, reason = reruns + 1, reason or state
    native.sleep(wait_ms)
  end
end
