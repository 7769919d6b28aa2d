--- Addresses of hosts and nets, strictly: "10.0.0.7", "10.0.0.0/8", "2001:db8::/32".

local address = {}

-- Four bytes, or nil.
local function read_v4(text)
  local bytes = {}
  for part in (text .. "."):gmatch "([^.]*)%." do
    local is_number = part == "0" or part:match "^[1-9]%d?%d?$"
    if not is_number or tonumber(part) > 255 then
      return nil
    end
    bytes[#bytes + 1] = tonumber(part)
  end
  return #bytes == 4 and bytes or nil
end

-- The bytes of groups such as "2001:db8", or nil.
local function read_groups(text)
  local bytes = {}
  if text == "" then
    return bytes
  end
  for part in (text .. ":"):gmatch "([^:]*):" do
    local number = part:match "^%x%x?%x?%x?$" and tonumber(part, 16)
    if not number then
      return nil
    end
    bytes[#bytes + 1], bytes[#bytes + 2] = number >> 8, number & 255
  end
  return bytes
end

-- Sixteen bytes, or nil. RFC 4291 2.2, without its form that ends in an IPv4 address.
local function read_v6(text)
  local head, tail = text:match "^(.-)::(.*)$"
  local front, back = read_groups(head or text), read_groups(tail or "")
  if not front or not back or (not head and #front ~= 16) or (head and #front + #back > 14) then
    return nil
  end
  local bytes = table.move(front, 1, #front, 1, {})
  while #bytes + #back < 16 do
    bytes[#bytes + 1] = 0
  end
  return table.move(back, 1, #back, #bytes + 1, bytes)
end

-- Whether any bit behind the prefix is set.
local function has_host(bytes, prefix)
  for i, byte in ipairs(bytes) do
    local kept = math.max(0, math.min(8, prefix - 8 * (i - 1)))
    if byte & (0xff >> kept) ~= 0 then
      return true
    end
  end
  return false
end

--- True, or nil and what is wrong: an address, a net in CIDR notation, or "unix" for those who come through a unix socket.
function address.check(text)
  if text == "unix" then
    return true
  end
  local host, prefix = text:match "^([^/]*)/(.*)$"
  local bytes = read_v4(host or text) or read_v6(host or text)
  if not bytes then
    return nil, 'expected an address such as "10.0.0.7" or "2001:db8::1", a net such as "10.0.0.0/8", or "unix"'
  elseif prefix and not ((prefix == "0" or prefix:match "^[1-9]%d?%d?$") and tonumber(prefix) <= 8 * #bytes) then
    return nil, ("the prefix of a net is a number from 0 to %d"):format(8 * #bytes)
  elseif prefix and has_host(bytes, tonumber(prefix)) then
    return nil, "bits are set behind the prefix: write the first address of the net"
  end
  return true
end

return address
