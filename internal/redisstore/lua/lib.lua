-- KEYS of one shard, in one slot. A script takes as many of them as it needs,
-- from the first on unless it says otherwise, and behind them its own:
--   1 online    zset  user -> last beat (ms); in grace, dated back
--   2 shard     hash  clock, swept, resumed (ms)
--   3 lastseen  zset  user -> lastSeen (ms) of those offline or in grace
--   4 notes     hash  user -> "asOf reason" of the unannounced change
--   5 outbox    zset  user -> when the note is next due (ms)
--
-- A beat's score is its asOf. Every other asOf given out is at most the clock,
-- which only grows. So the greater of a user's score and the clock is at least
-- every asOf given out for the user, and a write takes one more. That holds
-- when the time steps back, and for users who have been forgotten.
local ONLINE, SHARD, LASTSEEN, NOTES, OUTBOX = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

-- What a read may say as asOf, given the clock as it is kept. One that is
-- behind by more than STEP is set: no sweep has run of late, or this Redis has
-- not what the one before it gave out last.
local clock
local function wind(kept)
  clock = tonumber(kept or 0)
  if clock < now - STEP then
    clock = now
    call('HSET', SHARD, 'clock', clock)
  end
end

-- Takes an asOf greater than any given out for a user whose last beat is given.
-- One will do for all the users of a script: else who reads many of them would
-- put the clock ahead of the time.
local taken = 0
local function advance(beat)
  if taken <= beat then
    taken = math.max(now, beat, clock) + 1
    clock = taken
    call('HSET', SHARD, 'clock', clock)
  end
  return taken
end

-- Leaves a note that the user is to be announced.
local function note(user, asOf, reason, due)
  call('HSET', NOTES, user, asOf .. ' ' .. reason)
  call('ZADD', OUTBOX, due, user)
end

-- Returns asOf, lastSeen and expiresAt (0: offline) of a user with those scores,
-- or false, in ONLINE and LASTSEEN. One whom time has changed since the last
-- write (the user expired, or the page did) gets an asOf of its own here.
local function judge(beat, seen, timeout, faded)
  beat = tonumber(beat or nil)
  seen = math.max(beat or 0, tonumber(seen or 0))
  if not beat then
    return clock, seen, 0
  end
  local expires = beat + timeout
  if expires <= now then
    return advance(beat), seen, 0
  elseif faded then
    return advance(beat), seen, expires
  end
  return math.max(beat, clock), seen, expires
end
