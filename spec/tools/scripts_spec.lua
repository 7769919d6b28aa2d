-- Every tool explains itself, refuses what it does not know, and works from any folder.

local process = require "spec.support.process"
local top = require("luv").cwd()

describe("tools", function()
  local scripts = {
    "tools/setup", "tools/build", "tools/run", "tools/demo-data", "tools/test", "tools/check", "tools/soak", ".ci/run",
  }
  for _, script in ipairs(scripts) do
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

  it("test ends with the totals, within a run of itself, too", function()
    if (os.getenv "WICK_TEST_SANITIZE" or "") ~= "" then return end -- it would build another kind first
    local result = process.run { "tools/test", "--no-setup", "--c-only", "--only", "^base_mem$" }
    assert.equal(0, result.code, result.err)
    assert.is_truthy(result.out:match "\n%d+ passed, 0 failed\n$", result.out)
  end)

  it("test fails when no spec is run", function()
    if (os.getenv "WICK_TEST_SANITIZE" or "") ~= "" then return end
    local result = process.run { "tools/test", "--no-setup", "--only", "no such spec" }
    assert.same({ 1, "0 passed, 1 failed\n" }, { result.code, result.out })
  end)

  it("check refuses a step it does not know", function()
    assert.equal(2, process.run({ "tools/check", "--only", "taste" }).code)
  end)
end)
