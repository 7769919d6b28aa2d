--- Cuts the text of an SQL file into its statements: at semicolons outside of quotes, dollar quotes and comments.
-- Requires nothing.

local function cut(text)
  local out, start, at = {}, 1, 1
  local function take(stop)
    local statement = text:sub(start, stop):gsub("^%s+", ""):gsub("%s+$", "")
    if statement:gsub("%-%-[^\n]*", ""):find("%S") then
      out[#out + 1] = statement
    end
  end
  -- A trigger's body has semicolons of its own between BEGIN and END.
  local function in_trigger()
    local head = text:sub(start, at):gsub("%-%-[^\n]*", ""):lower()
    return head:match("^%s*create%s+[%s%a]*trigger") and head:match("%f[%w]begin%f[%W]") and not head:match("%f[%w]end%s*$")
  end
  while at <= #text do
    local c = text:sub(at, at)
    if c == "'" or c == '"' then
      at = (text:find(c, at + 1, true) or #text) + 1
    elseif text:match("^%-%-", at) then
      at = (text:find("\n", at, true) or #text) + 1
    elseif text:match("^/%*", at) then
      local _, stop = text:find("*/", at + 2, true)
      at = (stop or #text) + 1
    elseif text:match("^%$[%a_]*%$", at) then
      local tag = text:match("^%$[%a_]*%$", at)
      local _, stop = text:find(tag, at + #tag, true)
      at = (stop or #text) + 1
    elseif c == ";" then
      at = at - 1
      local inside = in_trigger()
      at = at + 1
      if not inside then
        take(at - 1)
        start = at + 1
      end
      at = at + 1
    else
      at = at + 1
    end
  end
  take(#text)
  return out
end

return cut
