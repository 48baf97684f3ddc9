-- The time, shared by all scripts that need it. Redis' own time is the one clock
-- of all callers.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) -- ms

-- A stored time may be this many ms ahead of now. If it is further ahead, Redis'
-- time has stepped back.
local MAX_AHEAD = 1000

-- Lets the script write when Redis is full. A full Redis refuses a script's first
-- write if that may take room. It lets all writes pass that follow a delete or an
-- expiry, even of nothing. This is for scripts that take little room, or give some back.
local function write_when_full(shard_key)
  call('HDEL', shard_key, '')
end

-- Returns the asOf of a beat: greater than any asOf given out for the user (see
-- state.lua). last_beat is the score of the user's last beat, or nil.
local function beat_as_of(shard_key, last_beat)
  return math.max(now, last_beat or 0, tonumber(call('HGET', shard_key, 'clock') or 0)) + 1
end

-- Returns the score of a beat. It is the beat's asOf, unless the time has
-- stepped back: then the timeout counts from now, and the shard's clock
-- remembers the asOf.
local function beat_score(shard_key, as_of)
  if as_of <= now + MAX_AHEAD then
    return as_of
  end
  call('HSET', shard_key, 'clock', as_of)
  return now
end

