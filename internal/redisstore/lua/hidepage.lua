-- Takes a session's page down, where pages are kept in a Redis of their own.
--
-- KEYS  1 the page
-- ARGV  1 session   2 in how long (ms)
-- Returns the page shown now.
hide(KEYS[1], ARGV[1], ARGV[2])
return redis.call('GET', KEYS[1])
