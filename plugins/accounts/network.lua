--- Whose an address is. Requires nothing.

-- The groups of one side of "::", in order.
local function groups_of(text)
  local groups = {}
  for group in text:gmatch "[^:]+" do
    groups[#groups + 1] = group:lower():gsub("^0+(%x)", "%1")
  end
  return groups
end

--- The address as failed logins are counted: an IPv4 address is one caller; of IPv6 a household or a rented machine has a whole
-- /64 (RFC 6177), and so 2^64 addresses to guess from.
local function network(peer)
  if not peer:find(":", 1, true) or peer:find(".", 1, true) then -- ::ffff:192.0.2.1 is IPv4
    return peer
  end
  local front, back = peer:match "^(.-)::(.*)$"
  local groups, last = groups_of(front or peer), groups_of(back or "")
  while #groups < 8 - #last do
    groups[#groups + 1] = "0"
  end
  table.move(last, 1, #last, #groups + 1, groups)
  return table.concat(groups, ":", 1, 4) .. "::/64"
end

return network
