-- Records a sign of life of one session.
--
-- KEYS  1 to 5 (see lib)
--       6 the user's sessions, zset session -> last beat (ms); there only once
--         the client has named one
--       7 the user's page; absent where pages are kept in another Redis
-- ARGV  1 user   2 session ('' is the default one)   3 reason
--       4 timeout (ms)   5 lease of a note (ms)   6 page
--       7 '1' if the page, kept elsewhere, has changed
-- Returns asOf, lastSeen, expiresAt, the page shown or nil, the note's asOf (0:
-- nothing to announce), and 1 if the status changed.
local SESSIONS, PAGE = KEYS[6], KEYS[7]
local user, session, reason = ARGV[1], ARGV[2], ARGV[3]
local timeout, lease, page = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]

local beat = tonumber(call('ZSCORE', ONLINE, user) or nil)
local alive = beat and beat + timeout > now
local asOf = math.max(now, beat or 0, tonumber(call('HGET', SHARD, 'clock') or 0)) + 1
local seen = score(asOf)

local tracked = call('EXISTS', SESSIONS) == 1
if tracked or session ~= '' then
  if not tracked and alive then
    call('ZADD', SESSIONS, beat, '')
  end
  call('ZREMRANGEBYSCORE', SESSIONS, '-inf', now - timeout)
  if call('ZADD', SESSIONS, seen, session) == 1 then
    call('ZREMRANGEBYRANK', SESSIONS, 0, -101) -- at most 100 sessions a user
  end
  call('PEXPIRE', SESSIONS, 2 * timeout)
end
call('ZADD', ONLINE, seen, user)
if not beat then
  call('ZREM', LASTSEEN, user)
end

local changed = ARGV[7] == '1'
if PAGE then
  -- 2 ms more than the session has, so that nobody is online without a page.
  page, changed = show(PAGE, session, page, timeout + 2, reason == 'connect' or not alive)
end

-- A user who is past the timeout but was not swept yet has gone and come back
-- all the same: whoever asked in between was told.
if not alive or changed then
  note(user, asOf, reason, now + lease)
end
return { asOf, seen, seen + timeout, page, (not alive or changed) and asOf or 0, alive and 0 or 1 }
