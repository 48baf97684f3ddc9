-- Shows a session's page, where pages are kept in a Redis of their own.
--
-- A changed page is marked, by a newline at its end, until the presence that
-- goes with it is written: if that never happens, the next beat finds the mark
-- and tells subscribers after all.
--
-- KEYS  1 the page
-- ARGV  1 session   2 page   3 ttl (ms)   4 '1' to take over another session's
-- Returns the page shown, and 1 if subscribers have a change to hear of.
local key, page, ttl = KEYS[1], ARGV[2], ARGV[3]
if redis.call('GET', key) == page .. '\n' then
  redis.call('PEXPIRE', key, ttl)
  return { page, 1 }
end
local shown, changed = show(key, ARGV[1], page, ttl, ARGV[4] == '1')
if changed then
  redis.call('SET', key, page .. '\n', 'KEEPTTL')
end
return { shown, changed and 1 or 0 }
