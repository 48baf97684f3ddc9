-- Shows a session's page in the Redis of the pages.
--
-- A changed page is marked, by a newline at its end, until the presence that goes
-- with it is written. If that fails, the next beat finds the mark and reports the
-- change once more.
--
-- Returns the page shown, and 1 if it is a change to be announced.
local page_key = KEYS[1]             -- string: the page shown
local session = ARGV[1]              -- '' is the default session
local page = ARGV[2]                 -- see page.lua
local ttl = ARGV[3]                  -- ms
local takeover = ARGV[4] == '1'      -- also if another session's page is shown

if redis.call('GET', page_key) == page .. '\n' then
  redis.call('PEXPIRE', page_key, ttl)
  return { page, 1 }
end
local shown, changed = show_page(page_key, session, page, ttl, takeover)
if changed then
  redis.call('SET', page_key, page .. '\n', 'KEEPTTL')
end
return { shown, changed and 1 or 0 }
