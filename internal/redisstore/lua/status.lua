-- Reads users of one shard.
--
-- KEYS  from 6 on the users' pages, or none where they are kept elsewhere
-- ARGV  1 timeout (ms), then the users
-- Returns for each user the state and the note ("asOf reason" or nil).
local timeout = tonumber(ARGV[1])
local reply = {}
for i = 2, #ARGV do
  reply[i - 1] = { read(ARGV[i], timeout, KEYS[i + 4]), call('HGET', NOTES, ARGV[i]) }
end
return reply
