-- Settings of luacheck for the Redis scripts in app/core/records/scripts: Lua 5.1 as Redis runs it.
std = {
  read_globals = {
    'ARGV', 'cjson', 'redis', 'require',
    'ipairs', 'pairs', 'tonumber', 'tostring', 'type',
    math = {fields = {'floor', 'max', 'min'}},
    string = {fields = {'format', 'match'}},
    table = {fields = {'insert', 'remove'}},
  },
}
max_line_length = 120
