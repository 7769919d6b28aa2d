--- Lists of what happened, newest first: the query parameters they share, and one page of them.

local S = require "wick.schema"
local listing = require "wick.listing"

local timeline = {}

--- The schema of such a list's query: `fields`, a window of time, and where the page before ended.
function timeline.query(fields)
  fields.since = S.timestamp { optional = true }
  fields["until"] = S.timestamp { optional = true }
  fields.before = S.int64 { optional = true, min = 1, doc = "the id the page before ended with" }
  fields.before_time = S.timestamp { optional = true, doc = "the time the page before ended with" }
  fields.limit = S.int64 { default = 100, min = 1, max = 1000 }
  return S.record(fields, { check = listing.whole_cursor })
end

--- One page as a reply, with a Link to the next, and the number of its rows. f: the filters so far. source: table, its time
-- column, and the columns to read.
function timeline.page(req, cx, f, source)
  local query, time = req.query, source.time
  f:where(time .. " >= ?", query.since)
  f:where(time .. " < ?", query["until"])
  if query.before then
    f:after_row(cx.dialect, source.table, time, query.before_time, query.before)
  end
  local rows = f:rows(cx, ("select %s from %s"):format(source.columns, source.table),
    ("order by %s desc, id desc limit %s"):format(time, f:value(query.limit)))
  local count = #rows
  local last = rows[count]
  local link = last and listing.next_link(req, query.limit, count, { before = last.id, before_time = last[time] })
  return cx.reply { status = 200, headers = { Link = link }, body = rows }, count
end

return timeline
