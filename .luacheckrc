-- What luacheck lets pass. Globals: none of our own; specs add busted's words, configuration its three functions.
std = "lua54"
max_line_length = 140
codes = true
cache = false
unused_args = false      -- a handler is always (req, cx), a step always (cx), whether it reads them or not
self = false

exclude_files = { "build/**", "**/node_modules/**" }

files["spec/**/*_spec.lua"].std = "lua54+busted"
files["**/config.lua"].read_globals = { "env", "file", "include" }
