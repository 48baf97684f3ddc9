-- Ends a session, or dates it back so that it expires in its grace.
--
-- KEYS  6, 7 as in touch
-- ARGV  1 user   2 session   3 grace (ms)   4 timeout (ms)   5 lease (ms)
-- Returns as touch does.
local user, session, grace = ARGV[1], ARGV[2], tonumber(ARGV[3])
local timeout, lease = tonumber(ARGV[4]), tonumber(ARGV[5])

local beat = tonumber(call('ZSCORE', ONLINE, user) or nil)
local tracked = call('EXISTS', KEYS[6]) == 1
local last = beat
if tracked then
  last = tonumber(call('ZSCORE', KEYS[6], session) or nil)
elseif session ~= '' then
  last = nil
end
if not beat or not last or last + timeout <= now then
  return { read(user, timeout, KEYS[7]), 0, 0 }
end

local asOf = advance(beat)
local left = math.min(last, now - timeout + grace)
if KEYS[7] then
  hide(KEYS[7], session, grace)
end
local newest = left
if tracked then
  if left + timeout > now then
    call('ZADD', KEYS[6], ms(left), session)
  else
    call('ZREM', KEYS[6], session)
  end
  newest = tonumber(call('ZREVRANGE', KEYS[6], 0, 0, 'WITHSCORES')[2] or 0)
end

if newest + timeout > now then
  newest = math.min(newest, beat)
  call('ZADD', ONLINE, ms(newest), user)
  call('ZADD', LASTSEEN, 'GT', ms(now), user)
  return { state(asOf, now, newest + timeout, KEYS[7] and call('GET', KEYS[7])), 0, 0 }
end

call('ZREM', ONLINE, user)
call('ZADD', LASTSEEN, 'GT', ms(now), user)
call('DEL', KEYS[6])
note(user, asOf, 'disconnect', now + lease)
return { state(asOf, now, 0), asOf, 1 }
