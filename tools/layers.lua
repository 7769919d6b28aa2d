#!/usr/bin/env lua5.4
-- layers.lua - keeps the house in order: who may include and require whom.
--
--   lua5.4 tools/layers.lua [FOLDER]        judges the tree at FOLDER (default: here); 0 in order, 1 not, 2 usage
--
-- C      A file of core/<folder> includes, in quotes and by its path from core/, files of its own folder and of folders
--        of a lower rank. Folders of one rank never include each other. A foreign library belongs to one folder.
--        A spec of a folder lives by the same rules, and may include what stands beside it and in spec/support.
-- Lua    lua/wick requires wick and what `modules` lists; only lua/wick/command requires wick.command. A plugin requires
--        wick, what `modules` lists, and its own files; never another plugin.
--
-- The rules are the tables below and `judge`, which looks at one text; the rest finds the files.

local ranks = {
  base = 0,
  loop = 1,
  http = 2, client = 2, metrics = 2, cache = 2, redis = 2, sql = 2,
  postgres = 3, sqlite = 3,
  serve = 4, move = 4,
  script = 5,
}
local top_rank = 6                                               -- main.c and app.c, which open everything

local owners = {                                                 -- header, as a Lua pattern -> its one folder
  ["^uv%.h$"] = "loop", ["^uv/"] = "loop",
  ["^lua%.h$"] = "script", ["^lauxlib%.h$"] = "script", ["^lualib%.h$"] = "script", ["^luaconf%.h$"] = "script",
  ["^libpq%-fe%.h$"] = "postgres", ["^postgresql/"] = "postgres", ["^libpq/"] = "postgres", ["^pg_config"] = "postgres",
  ["^hiredis"] = "redis",
  ["^sqlite3"] = "sqlite",
  ["^curl/"] = "client",
}

local modules = { cjson = true, argparse = true }                -- packaged Lua modules that lua/ and plugins/ may use

-- --- judging one file ---

-- The folder of core/ that a path belongs to, and its rank; "" stands for core/ itself. nil: not ours to judge.
local function home_of(path)
  local folder = path:match "^spec/core/([%w_]+)/" or path:match "^core/([%w_]+)/"
  if folder then return folder, ranks[folder] end
  if path:match "^core/[^/]+$" then return "", top_rank end
end

local function owner_of(header)
  for pattern, folder in pairs(owners) do
    if header:find(pattern) then return folder end
  end
end

-- What specs share with each other: beside them, or by a path from spec/.
local function is_of_specs(folder, header)
  return not header:find "/" or header:find "^support/" or header:sub(1, #folder + 6) == "core/" .. folder .. "/"
end

local function judge_quoted(path, folder, rank, header)
  if path:find "^spec/" and is_of_specs(folder, header) then return end
  local other = header:match "^([%w_]+)/"
  if not other then
    if folder == "" then return end
    return ("includes \"%s\": write its path from core/, \"%s/%s\""):format(header, folder, header)
  end
  if other == folder then return end
  if not ranks[other] then return ("includes \"%s\": no folder core/%s is known"):format(header, other) end
  if ranks[other] == rank then
    return ("includes \"%s\": %s and %s are of one rank (%d)"):format(header, folder, other, rank)
  end
  if ranks[other] > rank then
    return ("includes \"%s\": %s (rank %d) is above %s (rank %d)"):format(header, other, ranks[other], folder, rank)
  end
end

local function judge_include(path, folder, rank, mark, header)
  local owner = owner_of(header)
  if owner then
    if owner ~= folder then return ("includes <%s>: only core/%s may"):format(header, owner) end
  elseif mark == '"' then
    return judge_quoted(path, folder, rank, header)
  end
end

local function judge_require(path, name)
  local plugin, first = path:match "^plugins/([%w_-]+)/", name:match "^[%w_-]+"
  if modules[first] then return end
  if first == "wick" then
    if name:match "^wick%.command" and not path:match "^lua/wick/command" then
      return ("requires \"%s\": only lua/wick/command may"):format(name)
    end
    return
  end
  if not plugin then return ("requires \"%s\": neither wick's nor a module of the list in tools/layers.lua"):format(name) end
  if first == "plugins" then first = name:match "^plugins%.([%w_-]+)" end
  if first ~= plugin then return ("requires \"%s\": a plugin requires wick and its own files"):format(name) end
end

local function each_line(text)
  local number = 0
  return text:gmatch "([^\n]*)\n?", function() number = number + 1 return number end
end

-- What is wrong with the file `path` (from the top of the tree) that holds `text`: a list of { line, why }.
local function judge(path, text)
  local wrong = {}
  local folder, rank = home_of(path)
  if folder and not rank then return { { 1, "no rank is known for core/" .. folder .. ": see tools/layers.lua" } } end
  local lines, next_number = each_line(text)
  for line in lines do
    local number = next_number()
    local why
    if folder then
      local mark, header = line:match '^%s*#%s*include%s*(["<])([^">]+)[">]'
      why = header and judge_include(path, folder, rank, mark, header)
    else
      local name = not line:match "^%s*%-%-" and line:match "%f[%w_.:]require%s*%(?%s*[\"']([%w_.-]+)[\"']"
      why = name and judge_require(path, name)
    end
    if why then wrong[#wrong + 1] = { number, why } end
  end
  return wrong
end

-- --- judging the tree ---

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function files_below(top)
  local list = assert(io.popen(([[cd '%s' && for dir in core spec/core lua plugins; do [ -d $dir ] &&
    find $dir -type f \( -name '*.[ch]' -o -name '*.lua' \) -not -path '*/node_modules/*'; done | sort]]):format(top)))
  local paths = {}
  for path in list:lines() do
    local is_c = path:match "%.[ch]$"
    if (path:match "core/" ~= nil) == (is_c ~= nil) and not path:match "_spec%.lua$" then paths[#paths + 1] = path end
  end
  list:close()
  return paths
end

local function main(top)
  if top == "--help" or top == "-h" then
    for line in io.lines(arg[0]) do
      local text = line:match "^%-%- ?(.*)"
      if not text and not line:match "^#!" then break end
      if text then print(text) end
    end
    return 0
  end
  local files, complaints = files_below(top or "."), 0
  for _, path in ipairs(files) do
    for _, wrong in ipairs(judge(path, read_file((top or ".") .. "/" .. path))) do
      io.stderr:write(("%s:%d: %s\n"):format(path, wrong[1], wrong[2]))
      complaints = complaints + 1
    end
  end
  io.stderr:write(("layers: %d files, %d out of order\n"):format(#files, complaints))
  return complaints == 0 and 0 or 1
end

if arg and arg[0] and arg[0]:match "layers%.lua$" then os.exit(main(arg[1])) end
return { judge = judge, ranks = ranks }
