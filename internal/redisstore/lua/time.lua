-- The time is Redis' own: one clock for all callers.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local STEP = 1000 -- ms a score may be ahead of the time before that has stepped back

-- Returns the score of a beat, which is its asOf. Where the time has stepped
-- back, what counts for the timeout is the time, and the clock remembers the
-- asOf.
local function score(asOf)
  if asOf <= now + STEP then
    return asOf
  end
  call('HSET', KEYS[2], 'clock', asOf)
  return now
end

