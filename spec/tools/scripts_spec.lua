-- Every tool explains itself, refuses what it does not know, and works from any folder.

local process = require "spec.support.process"
local top = require("luv").cwd()

describe("tools", function()
  for _, script in ipairs { "tools/setup", "tools/build", "tools/run", "tools/demo-data", "tools/test", "tools/check", ".ci/run" } do
    it(script .. " says what it does with --help, from any folder", function()
      local result = process.run({ top .. "/" .. script, "--help" }, { cwd = "/" })
      assert.equal(0, result.code)
      assert.equal(script, result.out:sub(1, #script))
    end)

    it(script .. " refuses a flag it does not know with status 2", function()
      local result = process.run { script, "--no-such-flag" }
      assert.equal(2, result.code)
      assert.not_equal("", result.err)
      assert.equal("", result.out)
    end)
  end

  it("setup installs nothing when nothing is missing", function()
    local result = process.run { "tools/setup", "run" }
    assert.same({ 0, "setup: nothing is missing for 'run'\n" }, { result.code, result.err })
  end)

  it("build knows a folder for each kind", function()
    local function dir(flag) return process.run({ "tools/build", flag, "--dir" }).out end
    assert.equal("build/release\n", dir "--release")
    assert.equal("build/sanitize-address-undefined\n", dir "--sanitize=address,undefined")
    assert.equal("build/sanitize-thread\n", dir "--thread")
  end)

  it("check refuses a step it does not know", function()
    assert.equal(2, process.run({ "tools/check", "--only", "taste" }).code)
  end)
end)
