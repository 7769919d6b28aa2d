-- pin.lua - loads what must be loaded once for all files of specs: busted forgets modules between files, and luv with its loop
-- does not survive that.

return { require "luv", require "socket", require "cjson" }
