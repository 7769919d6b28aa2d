--- wick config print: the settings in force, every default in, secrets as "***". wick config manual: what each setting means.

local native = require "wick.native"
local reference = require "wick.reference"

local function run_print(args, command)
  local settings = command.settings(args)
  if not settings then
    return command.CONFIGURATION
  end
  if args.json then
    command.say(native.json.encode(reference.shown(settings), true))
  else
    command.say((reference.lua(settings):gsub("%%", "%%%%")))
  end
  return command.OK
end

local function run_manual(args, command)
  if args.json then
    command.say(native.json.encode(native.json.array(reference.list()), true))
  else
    native.write(1, reference.manual() .. "\n")
  end
  return command.OK
end

return {
  summary = "Print the settings in force, or the manual of all settings.",
  arguments = function(parser)
    parser:argument("what", "print: the settings in force; manual: what each setting means."):choices { "print", "manual" }
  end,
  run = function(args, command)
    return args.what == "print" and run_print(args, command) or args.what == "manual" and run_manual(args, command)
  end,
}
