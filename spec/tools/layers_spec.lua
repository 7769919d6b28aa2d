-- tools/layers.lua sees what is out of order, and lets pass what is not.

local process = require "spec.support.process"

describe("layers", function()
  local layers = dofile "tools/layers.lua"

  local function why(path, text)
    local wrong = layers.judge(path, text)
    return wrong[1] and wrong[1][2], wrong[1] and wrong[1][1]
  end

  it("lets a file include its own folder and lower ranks", function()
    assert.is_nil(why("core/http/conn.c", '#include "http/conn.h"\n#include "loop/stream.h"\n#include "base/buf.h"\n#include <stdio.h>\n'))
    assert.is_nil(why("core/app.c", '#include "app.h"\n#include "script/vm.h"\n#include "base/mem.h"\n'))
  end)

  it("sees a lower rank include a higher one, and says on which line", function()
    local text, line = why("core/base/buf.c", '#include "base/buf.h"\n\n#  include "loop/loop.h"\n')
    assert.equal('includes "loop/loop.h": loop (rank 1) is above base (rank 0)', text)
    assert.equal(3, line)
  end)

  it("sees folders of one rank include each other", function()
    assert.equal('includes "redis/redis.h": cache and redis are of one rank (2)', why("core/cache/store.c", '#include "redis/redis.h"\n'))
  end)

  it("gives each foreign library to one folder", function()
    assert.equal("includes <uv.h>: only core/loop may", why("core/http/server.c", "#include <uv.h>\n"))
    assert.equal("includes <lua.h>: only core/script may", why("core/app.c", "#include <lua.h>\n"))
    assert.equal("includes <hiredis/read.h>: only core/redis may", why("core/cache/layer.h", '#include "hiredis/read.h"\n'))
    assert.is_nil(why("core/postgres/connection.c", "#include <libpq-fe.h>\n"))
  end)

  it("wants the whole path, and folders it knows", function()
    assert.equal('includes "conn.h": write its path from core/, "http/conn.h"', why("core/http/conn.c", '#include "conn.h"\n'))
    assert.equal('includes "util/all.h": no folder core/util is known', why("core/http/conn.c", '#include "util/all.h"\n'))
    assert.equal("no rank is known for core/util: see tools/layers.lua", why("core/util/all.h", ""))
  end)

  it("judges specs like their folder", function()
    assert.is_nil(why("spec/core/http/parse_spec.c", '#include "http/parse.h"\n#include "support/spec.h"\n'))
    assert.is_nil(why("spec/core/http/parse_spec.c", '#include "rig.h"\n#include "core/http/cases.h"\n'))
    assert.is_not_nil(why("spec/core/http/parse_spec.c", '#include "core/loop/rig.h"\n'))
    assert.is_not_nil(why("core/http/parse.c", '#include "core/http/cases.h"\n'))
    assert.is_not_nil(why("spec/core/http/parse_spec.c", '#include "serve/problem.h"\n'))
  end)

  it("keeps plugins apart, and the library below them", function()
    assert.is_nil(why("plugins/registry/init.lua", 'local S = require "wick.schema"\nrequire("registry.queries")\nrequire "cjson"\n'))
    assert.is_not_nil(why("plugins/registry/init.lua", 'local a = require "accounts.tokens"\n'))
    assert.is_not_nil(why("plugins/registry/init.lua", 'local a = require "plugins.accounts.tokens"\n'))
    assert.is_not_nil(why("lua/wick/router.lua", 'local r = require "registry.queries"\n'))
    assert.is_not_nil(why("lua/wick/router.lua", 'local r = require "wick.command.serve"\n'))
    assert.is_nil(why("lua/wick/command/serve.lua", 'local r = require "wick.command.flags"\n'))
    assert.is_nil(why("lua/wick/router.lua", '  -- as with require "socket"\n'))
  end)

  it("fails for a tree with one bad include, and passes without it", function()
    local dir = process.temp_dir()
    process.run { "mkdir", "-p", dir .. "/core/base" }
    process.write_file(dir .. "/core/base/buf.h", "#include <stddef.h>\n")
    assert.equal(0, process.run({ "lua5.4", "tools/layers.lua", dir }).code)
    process.write_file(dir .. "/core/base/buf.h", '#include <stddef.h>\n#include "http/conn.h"\n')
    local result = process.run { "lua5.4", "tools/layers.lua", dir }
    assert.equal(1, result.code)
    assert.truthy(result.err:find('core/base/buf.h:2: includes "http/conn.h"', 1, true))
    process.run { "rm", "-rf", dir }
  end)
end)
