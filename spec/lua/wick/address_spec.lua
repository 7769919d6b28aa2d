-- What is an address, and what only looks like one.

local address = require "wick.address"

describe("an address", function()
  it("is of a host, of a net, or the word unix", function()
    for _, text in ipairs {
      "10.0.0.7", "0.0.0.0/0", "10.0.0.0/8", "192.168.1.128/25", "255.255.255.255/32", "::1", "::", "::/0", "2001:db8::/32",
      "fe80::1:2", "1:2:3:4:5:6:7:8", "2001:DB8:0:0:0:0:0:1/128", "::ffff:a00:7", "unix",
    } do
      assert.is_true(address.check(text), text)
    end
  end)

  it("is nothing else", function()
    for _, text in ipairs {
      "", "10.0.0", "10.0.0.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.1 ", " ::1", "localhost", "10.0.0.1:80", "[::1]", ":::", "1::2::3",
      "12345::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::1:2:3:4:5:6:7:8", ":1", "1:", "g::", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
      "10.0.0.0/08", "::/129", "10.0.0.0/8/8", "/8", "UNIX",
    } do
      assert.is_nil((address.check(text)), text)
    end
    assert.matches("bits are set behind the prefix", select(2, address.check "10.1.0.0/8"))
    assert.matches("bits are set behind the prefix", select(2, address.check "2001:db8::1/32"))
  end)
end)
