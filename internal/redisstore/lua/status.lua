-- Reads users of one shard.
--
-- KEYS  1 to 4 (see lib), then the users' pages, or none where they are kept
--       elsewhere
-- ARGV  1 timeout (ms), then the users
-- Returns for each user, one after the other: asOf, lastSeen, expiresAt (0:
-- offline), the page shown or nil, the note ("asOf reason") or nil.
local timeout = tonumber(ARGV[1])
local beats = call('ZMSCORE', ONLINE, unpack(ARGV, 2))
local seen = call('ZMSCORE', LASTSEEN, unpack(ARGV, 2))
local notes = call('HMGET', NOTES, unpack(ARGV, 2))
local pages = KEYS[5] and call('MGET', unpack(KEYS, 5))
wind(call('HGET', SHARD, 'clock'))
local reply = {}
for i, beat in ipairs(beats) do
  local asOf, last, expires = judge(beat, seen[i], timeout, pages and not pages[i])
  local n = 5 * i
  reply[n - 4], reply[n - 3], reply[n - 2] = asOf, last, expires
  reply[n - 1] = expires > 0 and pages and pages[i] or false
  reply[n] = notes[i]
end
return reply
