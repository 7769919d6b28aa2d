--- Cuts the text of an SQL file into its statements: at semicolons outside of quotes, dollar quotes, comments and the bodies of
--- triggers. Requires nothing.

-- The end of what begins at `at` and is no word: a quoted text; nil when nothing such begins there. What is never ended ends
-- behind the text, and is named as well.
local function past_quoted(text, at)
  local c = text:sub(at, at)
  if c == "'" and text:match("^[eE]", at - 1) and not text:match("^[%w_]", at - 2) then -- PostgreSQL's E'...' has \'
    local stop = at + 1
    while stop <= #text and text:sub(stop, stop) ~= "'" do
      stop = stop + (text:sub(stop, stop) == "\\" and 2 or 1)
    end
    return stop + 1, stop > #text and "a text in '...'" or nil
  elseif c == "'" or c == '"' or c == "`" then -- a doubled quote is two quoted texts, side by side
    local stop = text:find(c, at + 1, true)
    return (stop or #text) + 1, not stop and ("a text in %s...%s"):format(c, c) or nil
  elseif text:match("^%$[%a_]?[%w_]*%$", at) and not text:match("^%$%d", at) then
    local tag = text:match("^%$[%a_]?[%w_]*%$", at)
    local _, stop = text:find(tag, at + #tag, true)
    return (stop or #text) + 1, not stop and ("a text in %s...%s"):format(tag, tag) or nil
  end
  return nil
end

local function past_comment(text, at)
  if text:match("^%-%-", at) then
    return (text:find("\n", at, true) or #text) + 1
  elseif text:match("^/%*", at) then
    local _, stop = text:find("*/", at + 2, true)
    return (stop or #text) + 1, not stop and "a comment in /*...*/" or nil
  end
  return nil
end

-- Follows the words of one statement: `depth` is above zero inside a body of statements, between begin and its end.
local function body_reader()
  local depth, is_create, has_body, before = 0, nil, false, nil
  return function(word)
    word = word:lower()
    if is_create == nil then
      is_create = word == "create"
    end
    if is_create then
      has_body = has_body or word == "trigger" or word == "function" or word == "procedure"
      if depth == 0 and has_body and word == "begin" then
        depth = 1
      elseif depth > 0 and (word == "case" or word == "begin") and before ~= "end" then
        depth = depth + 1
      elseif depth > 0 and word == "end" then
        depth = depth - 1
      end
    end
    before = word
    return depth
  end
end

-- nil, what is wrong, and the line in which it begins.
local function never_ended(text, at, what)
  local _, before = text:sub(1, at - 1):gsub("\n", "")
  return nil, ("%s begins here and never ends"):format(what), before + 1
end

--- The statements of a text; or nil, what is wrong and the line.
local function cut(text)
  local out, start, at = {}, 1, 1
  local read_word, depth, is_empty = body_reader(), 0, true
  local function take(stop)
    if not is_empty then
      out[#out + 1] = text:sub(start, stop):gsub("^%s+", ""):gsub("%s+$", "")
    end
    read_word, depth, is_empty, start = body_reader(), 0, true, stop + 2
  end
  while at <= #text do
    local after, open = past_comment(text, at)
    if open then
      return never_ended(text, at, open)
    elseif after then
      at = after
    elseif text:match("^%s", at) then
      at = text:match("^%s+()", at)
    elseif text:match("^[%a_]", at) then
      local word, stop = text:match("^([%w_$]+)()", at)
      local is_escape = (word == "e" or word == "E") and text:sub(stop, stop) == "'"
      depth = is_escape and depth or read_word(word)
      at, is_empty = stop, false
    elseif text:sub(at, at) == ";" and depth == 0 then
      take(at - 1)
      at = at + 1
    else
      after, open = past_quoted(text, at)
      if open then
        return never_ended(text, at, open)
      end
      at, is_empty = after or at + 1, false
    end
  end
  if depth > 0 then
    return never_ended(text, text:find("%S", start), "a statement with begin, whose end is missing,")
  end
  take(#text)
  return out
end

return cut
