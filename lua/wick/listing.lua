--- Lists for the routes of plugins: the text of a query from the filters that were given, so that each combination is a statement
--- of its own with a plan of its own, and the Link to the next page. Values only ever become parameters.
---
---   local f = listing.new()
---   f:where("status = ?", req.query.status)                         -- left out when it was not asked for
---   local rows = f:rows(cx, "select id, name from things", "order by name limit " .. f:value(req.query.limit))
---   local link = #rows > 0 and listing.next_link(req, req.query.limit, #rows, { after = rows[#rows].name }) or nil

local listing = {}
listing.__index = listing

function listing.new()
  return setmetatable({ conditions = {}, values = {}, count = 0 }, listing)
end

--- Takes a value, gives the text that stands for it: "$3".
function listing:value(value)
  self.count = self.count + 1
  self.values[self.count] = value
  return "$" .. self.count
end

--- Adds `condition` with each ? replaced by the next value; nothing when the first value is nil.
function listing:where(condition, first, ...)
  if first == nil then
    return self
  end
  local values, at = { first, ... }, 0
  self.conditions[#self.conditions + 1] = condition:gsub("%?", function()
    at = at + 1
    return self:value(values[at])
  end)
  return self
end

-- Where pages go on. SQLite compares times as text, which others may have written with more or fewer zeros than our
-- parameters have, so there the row itself is asked first.
local CURSOR = {
  postgres = "(%s, id) < (?, ?)",
  sqlite = "(%s, id) < (coalesce((select %s from %s where id = ?), ?), ?)",
}

--- Goes on after the row that the page before ended with; rows are in descending order of `column` and id.
function listing:after_row(dialect, table_name, column, time, id)
  if dialect == "postgres" then
    return self:where(CURSOR.postgres:format(column), time, id)
  end
  return self:where(CURSOR.sqlite:format(column, column, table_name), id, time, id)
end

--- For schemas of lists: the two parts of a cursor go together.
function listing.whole_cursor(query)
  if (query.before == nil) ~= (query.before_time == nil) then
    return nil, "before and before_time go together; take both from the Link header"
  end
  return true
end

--- " where a and b" or "".
function listing:text()
  return #self.conditions > 0 and " where " .. table.concat(self.conditions, " and ") or ""
end

--- Runs head .. where .. tail on the database; gives rows.
function listing:rows(cx, head, tail)
  return cx.db:rows(head .. self:text() .. " " .. tail, table.unpack(self.values, 1, self.count))
end

local function escape(text)
  return (tostring(text):gsub("[^%w%-._~]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

--- The Link header (RFC 8288) to the page after this one, or nil on the last. query: what the page was asked with; next: the
--- parameters that continue it.
function listing.next_link(req, limit, count, next)
  if count < limit then
    return nil
  end
  local query, names, parts = {}, {}, {}
  for name, value in pairs(req.query) do
    query[name] = value
  end
  for name, value in pairs(next) do
    query[name] = value
  end
  for name in pairs(query) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    for _, value in ipairs(type(query[name]) == "table" and query[name] or { query[name] }) do
      parts[#parts + 1] = name .. "=" .. escape(value)
    end
  end
  return ("<%s?%s>; rel=\"next\""):format(req.path, table.concat(parts, "&"))
end

return listing
