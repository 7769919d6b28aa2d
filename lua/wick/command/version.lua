--- wick version: the version, and what it is built with.

local native = require "wick.native"

return {
  summary = "Print the version.",
  run = function(args, command)
    if args.json then
      command.say(native.json.encode { version = native.version, lua = _VERSION, libraries = native.libraries })
    else
      command.say("wick %s (%s)", native.version, _VERSION)
    end
    return command.OK
  end,
}
