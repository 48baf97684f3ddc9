-- Removes a session's page from the Redis of the pages.
--
-- Returns the page shown now, or nil.
local page_key = KEYS[1]             -- string: the page shown
local session = ARGV[1]              -- '' is the default session
local grace = tonumber(ARGV[2])      -- ms until the page goes

hide_page(page_key, session, grace)
return redis.call('GET', page_key)
