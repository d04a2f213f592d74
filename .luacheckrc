-- Names that Redis defines for its scripts.
std = "lua51"
read_globals = {"redis", "cjson", "cmsgpack", "KEYS", "ARGV"}
