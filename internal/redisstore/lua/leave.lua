-- Ends a session, or dates it back so that it expires in its grace.
--
-- KEYS  1 to 5 (see lib), 6 and 7 as in touch
-- ARGV  1 user   2 session   3 grace (ms)   4 timeout (ms)   5 lease (ms)
-- Returns as touch does.
local SESSIONS, PAGE = KEYS[6], KEYS[7]
local user, session, grace = ARGV[1], ARGV[2], tonumber(ARGV[3])
local timeout, lease = tonumber(ARGV[4]), tonumber(ARGV[5])

wind(call('HGET', SHARD, 'clock'))
local beat = tonumber(call('ZSCORE', ONLINE, user) or nil)
local tracked = call('EXISTS', SESSIONS) == 1
local last = beat
if tracked then
  last = tonumber(call('ZSCORE', SESSIONS, session) or nil)
elseif session ~= '' then
  last = nil
end
if not beat or not last or last + timeout <= now then
  local shown = beat and PAGE and call('GET', PAGE)
  local asOf, seen, expires = judge(beat, call('ZSCORE', LASTSEEN, user), timeout, PAGE and not shown)
  return { asOf, seen, expires, expires > 0 and shown or false, 0, 0 }
end

local asOf = advance(beat)
local left = math.min(last, now - timeout + grace)
if PAGE then
  hide(PAGE, session, grace)
end
local newest = left
if tracked then
  if left + timeout > now then
    call('ZADD', SESSIONS, left, session)
  else
    call('ZREM', SESSIONS, session)
  end
  newest = tonumber(call('ZREVRANGE', SESSIONS, 0, 0, 'WITHSCORES')[2] or 0)
end

if newest + timeout > now then
  newest = math.min(newest, beat)
  call('ZADD', ONLINE, newest, user)
  call('ZADD', LASTSEEN, 'GT', now, user)
  return { asOf, now, newest + timeout, PAGE and call('GET', PAGE) or false, 0, 0 }
end

call('ZREM', ONLINE, user)
call('ZADD', LASTSEEN, 'GT', now, user)
call('DEL', SESSIONS)
note(user, asOf, 'disconnect', now + lease)
return { asOf, now, 0, false, asOf, 1 }
