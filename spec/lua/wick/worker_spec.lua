-- A VM that serves starts its plugins and stops them.

local native = require "spec.lua.support.native"
native.traceback = native.traceback or debug.traceback
local worker = require "wick.worker"

describe("a worker", function()
  it("stops each plugin once, and starts no more, when it is stopped while one of them starts", function()
    local said = {}
    local function plugin(name, waits)
      return { cx = {}, plugin = {
        start = function() if waits then coroutine.yield() end said[#said + 1] = "start " .. name end,
        stop = function() coroutine.yield() said[#said + 1] = "stop " .. name end,
      } }
    end
    worker.plugins = { plugin "a", plugin "b", plugin("c", true), plugin "d" }
    local starting, stopping = coroutine.create(worker.start), coroutine.create(worker.stop)
    local turns = { starting, stopping, starting, stopping, starting, stopping }
    for _, one in ipairs(turns) do
      if coroutine.status(one) ~= "dead" then assert(coroutine.resume(one)) end
    end
    assert.same({ "start a", "start b", "start c", "stop b", "stop c", "stop a" }, said)
  end)
end)
