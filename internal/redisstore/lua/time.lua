-- The time is Redis' own: one clock for all callers.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local STEP = 1000 -- ms a score may be ahead of the time before that has stepped back

