--- Where a setting stands in its file: reads Lua source as words and follows the table that is returned. Requires nothing.
--
-- The configuration is an ordinary Lua program, and Lua does not remember where a key was written. This reads the source once
-- more, as words and nesting only, and notes the line of every key of the table after the last `return`. Keys made by code
-- (loops, includes) are not found; the caller then names the file alone.

local function long_bracket(source, at)
  local level = source:match("^%[(=*)%[", at)
  if not level then
    return nil
  end
  local _, stop = source:find("]" .. level .. "]", at, true)
  return (stop or #source) + 1
end

-- Calls on_word(kind, text, line) for names, strings, and single characters of punctuation.
local function words(source, on_word)
  local at, line = 1, 1
  local function skip_to(stop)
    for _ in source:sub(at, stop - 1):gmatch("\n") do
      line = line + 1
    end
    at = stop
  end
  while at <= #source do
    local c = source:sub(at, at)
    if c:match("%s") then
      skip_to(source:match("^%s+()", at))
    elseif source:match("^%-%-", at) then
      skip_to(long_bracket(source, at + 2) or source:find("\n", at, true) or #source + 1)
    elseif long_bracket(source, at) then
      on_word("string", "", line)
      skip_to(long_bracket(source, at))
    elseif c == '"' or c == "'" then
      local stop = at + 1
      while stop <= #source and source:sub(stop, stop) ~= c do
        stop = stop + (source:sub(stop, stop) == "\\" and 2 or 1)
      end
      on_word("string", source:sub(at + 1, stop - 1), line)
      skip_to(stop + 1)
    elseif c:match("[%a_]") then
      local stop = source:match("^[%w_]+()", at)
      on_word("name", source:sub(at, stop - 1), line)
      skip_to(stop)
    elseif c:match("%d") then
      local stop = source:match("^[%w%.]+()", at)
      on_word("number", source:sub(at, stop - 1), line)
      skip_to(stop)
    else
      on_word(c, c, line)
      skip_to(at + 1)
    end
  end
end

local OPENS = { ["function"] = true, ["if"] = true, ["do"] = true, ["repeat"] = true } -- for and while have their do
local CLOSES = { ["end"] = true, ["until"] = true }

-- How the word changes the depth of parentheses and blocks; what stands inside of those is code, not settings.
local function code_depth(word)
  if word.kind == "(" or (word.kind == "name" and OPENS[word.text]) then
    return 1
  elseif word.kind == ")" or (word.kind == "name" and CLOSES[word.text]) then
    return -1
  end
  return 0
end

-- The place after the last `return` of the file itself, rather than of a function in it.
local function start_of(list)
  local depth, start = 0, nil
  for i, word in ipairs(list) do
    depth = depth + code_depth(word) + (word.kind == "{" and 1 or word.kind == "}" and -1 or 0)
    if depth == 0 and word.kind == "name" and word.text == "return" then
      start = i + 1
    end
  end
  return start
end

--- Map from "database.postgres.pool" or "plugins[2]" to the line it stands on.
local function locate(source)
  local list = {}
  words(source, function(kind, text, line)
    list[#list + 1] = { kind = kind, text = text, line = line }
  end)
  local start = start_of(list)
  if not start then
    return {}
  end
  local lines, prefixes, counts, key, depth = {}, {}, {}, nil, 0
  local is_fresh = false -- at the start of a field
  local function full(name)
    local prefix = prefixes[#prefixes]
    if math.type(name) then
      return ("%s[%s]"):format(prefix, math.tointeger(name) or name)
    end
    return prefix == "" and name or prefix .. "." .. name
  end
  local function found(name, line)
    key, is_fresh = name, false
    lines[full(name)] = line
  end
  local function found_next(line)
    counts[#counts] = counts[#counts] + 1
    found(counts[#counts], line)
  end
  for i = start, #list do
    local word, after, third = list[i], list[i + 1] or {}, list[i + 2] or {}
    local change = code_depth(word)
    if depth > 0 or change > 0 then
      if is_fresh and depth == 0 then
        found_next(word.line)
      end
      depth = depth + change
    elseif word.kind == "{" then
      if #prefixes > 0 and is_fresh then
        found_next(word.line)
      end
      prefixes[#prefixes + 1] = #prefixes == 0 and "" or full(key or "?")
      counts[#prefixes], key, is_fresh = 0, nil, true
    elseif word.kind == "}" then
      prefixes[#prefixes], counts[#counts], is_fresh = nil, nil, false
      if #prefixes == 0 then
        break
      end
    elseif word.kind == "," or word.kind == ";" then
      key, is_fresh = nil, true
    elseif is_fresh and word.kind == "name" and after.kind == "=" and third.kind ~= "=" then
      found(word.text, word.line)
    elseif is_fresh and word.kind == "[" and (after.kind == "string" or after.kind == "number") then
      found(after.kind == "number" and tonumber(after.text) or after.text, word.line)
    elseif is_fresh and #counts > 0 then
      found_next(word.line)
    end
  end
  return lines
end

return locate
