--- Turns the Lua files of the program into a C file that holds their bytes.
-- usage: lua5.4 tools/embed.lua OUT.c ROOT FILE...   FILE is below ROOT: wick/schema.lua becomes the module wick.schema

local out_path, root = arg[1], arg[2]

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

-- Decimal bytes, 24 to a line: compilers read them in no time, and nothing has to be escaped.
local function bytes(text)
  local lines = {}
  for at = 1, #text, 24 do
    lines[#lines + 1] = table.concat({ text:byte(at, at + 23) }, ",") .. ","
  end
  return table.concat(lines, "\n")
end

local arrays, entries = {}, {}
for i = 3, #arg do
  local text = read(root .. "/" .. arg[i])
  assert(load(text, "@" .. arg[i], "t"))
  arrays[#arrays + 1] = ("static const unsigned char file_%d[] = {\n%s\n0 };\n"):format(i, bytes(text))
  entries[#entries + 1] = ("    { \"%s\", (const char *)file_%d, %d },\n"):format(arg[i]:gsub("%.lua$", ""):gsub("/", "."), i, #text)
end

local out <close> = assert(io.open(out_path, "wb"))
out:write("/* made by tools/embed.lua */\n#include \"script/library.h\"\n\n")
out:write(table.concat(arrays, "\n"))
out:write("\nconst struct library_file library_files[] = {\n", table.concat(entries), "    { NULL, NULL, 0 },\n};\n")
