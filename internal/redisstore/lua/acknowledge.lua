-- Removes a note if it is still the one that was announced.
--
-- ARGV  1 user   2 the note's asOf
-- Returns 1 if it did.
local at = call('HGET', NOTES, ARGV[1])
if not at or at:match('%d+') ~= ARGV[2] then
  return 0
end
call('HDEL', NOTES, ARGV[1])
call('ZREM', OUTBOX, ARGV[1])
return 1
