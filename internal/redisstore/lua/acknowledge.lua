-- Removes a note if it is still the one that was announced.
--
-- Returns 1 if it was, else 0.
local notes_key = KEYS[1]            -- hash: user -> "asOf change reason"
local outbox_key = KEYS[2]           -- sorted set: user -> when the note is due (ms)
local user = ARGV[1]
local as_of = ARGV[2]                -- of the note announced

local note = redis.call('HGET', notes_key, user)
if not note or note:match('%d+') ~= as_of then
  return 0
end
redis.call('HDEL', notes_key, user)
redis.call('ZREM', outbox_key, user)
return 1
