-- Removes a note if it is still the one that was announced.
--
-- KEYS  1 notes   2 outbox (see lib)
-- ARGV  1 user   2 the note's asOf
-- Returns 1 if it did.
local at = redis.call('HGET', KEYS[1], ARGV[1])
if not at or at:match('%d+') ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
